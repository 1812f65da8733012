"""A network of Transformers from a folder's ``config.json``: ``hf:FOLDER``, running none of its code."""

import json
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from landscape.errors import InputError, UsageError
from landscape.records.reading import read_text
from landscape.registry.names import Options, Row


def huggingface_model(name: str) -> Row[nn.Module] | None:
    """The row of ``hf:FOLDER``; ``None`` for any other name.

    The class is the one that ``config.json`` names under ``architectures``; it must be one that Transformers
    itself ships, as code beside the weights is never run. The options are entries of the configuration.

    Raises:
        UsageError: Transformers is not installed.
    """
    folder = name.removeprefix("hf:")
    if folder in (name, ""):
        return None
    summary = f"the network that {folder}/config.json describes"
    return Row(name, partial(_built, folder), summary, stated=Options({}, open=True))


def _built(folder: str, **options: Any) -> nn.Module:
    where = Path(folder).expanduser()
    file = where / "config.json"
    if not file.is_file():
        raise InputError(
            f"hf:{folder}: there is no {file}; name a folder that save_pretrained() has written, or fetch one first: "
            f"hf download NAME --local-dir {folder}"
        )
    try:
        import transformers
    except ImportError:
        raise UsageError(
            f"'hf:{folder}' needs transformers, which is not installed; add it with "
            "pip install 'landscape-geometry[hf]'"
        ) from None
    text = read_text(file)
    try:
        names = json.loads(text).get("architectures") or []
        # The Hub is never asked, so that a result depends on the folder alone.
        load = transformers.AutoConfig.from_pretrained
        config = load(where, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError, AttributeError, KeyError, TypeError, RecursionError) as failure:
        reason = " ".join(str(failure).split())[:200]
        raise InputError(
            f"hf:{folder}: its config.json cannot be used without running code beside it: {reason}"
        ) from failure
    for key, value in options.items():
        if not hasattr(config, key):
            raise UsageError(f"hf:{folder}: the configuration has no entry '{key}'")
        setattr(config, key, value)
    kind: Any = getattr(transformers, str(names[0]), None) if names else None
    create: Any = getattr(kind, "_from_config", None)
    if not names:
        create = partial(transformers.AutoModelForSequenceClassification.from_config, trust_remote_code=False)
    elif not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        raise InputError(
            f"hf:{folder}: its config.json asks for {names[0]}, which Transformers {transformers.__version__} "
            "does not ship; code beside the weights is not run, name it yourself: -m ./file.py:factory"
        )
    model: nn.Module = create(config, attn_implementation="eager")  # fused attention has no second derivative
    return model
