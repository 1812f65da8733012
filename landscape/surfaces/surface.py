"""A loss surface as numbers, and its file; knows nothing of torch, so that redrawing does not need it."""

import dataclasses
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from landscape.errors import InputError, UsageError
from landscape.storage import write_whole

SCHEMA = "landscape.surface/1"

_ARRAYS = ("x", "y", "loss", "accuracy", "computed")


@dataclass(frozen=True, eq=False, kw_only=True)
class Surface:
    """L(θ + a·d₁ + b·d₂) on a grid of coordinates (a, b): row i, column j belongs to ``(x[j], y[i])``.

    Attributes:
        x: Coordinates along the first direction, ``(nx,)``, increasing.
        y: Coordinates along the second direction, ``(ny,)``, increasing.
        loss: ``(ny, nx)``, as computed: infinite and NaN losses stay what they are. NaN where not computed.
        accuracy: ``(ny, nx)``, or ``None`` where the network's outputs are not class scores.
        computed: ``(ny, nx)``, whether the point was computed.
        meta: How the surface was made, JSON-serialisable: ``plane`` (kind, settings, cosine of the two
            directions, their norms, ignored parameters, axis labels), ``centre`` (its hash and its loss),
            ``provenance``, and what :meth:`described` added.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    loss: NDArray[np.float64]
    accuracy: NDArray[np.float64] | None
    computed: NDArray[np.bool_]
    meta: Mapping[str, object]

    def __post_init__(self) -> None:
        shape = (len(self.y), len(self.x))
        for name in _ARRAYS:
            array = getattr(self, name)
            if array is None:
                continue
            expected = (array.size,) if name in "xy" else shape
            if array.shape != expected:
                raise ValueError(
                    f"{name} has shape {array.shape}; {len(self.x)} × {len(self.y)} points need {expected}"
                )
            frozen = np.array(array, dtype=bool if name == "computed" else np.float64)
            frozen.setflags(write=False)
            object.__setattr__(self, name, frozen)
        for name in "xy":
            steps = np.diff(getattr(self, name))
            if not (steps > 0).all():
                raise ValueError(f"the coordinates {name} do not increase")

    @property
    def complete(self) -> bool:
        """Whether every point was computed."""
        return bool(self.computed.all())

    @property
    def centre_error(self) -> float | None:
        """The loss at (0, 0) minus the loss that the objective has there; ``None`` off the grid."""
        row, column = np.flatnonzero(self.y == 0), np.flatnonzero(self.x == 0)
        centre = self.meta.get("centre")
        if not (row.size and column.size and isinstance(centre, Mapping)):
            return None
        if not self.computed[row[0], column[0]]:
            return None
        return float(self.loss[row[0], column[0]]) - float(centre["loss"])

    def described(self, **meta: object) -> "Surface":
        """The same surface with entries added to ``meta``: the ``command``, the name of the ``loss``, …"""
        return dataclasses.replace(self, meta={**self.meta, **meta})

    def preview(self) -> "Surface":
        """The finest regular sub-grid around the centre of which every point was computed.

        Raises:
            UsageError: Less than 2 × 2 points of such a grid were computed.
        """
        ny, nx = self.loss.shape
        stride = 1
        while True:
            columns = slice((nx // 2) % stride, None, stride)
            rows = slice((ny // 2) % stride, None, stride)
            computed = self.computed[rows, columns]
            if min(computed.shape) < 2:
                raise UsageError(
                    f"nothing to preview: {int(self.computed.sum())} of {nx * ny} points are computed"
                )
            if computed.all():
                break
            stride *= 2
        return Surface(
            x=self.x[columns],
            y=self.y[rows],
            loss=self.loss[rows, columns],
            accuracy=None if self.accuracy is None else self.accuracy[rows, columns],
            computed=computed,
            meta=self.meta if stride == 1 else {**self.meta, "preview": {"points": [nx, ny]}},
        )

    def save(self, path: str | Path) -> None:
        """Writes an ``.npz`` without pickles: the same bytes for the same surface, whole or not at all."""
        arrays = {name: getattr(self, name) for name in _ARRAYS if getattr(self, name) is not None}
        meta = json.dumps({**self.meta, "schema": SCHEMA}, sort_keys=True, ensure_ascii=False)
        buffer = io.BytesIO()
        # numpy stamps the members of an archive with 1980-01-01, so that nothing in it depends on the clock.
        np.savez(buffer, allow_pickle=False, **arrays, meta=np.array(meta))
        write_whole(Path(path), buffer.getvalue())

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """The surface in a file; nothing in the file is run.

        Raises:
            InputError: There is no such file, it is damaged, or it is not a surface.
        """
        try:
            with np.load(path, allow_pickle=False) as archive:
                if not isinstance(archive, np.lib.npyio.NpzFile):
                    raise InputError(f"{path} holds a bare array, not a surface; {_WAY_OUT}")
                arrays = {name: archive[name] for name in archive.files}
            meta = json.loads(str(arrays.pop("meta")))
            schema = meta.get("schema")
            if schema != SCHEMA:
                raise InputError(f"{path} has schema {schema!r}, this version reads {SCHEMA!r}; {_WAY_OUT}")
            return cls(
                **{name: arrays[name] for name in _ARRAYS if name != "accuracy"},
                accuracy=arrays.get("accuracy"),
                meta=meta,
            )
        except InputError:
            raise
        except FileNotFoundError:
            raise InputError(f"{path}: no such file; {_WAY_OUT}") from None
        except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as e:
            reason = str(e).splitlines()[0] if str(e) else type(e).__name__
            raise InputError(f"{path} is damaged or not a surface ({reason}); {_WAY_OUT}") from e


_WAY_OUT = "surfaces are written by `landscape surface CHECKPOINT -o FILE.npz`"
