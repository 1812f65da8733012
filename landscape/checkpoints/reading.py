"""What is in a checkpoint file, found by content and opened without running any code from it."""

import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from landscape.checkpoints.pickled_names import pickled_names
from landscape.errors import InputError
from landscape.storage import sha256

FORMAT = "landscape.checkpoint/1"
NESTED = ("state_dict", "model_state_dict", "model_state", "model", "net", "last")
"""Keys under which the parameters are found in the wild, the most explicit first."""


@dataclass(frozen=True)
class Contents:
    """A checkpoint's parameters and what else was recognised.

    Attributes:
        path: The file.
        sha256: Of the file.
        state: Parameters and buffers by name.
        recipe: How it was trained, for our own checkpoints.
        extra: The other plain values at the top level (epoch, metrics, …).
    """

    path: Path
    sha256: str
    state: Mapping[str, Tensor]
    recipe: Mapping[str, Any] | None = None
    extra: Mapping[str, object] = field(default_factory=dict)


def read_checkpoint(path: str | Path, *, trust: bool = False) -> Contents:
    """Opens a checkpoint: ours, a bare or nested state dict, or safetensors.

    Args:
        path: The file, or a run folder that holds a ``checkpoint.pt``.
        trust: Whether code stored in the file may run; only for files of your own.

    Raises:
        InputError: The file is missing, empty, damaged, would run code when opened, or holds no parameters.
    """
    file = _located(Path(path))
    loaded = _opened(file, trust=trust)
    if isinstance(loaded, torch.nn.Module):
        loaded = loaded.state_dict()
    if not isinstance(loaded, Mapping):
        raise InputError(
            f"{file} holds a {type(loaded).__name__}, not parameters by name; save model.state_dict() instead"
        )
    return Contents(
        path=file,
        sha256=sha256(file),
        state=_state(file, loaded),
        recipe=_recipe(file, loaded),
        extra={k: v for k, v in loaded.items() if isinstance(k, str) and isinstance(v, (int, float, str))},
    )


def _located(path: Path) -> Path:
    if path.is_dir():
        if not (path / "checkpoint.pt").is_file():
            held = ", ".join(sorted(child.name for child in path.iterdir())[:5]) or "nothing"
            raise InputError(f"{path} is a folder without a checkpoint.pt (it holds {held})")
        path = path / "checkpoint.pt"
    if not path.is_file():
        raise InputError(f"{path} does not exist{_beside(path)}")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty (0 bytes): it was not written to the end; take another checkpoint")
    return path


def _beside(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f", nor does its folder {folder}"
    others = sorted(p.name for p in folder.iterdir() if p.suffix in (".pt", ".pth", ".ckpt", ".safetensors"))
    return f"; {folder} holds {', '.join(others[:4])}" if others else ""


def _opened(file: Path, *, trust: bool) -> object:
    with file.open("rb") as opened:
        head = opened.read(9)
    if len(head) == 9 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < file.stat().st_size:
        try:
            return safetensors.torch.load_file(file)
        except (safetensors.SafetensorError, ValueError, RuntimeError, KeyError) as failure:
            raise _damaged(file, f"its safetensors header or data is broken ({failure})") from failure
    if _is_torchscript(file):
        raise InputError(
            f"{file} is a TorchScript archive, which cannot be differentiated twice; save model.state_dict() "
            "of the Python model instead"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(file, map_location="cpu", weights_only=not trust)
    except Exception as failure:  # a damaged pickle can raise anything; whatever it is, the file is at fault
        names = [] if trust else pickled_names(file)
        if names:
            raise InputError(
                f"{file} would run code when opened: it refers to {', '.join(names[:5])}; if you trust whoever "
                "made it, add --trust-checkpoint (trust=True), or save model.state_dict() where it was made"
            ) from failure
        if head.startswith(b"PK"):
            reason = "its zip archive breaks off or is broken"
        elif head.startswith(b"\x80"):
            reason = "its pickle breaks off or is broken"
        else:
            reason = f"it begins with {head!r}"
        raise _damaged(file, reason) from failure


def _damaged(file: Path, reason: str) -> InputError:
    return InputError(
        f"{file} ({file.stat().st_size} bytes) cannot be read as a checkpoint: {reason}; it is truncated, damaged "
        "or of another kind: take another copy (.pt, .pth, .ckpt or .safetensors)"
    )


def _is_torchscript(file: Path) -> bool:
    try:
        with zipfile.ZipFile(file) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, ValueError, OverflowError):
        return False


def _recipe(file: Path, loaded: Mapping[Any, Any]) -> Mapping[str, Any] | None:
    """The recipe of one of our own checkpoints, ``None`` for any other."""
    if not isinstance(loaded.get("format"), str) or loaded["format"] != FORMAT:
        return None
    recipe = loaded.get("recipe")
    if not isinstance(recipe, dict) or not all(isinstance(recipe.get(key), str) for key in ("model", "data")):
        raise InputError(
            f"{file} says that it is a {FORMAT}, but its recipe names no model and data; train it again, or save "
            "its state_dict alone and name them with -m and -d"
        )
    return recipe


def _state(file: Path, loaded: Mapping[Any, Any]) -> dict[str, Tensor]:
    for candidate in (*(loaded.get(key) for key in NESTED), loaded):
        if isinstance(candidate, torch.nn.Module):
            candidate = candidate.state_dict()
        if isinstance(candidate, Mapping):
            tensors = {k: v for k, v in candidate.items() if isinstance(k, str) and isinstance(v, Tensor)}
            if tensors:
                return tensors
    keys = ", ".join(str(key) for key in list(loaded)[:6]) or "nothing"
    raise InputError(
        f"{file} holds no parameters (found: {keys}); they are looked for at the top and under {', '.join(NESTED)}"
    )
