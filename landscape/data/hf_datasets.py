"""A data set that Hugging Face ``datasets`` saved to a folder: ``hf-datasets:FOLDER``; batches are dictionaries."""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from landscape.data.examples import Data, classes_in
from landscape.errors import InputError, UsageError
from landscape.losses.outputs import LABELS
from landscape.registry.extras import install
from landscape.registry.names import Options, Row

HELD_OUT = ("test", "validation", "val", "dev")


def hf_datasets_at(name: str) -> Row[Data] | None:
    """The row of ``hf-datasets:FOLDER``; ``None`` for any other name."""
    folder = name.removeprefix("hf-datasets:")
    if folder in (name, ""):
        return None
    return Row(name, partial(_read, folder), f"saved by datasets in {folder}", stated=Options({}))


class Columns(Dataset[dict[str, torch.Tensor]]):
    """Rows as dictionaries of tensors; a column ``label`` becomes ``labels``, the name that Transformers expects."""

    def __init__(self, table: Any, columns: list[str]) -> None:
        self.table = table.with_format("torch", columns=columns)

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        row = self.table[int(index)]
        return {
            "labels" if key == "label" else key: torch.as_tensor(value, device="cpu")
            for key, value in row.items()
        }


def _read(folder: str) -> Data:
    where = Path(folder).expanduser()
    if not where.is_dir():
        raise InputError(f"hf-datasets:{folder}: there is no such folder; dataset.save_to_disk() writes one")
    try:
        import datasets
    except ImportError:
        raise UsageError(
            f"'hf-datasets:{folder}' needs datasets, which is not installed; {install('hf')} adds it"
        ) from None
    try:
        saved = datasets.load_from_disk(str(where))
    except Exception as failure:  # arrow, json and the file system each have errors of their own
        reason = " ".join(str(failure).split())[:200]
        raise InputError(f"hf-datasets:{folder} cannot be read: {reason}") from failure
    splits = dict(saved) if isinstance(saved, datasets.DatasetDict) else {"train": saved}
    held_out = next((name for name in HELD_OUT if name in splits), None)
    if "train" not in splits and held_out is None:
        expected = ", ".join(("train", *HELD_OUT))
        raise InputError(f"hf-datasets:{folder} has the splits {', '.join(splits)}, but none of {expected}")
    names = [name for name in ("train", held_out) if name in splits]
    table = splits[names[0]]
    columns = [name for name, kind in table.features.items() if _is_numeric(kind, datasets)]
    if not columns:
        kinds = ", ".join(f"{name} ({type(kind).__name__})" for name, kind in table.features.items())
        raise InputError(
            f"hf-datasets:{folder} has no column of numbers, only {kinds}; tokenise first (dataset.map(tokenizer)), or "
            "write a factory: -d ./file.py:data"
        )
    train, test = (Columns(splits[name], columns) if name in names else None for name in ("train", held_out))
    sizes = ", ".join(f"{name} ({len(splits[name]):,})" for name in names)
    notes = (f"columns {', '.join(columns)}; splits {sizes}",)
    return Data(f"hf-datasets:{folder}", train, test, _classes(table, columns), None, notes=notes)


def _is_numeric(kind: Any, datasets: Any) -> bool:
    while isinstance(kind, (datasets.Sequence, datasets.features.List, list)):
        kind = kind[0] if isinstance(kind, list) else kind.feature
    return isinstance(kind, datasets.ClassLabel) or (
        isinstance(kind, datasets.Value) and kind.dtype.startswith(("int", "uint", "float", "bool"))
    )


def _classes(table: Any, columns: list[str]) -> int | None:
    label = next((name for name in LABELS if name in columns), None)
    if label is None:
        return None
    known = getattr(table.features[label], "num_classes", None)
    return int(known) if known else classes_in(table.with_format("torch", columns=[label])[label][:])
