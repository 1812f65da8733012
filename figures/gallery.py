"""What the scripts of the gallery share: where their numbers and pictures are, and how they are run.

Each script has ``recompute()``, which makes the numbers and says how long it took, and ``draw(data)``, which makes the
figure of them in seconds. ``python figures/NAME.py`` draws; ``--recompute`` computes first.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from landscape.plotting import save_figure
from landscape.records.storage import write_whole

HERE = Path(__file__).parent
Data = dict[str, Any]


def load(name: str) -> Data:
    """The committed numbers of a figure."""
    data: Data = json.loads((HERE / "data" / f"{name}.json").read_text(encoding="utf-8"))
    return data


def store(name: str, data: Data) -> None:
    """Writes the numbers of a figure, rounded to six digits: kilobytes in a repository."""
    text = json.dumps(_rounded(data), indent=None, separators=(",", ":"), ensure_ascii=False)
    write_whole(HERE / "data" / f"{name}.json", (text + "\n").encode())


def main(name: str, draw: Callable[[Data], Figure], recompute: Callable[[], Data]) -> None:
    """The command line of a script."""
    parser = argparse.ArgumentParser(description=f"Draws figures/{name}.png from figures/data/{name}.json.")
    parser.add_argument("--recompute", action="store_true", help="compute the numbers anew; takes minutes")
    parser.add_argument("-o", "--output", type=Path, default=HERE / f"{name}.png", help=".png, .pdf or .svg")
    given = parser.parse_args()
    if given.recompute:
        start = time.monotonic()
        store(name, recompute())
        print(f"recomputed in {(time.monotonic() - start) / 60:.1f} minutes")
    print(*save_figure(draw(load(name)), given.output))


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(item) for item in value]
    return value
