"""The parameters of an optimizer as one vector: displaced, restored bit for bit, and their gradients.

The user's tensors keep their storage: nothing is rebound, so compiled graphs, data-parallel buckets and the
cached lists of an optimizer stay valid. The saved copy lives in one buffer, kept between steps; so do the
displaced weights, where the tensors are so small that the views of a vector cost more than copying it.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor

from landscape.draws import Rows, one_by_one
from landscape.errors import InputError, UsageError
from landscape.processes.group import ALONE, Group

_SMALL = 1 << 14  # numbers of a tensor that are copied in about the time that a view takes
Groups = Sequence[Mapping[str, Any]]
# Private, but one call for a whole list of tensors; a loop over views costs more than the copy it prepares.
_concatenate: Callable[[list[Tensor]], Tensor] = torch._C._nn.flatten_dense_tensors
_unflatten: Callable[[Tensor, list[Tensor]], Sequence[Tensor]] = torch._C._nn.unflatten_dense_tensors


class FlatParameters:
    """The free parameters of all groups, in group order, as a vector ``(n,)``.

    Frozen parameters are left out, tied ones come once, and a complex one counts as pairs of reals.

    Attributes:
        group: The processes that have a part of the vector each; this process alone, unless the parameters are sharded.
        dimension: n, of the part of this process.
        total_dimension: That of all parts together.
    """

    group: Group = ALONE

    def __init__(self, groups: Groups) -> None:
        self._identities = _identities(groups)
        by_group = [list(dict.fromkeys(p for p in g["params"] if p.requires_grad)) for g in groups]
        self.parameters = [p for members in by_group for p in members]
        if not self.parameters:
            raise UsageError(
                "no parameter of the base optimizer requires a gradient; call requires_grad_(True)"
            )
        self.device = self.parameters[0].device
        devices = sorted({str(p.device) for p in self.parameters})
        if len(devices) > 1:
            raise InputError(
                f"a sharpness-aware step needs all parameters on one device, got {', '.join(devices)}"
            )
        self.is_on_host = self.device.type == "cpu"  # where to read a number costs nothing
        self._complex = any(p.is_complex() for p in self.parameters)
        self._kind = (self.device, self.parameters[0].dtype)
        ends = list(accumulate((sum(self._own(p).numel() for p in m) for m in by_group), initial=0))
        self.group_slices = [slice(a, b) for a, b in pairwise(ends)]
        self.dimension = self.total_dimension = ends[-1]
        dtype = functools.reduce(torch.promote_types, (self._own(p).dtype for p in self.parameters))
        self._saved = torch.empty(self.dimension, dtype=dtype, device=self.device)
        self._moved = (
            torch.empty_like(self._saved) if self.dimension <= _SMALL * len(self.parameters) else None
        )
        self._saved_views = self.split(self._saved)
        self._moved_views = [] if self._moved is None else self.split(self._moved)
        self._everyone = frozenset(range(len(self.parameters)))
        self._masks: dict[Callable[[Tensor], bool], Tensor] = {}
        self.begin_step()

    def fits(self, groups: Groups) -> bool:
        """Whether this is still the vector of these groups: nothing added, frozen, moved or cast since."""
        first = self.parameters[0]
        return self._kind == (first.device, first.dtype) and self._identities == _identities(groups)

    def begin_step(self) -> None:
        """Forget what the last step saved: the weights have changed since."""
        self._is_saved = False
        self._without_gradient = self._everyone
        self.is_written = False

    def split(self, vector: Tensor) -> list[Tensor]:
        """The views of a vector ``(n,)``, shaped like the parameters."""
        return list(_unflatten(vector, self.tensors))

    def flatten(self, tensors: Sequence[Tensor | None]) -> Tensor:
        """The vector of tensors shaped like the parameters; ``None`` is zero, sparse is filled in."""
        dense = [
            torch.zeros_like(p) if t is None else self._own(t if t.layout is torch.strided else t.to_dense())
            for p, t in zip(self.tensors, tensors, strict=True)
        ]
        return _flatten(dense)

    def where(self, predicate: Callable[[Tensor], bool]) -> Tensor:
        """The boolean vector ``(n,)`` that is true on parameters with a property that does not change."""
        if predicate not in self._masks:
            values = [
                torch.full_like(tensor, predicate(p), dtype=torch.bool)
                for p, tensor in zip(self.parameters, self.tensors, strict=True)
            ]
            self._masks[predicate] = _flatten(values)
        return self._masks[predicate]

    def drawn(self, draw: Callable[..., Tensor], rows: Rows, *, like: Tensor) -> Tensor:
        """Random vectors ``(rows, n)`` from a method of :class:`~landscape.draws.Draws`."""
        return draw(rows, self.dimension, like=like)

    def drawn_one_by_one(self, draw: Callable[..., Tensor], rows: int, *, like: Tensor) -> Iterator[Tensor]:
        """The same vectors ``(n,)`` one after the other."""
        return one_by_one(
            lambda numbers, _, like: self.drawn(draw, numbers, like=like), rows, self.dimension, like=like
        )

    @property
    def tensors(self) -> list[Tensor]:
        """The parameters, complex ones as pairs of reals; of sharded ones the part of this process."""
        return [_real(p) for p in self.parameters] if self._complex else self.parameters

    def _own(self, tensor: Tensor) -> Tensor:
        """A parameter, or a tensor that lies as one does, as :attr:`tensors` has it."""
        return _real(tensor)

    @property
    def values(self) -> Tensor:
        """The weights w ``(n,)`` of this step, not displaced. Not to be written to."""
        if not self._is_saved:
            torch._foreach_copy_(self._saved_views, self.tensors)
            self._is_saved = True
        return self._saved

    def assign(self, vector: Tensor) -> None:
        """Make a vector ``(n,)`` the weights."""
        torch._foreach_copy_(self.tensors, self.split(vector))
        self._is_saved = False

    def displace(self, displacement: Tensor, times: float = 1.0) -> None:
        """Make w + times · displacement ``(n,)`` the weights, until ``restore``."""
        values = self.values  # which saves them
        if self._moved is None:
            torch._foreach_add_(self.tensors, self.split(displacement), alpha=times)
        else:
            torch.add(values, displacement, alpha=times, out=self._moved)
            torch._foreach_copy_(self.tensors, self._moved_views)

    def restore(self) -> None:
        """Make w the weights again, bit for bit."""
        if self._is_saved:
            torch._foreach_copy_(self.tensors, self._saved_views)

    def clear_gradients(self) -> None:
        """Drop every ``.grad``, so that a pass starts from none whatever the closure clears."""
        for parameter in self.parameters:
            parameter.grad = None

    def gradients(self) -> Tensor | None:
        """The vector ``(n,)`` of what the last pass left in ``.grad``; ``None`` if it left nothing at all.

        ``is_written`` says whether ``write_gradients`` of this very vector would change nothing.
        """
        gradients = self._gradients()
        dense = [g for g in gradients if g is not None and g.layout is torch.strided]
        if len(dense) == len(gradients) and not self._complex:
            self._without_gradient = frozenset()
            self.is_written = True
            return _flatten(dense)
        missing = {i for i, g in enumerate(gradients) if g is None}
        if len(missing) == len(gradients):
            return None
        self._without_gradient &= missing
        self.is_written = len(dense) + len(missing) == len(gradients) and missing == self._without_gradient
        return self.flatten(gradients)

    def _gradients(self) -> list[Tensor | None]:
        return [p.grad for p in self.parameters]

    def write_gradients(self, vector: Tensor) -> None:
        """Put a vector ``(n,)`` into ``.grad``; a parameter that no pass reached keeps ``None``."""
        views = self.split(vector) if self._moved is None else self._moved_views
        if self._moved is not None:
            self._moved.copy_(vector)
        targets, sources = [], []
        for i, (parameter, view) in enumerate(zip(self.parameters, views, strict=True)):
            if i in self._without_gradient:
                continue
            if parameter.grad is None or parameter.grad.layout is not torch.strided:
                parameter.grad = torch.zeros_like(parameter)
            targets.append(self._own(parameter.grad))
            sources.append(view)
        torch._foreach_copy_(targets, sources)


def _flatten(tensors: list[Tensor]) -> Tensor:
    # Of a single tensor torch makes a view, and writing into the vector would write into ``.grad``.
    return _concatenate(tensors) if len(tensors) > 1 else tensors[0].flatten().clone()


def _identities(groups: Groups) -> list[int]:
    return [id(p) for group in groups for p in group["params"] if p.requires_grad]


def _real(tensor: Tensor) -> Tensor:
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor
