"""``python -m landscape`` is the command ``landscape``."""

import importlib

importlib.import_module("landscape.cli").main()
