"""A data set that Hugging Face ``datasets`` saved to a folder: ``hf-datasets:FOLDER``; batches are dictionaries."""

from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from landscape.data.examples import Data
from landscape.errors import InputError, UsageError
from landscape.objective.outputs import LABELS
from landscape.registry.names import Row

HELD_OUT = ("test", "validation", "val", "dev")


def hf_datasets_at(name: str) -> Row[Data] | None:
    """The row of ``hf-datasets:FOLDER``, or ``None`` where ``name`` is something else."""
    kind, colon, folder = name.partition(":")
    if kind != "hf-datasets" or not colon or not folder:
        return None

    def build() -> Data:
        return _read(folder)

    return Row(name, build, f"what datasets.save_to_disk has written to {folder}")


class Columns(Dataset[dict[str, torch.Tensor]]):
    """Rows as dictionaries of tensors; a column ``label`` is called ``labels``, as models of Transformers ask."""

    def __init__(self, table: Any, columns: list[str]) -> None:
        self.table = table.with_format("torch", columns=columns)

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        row = self.table[int(index)]
        return {"labels" if key == "label" else key: torch.as_tensor(value) for key, value in row.items()}


def _read(folder: str) -> Data:
    if not Path(folder).expanduser().is_dir():
        raise InputError(
            f"hf-datasets:{folder}: there is no such folder; write one with dataset.save_to_disk()"
        )
    try:
        import datasets
    except ImportError:
        raise UsageError(
            f"'hf-datasets:{folder}' needs datasets, which is not installed; add it with "
            "pip install 'landscape-geometry[hf]'"
        ) from None
    try:
        found = datasets.load_from_disk(str(Path(folder).expanduser()))
    except Exception as failure:  # arrow, json and the file system each have errors of their own
        raise InputError(
            f"hf-datasets:{folder} cannot be read: {' '.join(str(failure).split())[:200]}"
        ) from failure
    splits = dict(found) if isinstance(found, datasets.DatasetDict) else {"train": found}
    if "train" not in splits:
        raise InputError(f"hf-datasets:{folder} has the splits {', '.join(splits)}, but no train")
    table = splits["train"]
    columns = [name for name, kind in table.features.items() if _numbers(kind, datasets)]
    if not columns:
        held = ", ".join(f"{name} ({type(kind).__name__})" for name, kind in table.features.items())
        raise InputError(
            f"hf-datasets:{folder} has no column of numbers, only {held}; tokenise first (dataset.map(tokenizer)), or "
            "write a factory: -d ./file.py:data"
        )
    test = next((splits[name] for name in HELD_OUT if name in splits), None)
    return Data(
        f"hf-datasets:{folder}",
        Columns(table, columns),
        None if test is None else Columns(test, columns),
        classes=_classes(table, columns),
        input_shape=None,
    )


def _numbers(kind: Any, datasets: Any) -> bool:
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
    if known:
        return int(known)
    values = torch.as_tensor(table.with_format("torch", columns=[label])[label][:])
    return None if values.is_floating_point() or values.ndim != 1 else int(values.max()) + 1
