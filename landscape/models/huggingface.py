"""A network of Transformers from a folder's ``config.json``: ``hf:FOLDER``, running none of its code."""

import json
from pathlib import Path
from typing import Any

from torch import nn

from landscape.errors import InputError, UsageError
from landscape.records.reading import read_text
from landscape.registry.names import Row


def huggingface_model(name: str) -> Row[nn.Module] | None:
    """The row of ``hf:FOLDER``, or ``None`` where ``name`` is something else.

    The class is the one that ``config.json`` names under ``architectures``; it must be one that Transformers
    itself ships, as code beside the weights is never run. The options are entries of the configuration.

    Raises:
        UsageError: Transformers is not installed.
    """
    kind, colon, folder = name.partition(":")
    if kind != "hf" or not colon or not folder:
        return None

    def build(**options: Any) -> nn.Module:
        return _built(folder, options)

    return Row(name, build, f"the network that {folder}/config.json describes")


def _built(folder: str, options: dict[str, Any]) -> nn.Module:
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
        named = json.loads(text).get("architectures") or []
        config = transformers.AutoConfig.from_pretrained(
            where, trust_remote_code=False, local_files_only=True
        )
    except (OSError, ValueError, AttributeError, KeyError, TypeError, RecursionError) as failure:
        reason = " ".join(str(failure).split())[:200]
        raise InputError(
            f"hf:{folder}: its config.json cannot be used without running code beside it: {reason}"
        ) from failure
    for key, value in options.items():
        if not hasattr(config, key):
            raise UsageError(f"hf:{folder}: the configuration has no entry '{key}'")
        setattr(config, key, value)
    kind = getattr(transformers, str(named[0]), None) if named else None
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        if named:
            raise InputError(
                f"hf:{folder}: its config.json asks for {named[0]}, which Transformers {transformers.__version__} "
                "does not ship; code beside the weights is not run, name it yourself: -m ./file.py:factory"
            )
        automatic: Any = transformers.AutoModelForSequenceClassification
        model: nn.Module = automatic.from_config(config, trust_remote_code=False, attn_implementation="eager")
        return model
    # Fused attention has no second derivative.
    built: nn.Module = kind._from_config(config, attn_implementation="eager")  # type: ignore[attr-defined]
    return built
