"""A network of Transformers from a folder's ``config.json``: ``hf:FOLDER``, running none of its code.

The folder may be that of a name on the hub, which only a flag of the user can name.
"""

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from landscape.errors import InputError, UsageError
from landscape.models.hub import reachable_hub
from landscape.records.reading import read_text
from landscape.registry.extras import install
from landscape.registry.names import Options, Row

_SAFETENSORS = ("*.safetensors", "*.safetensors.index.json")
_BIN = ("pytorch_model*.bin", "pytorch_model.bin.index.json")


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
    where = huggingface_folder(folder, weights=False)
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
            f"'hf:{folder}' needs transformers, which is not installed; {install('hf')} adds it"
        ) from None
    text = read_text(file)
    try:
        names = json.loads(text).get("architectures") or []
        # Nothing is fetched here, so that a result depends on the folder alone.
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
    # Keys and values of earlier tokens are for generating text, and would be kept by every forward pass.
    if "use_cache" not in options and hasattr(config, "use_cache"):
        config.use_cache = False
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


def huggingface_folder(name: str, *, weights: bool) -> Path:
    """The folder of ``hf:FOLDER``; for a name of the hub, such as ``google-bert/bert-base-uncased``, that in the cache.

    Args:
        name: The folder, or the name where there is no such folder.
        weights: Whether the weights are fetched too, where they are not in the cache.

    Raises:
        InputError: It is neither in the cache nor can it be fetched.
        UsageError: huggingface_hub is not installed.
    """
    folder = Path(name).expanduser()
    on_hub = re.fullmatch(r"\w[\w.-]*/[\w.-]+", name)
    if weights and not on_hub and not folder.exists():
        raise InputError(
            f"hf:{name}: there is no folder {name}; name one that save_pretrained() has written, or a network of the "
            "hub with its owner: hf:OWNER/NAME"
        )
    if folder.exists() or not on_hub:
        return folder
    try:
        import huggingface_hub
    except ImportError:
        raise UsageError(
            f"there is no folder {name}, and hf:{name} needs huggingface_hub to fetch it; {install('hf')} adds it"
        ) from None
    with reachable_hub() as unreachable:
        try:
            patterns = ["config.json", *(_SAFETENSORS if weights else ())]
            folder = Path(huggingface_hub.snapshot_download(name, allow_patterns=patterns))
            if weights and not any(folder.glob("*.safetensors")):
                folder = Path(huggingface_hub.snapshot_download(name, allow_patterns=["config.json", *_BIN]))
        except Exception as failure:  # of the network, of the hub, or a name that it does not allow
            reason = unreachable or f"{type(failure).__name__}: {' '.join(str(failure).split())[:160]}"
            raise InputError(
                f"hf:{name} is neither a folder nor in the cache of the hub, and cannot be fetched ({reason}); fetch "
                f"it where there is a network, hf download {name} --local-dir FOLDER, and name hf:FOLDER"
            ) from failure
    return folder
