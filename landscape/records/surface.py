"""A loss surface as numbers, and its file; imports no torch, so that redrawing does not need it.

A file is one ``.npz`` without pickles that holds the attributes of :class:`Surface` under their names, those that are
``None`` left out. ``markers`` and ``trajectory`` are three arrays each: the coordinates under that name, and
``markers_distances`` and ``markers_labels``. ``meta`` is text, a JSON object.
"""

import dataclasses
import io
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from landscape.errors import InputError, UsageError
from landscape.records.landmarks import Landmarks
from landscape.records.reading import check_points, read_arrays
from landscape.records.storage import write_whole
from landscape.records.surface_meta import misfit
from landscape.tables import Grid

SCHEMA = "landscape.surface/1"

VALUES = ("loss", "accuracy", "test_loss", "test_accuracy", "gradient_norm")
"""The quantities that a surface can have at each point; only the loss is always there."""

_LANDMARKS = ("markers", "trajectory")
_Field = NDArray[np.float64] | None


@dataclass(frozen=True, eq=False, kw_only=True)
class Surface:
    """L(θ + a·d₁ + b·d₂) on a grid of coordinates (a, b): row i, column j belongs to ``(x[j], y[i])``.

    Attributes:
        x: Coordinates along the first direction, ``(nx,)``, increasing.
        y: Coordinates along the second direction, ``(ny,)``, increasing; ``[0.]`` for a line L(θ + a·d₁).
        loss: ``(ny, nx)``, on the split ``meta["provenance"]["split"]``: NaN where not computed. Computed losses that
            are infinite or NaN stay what they are.
        accuracy: ``(ny, nx)``, or ``None`` if the network's outputs are not class scores.
        computed: ``(ny, nx)``, whether the point was computed.
        meta: How the surface was made, JSON-serialisable: ``plane``, ``centre`` (hash and loss), ``provenance``,
            ``test`` (that of the test loss), ``forward`` (the way of the forward passes), ``batch_norm`` (the origin of
            its statistics, if not the checkpoint), ``checkpoints`` (the loss at each, beside the checkpoint's own),
            ``barrier`` or the ``disagreement`` that forbids one, ``aligned`` (what was permuted, and the line before),
            and what :meth:`described` added.
        test_loss: ``(ny, nx)``, if train and test were swept together; ``loss`` is then that of train.
        test_accuracy: ``(ny, nx)``, likewise.
        gradient_norm: ``(ny, nx)``, ‖∇L‖ on the first split.
        markers: The checkpoints, in coordinates of the plane.
        trajectory: The path of a run, or the points of a curve, in order.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    loss: NDArray[np.float64]
    accuracy: _Field
    computed: NDArray[np.bool_]
    meta: Mapping[str, object]
    test_loss: _Field = None
    test_accuracy: _Field = None
    gradient_norm: _Field = None
    markers: Landmarks | None = None
    trajectory: Landmarks | None = None

    def __post_init__(self) -> None:
        ny, nx = shape = (len(self.y), len(self.x))
        for name in ("x", "y", *VALUES, "computed"):
            array = getattr(self, name)
            if array is None:
                continue
            expected = (array.size,) if name in "xy" else shape
            if array.shape != expected:
                raise ValueError(f"{name} has shape {array.shape}; {nx} × {ny} points need {expected}")
            frozen = np.array(array, dtype=bool if name == "computed" else np.float64)
            frozen.setflags(write=False)
            object.__setattr__(self, name, frozen)  # the class is frozen
            if name in "xy" and not (np.diff(frozen) > 0).all():
                raise ValueError(f"the coordinates {name} do not increase")
        for name in _LANDMARKS:
            marks = getattr(self, name)
            if marks is not None and marks.coordinates.shape[1] != (1 if self.is_line else 2):
                raise ValueError(f"{name} have {marks.coordinates.shape[1]} coordinates each")

    def __repr__(self) -> str:
        label = f"'{self.meta['label']}', " if "label" in self.meta else ""
        axes = [self.x] if self.is_line else [self.x, self.y]
        points = " × ".join(str(len(axis)) for axis in axes)
        ranges = " by ".join(f"{axis[0]:.4g} to {axis[-1]:.4g}" for axis in axes)
        losses = self.loss[self.computed & np.isfinite(self.loss)]
        loss = f"loss {losses.min():.4g} to {losses.max():.4g}" if losses.size else "no finite loss"
        part = "" if self.complete else f", {int(self.computed.sum())} of {self.computed.size} computed"
        return f"Surface({label}{points} points, {ranges}, {loss}{part}; {', '.join(self.values)})"

    def _repr_html_(self) -> str:
        """What a notebook shows beside the picture, which :mod:`landscape.plotting` draws."""
        kind = self.meta.get("plane", {})
        rows = [("plane", str(kind.get("kind", "")) if isinstance(kind, Mapping) else "")]
        for name, axis in (("x", self.x), ("y", self.y)):
            if name == "x" or not self.is_line:
                rows.append((name, f"{len(axis)} points, {axis[0]:.4g} to {axis[-1]:.4g}"))
        for name, values in self.values.items():
            known = values[self.computed & np.isfinite(values)]
            rows.append((name, f"{known.min():.4g} to {known.max():.4g}" if known.size else "not finite"))
        if not self.complete:
            rows.append(("computed", f"{int(self.computed.sum())} of {self.computed.size} points"))
        return Grid(("surface", str(self.meta.get("label", ""))), rows).html()

    @property
    def is_line(self) -> bool:
        """Whether there is only one direction: L(θ + a·d₁)."""
        return len(self.y) == 1

    @property
    def values(self) -> dict[str, NDArray[np.float64]]:
        """The quantities known at each point, by their names in :data:`VALUES`."""
        return {name: getattr(self, name) for name in VALUES if getattr(self, name) is not None}

    @property
    def complete(self) -> bool:
        """Whether every point was computed."""
        return bool(self.computed.all())

    @property
    def centre_error(self) -> float | None:
        """The loss at (0, 0) minus the loss that the objective has there; ``None`` off the grid."""
        row, column = np.flatnonzero(self.y == 0), np.flatnonzero(self.x == 0)
        centre = self.meta.get("centre")
        if not (
            row.size and column.size and isinstance(centre, Mapping) and self.computed[row[0], column[0]]
        ):
            return None
        return float(self.loss[row[0], column[0]]) - float(centre["loss"])

    def described(self, **meta: object) -> "Surface":
        """The same surface with entries added to ``meta``: the ``command``, the name of the ``loss``, …"""
        return dataclasses.replace(self, meta={**self.meta, **meta})

    def preview(self) -> "Surface":
        """The finest regular sub-grid around the centre of which every point was computed.

        Raises:
            UsageError: Fewer than 2 × 2 points of such a grid (2 of a line) were computed.
        """
        ny, nx = self.loss.shape
        for stride in (1 << k for k in itertools.count()):
            columns = slice((nx // 2) % stride, None, stride)
            rows = slice((ny // 2) % stride, None, stride)
            computed = self.computed[rows, columns]
            if min(computed.shape) < 2 and not (self.is_line and computed.size > 1):
                raise UsageError(
                    f"nothing to preview: {int(self.computed.sum())} of {nx * ny} points are computed"
                )
            if computed.all():
                break
        return dataclasses.replace(
            self,
            x=self.x[columns],
            y=self.y[rows],
            computed=computed,
            meta=self.meta if stride == 1 else {**self.meta, "preview": {"points": [nx, ny]}},
            **{name: array[rows, columns] for name, array in self.values.items()},  # type: ignore[arg-type]
        )

    def save(self, path: str | Path) -> None:
        """Writes an ``.npz`` without pickles: the same bytes for the same surface, complete or not at all."""
        write_whole(Path(path), self.to_bytes())

    def to_bytes(self) -> bytes:
        """The content of the file that :meth:`save` writes."""
        arrays = {"x": self.x, "y": self.y, **self.values, "computed": self.computed}
        for name in _LANDMARKS:
            marks: Landmarks | None = getattr(self, name)
            if marks is not None:
                arrays[name], arrays[f"{name}_distances"] = marks.coordinates, marks.distances
                arrays[f"{name}_labels"] = np.array(marks.labels, dtype=np.str_)
        meta = json.dumps({**self.meta, "schema": SCHEMA}, sort_keys=True, ensure_ascii=False)
        buffer = io.BytesIO()
        # The same bytes each time: numpy stamps the members of an archive with 1980-01-01, not with the clock.
        np.savez(buffer, allow_pickle=False, **arrays, meta=np.array(meta))
        return buffer.getvalue()

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """The surface in a file; nothing in the file is run.

        Raises:
            InputError: There is no such file, it is damaged, or it is not a surface.
        """
        path = Path(path)
        if not path.exists():
            raise InputError(f"{path}: no such file; {_WAY_OUT}")
        try:
            arrays = read_arrays(path, what="surface")
            for name, array in arrays.items():
                check_points(path, name, array.nbytes if name == "meta" else array.size)
            meta = json.loads(str(arrays.pop("meta")))
            schema = meta.get("schema")
            if schema != SCHEMA:
                raise InputError(f"{path} has schema {schema!r}, this version reads {SCHEMA!r}")
            problem = misfit(meta)
            if problem is not None:
                raise ValueError(problem)
            fields: dict[str, Any] = {name: arrays[name] for name in ("x", "y", "computed", "loss")}
            fields |= {name: arrays.get(name) for name in VALUES[1:]}
            fields |= {name: _landmarks(name, arrays) for name in _LANDMARKS}
            return cls(meta=meta, **fields)
        except InputError as failure:
            raise InputError(f"{failure}; {_WAY_OUT}") from failure
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as e:
            reason = str(e).splitlines()[0] if str(e) else type(e).__name__
            raise InputError(f"{path} is damaged or not a surface ({reason}); {_WAY_OUT}") from e


def _landmarks(name: str, arrays: Mapping[str, NDArray[np.generic]]) -> Landmarks | None:
    if name not in arrays:
        return None
    labels = tuple(str(label) for label in arrays[f"{name}_labels"])
    return Landmarks(arrays[name], arrays[f"{name}_distances"], labels)  # type: ignore[arg-type]


_WAY_OUT = "surfaces are written by `landscape surface CHECKPOINT -o FILE.npz`"
