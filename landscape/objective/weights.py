"""Where the free parameters of a private network are stored: in one vector, which the network stands at.

Moving a network needs no copy of a point that its owner never writes to: the parameters become views of it. Only a
point that may change, such as a perturbed one, is copied into a vector of the network's own, which is given up when
the network moves on to a point that does not.
"""

import contextlib
import copy
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from landscape.errors import InputError
from landscape.parameters import Layout


class Weights:
    """The free parameters of a network as views of one vector.

    Args:
        layout: Names, shapes and places of the parameters.
        parameters: The parameters, in that order.
        vector: θ, ``(n,)``; parameters that are no views of it yet are copied into it.

    Attributes:
        vector: θ where the network stands, ``(n,)``; not to be written to.
    """

    def __init__(self, layout: Layout, parameters: Sequence[nn.Parameter], vector: Tensor) -> None:
        self._layout, self._parameters = layout, parameters
        self.vector = vector
        self._own: Tensor | None = None
        for parameter, view in zip(parameters, layout.split(vector), strict=True):
            if parameter.data_ptr() != view.data_ptr():
                view.copy_(parameter.detach())
                parameter.data = view

    def stand_on(self, point: Tensor) -> None:
        """Makes the parameters views of a point that nobody writes to."""
        self._own = None
        self._use(point)

    def copy(self, point: Tensor) -> None:
        """Copies a point into a vector of the network's own."""
        if self._own is None:
            own = torch.empty_like(self.vector)
            own.copy_(point)
            self._use(own)
            self._own = own
        else:
            self._own.copy_(point)

    @contextlib.contextmanager
    def elsewhere(self) -> Iterator[Tensor]:
        """Inside, the network moves freely; afterwards it stands where it stood, whose vector this yields."""
        here, own = self.vector, self._own
        self._own = None  # copies are made beside it
        try:
            yield here
        finally:
            self._use(here)
            self._own = own

    def _use(self, vector: Tensor) -> None:
        for parameter, view in zip(self._parameters, self._layout.split(vector), strict=True):
            parameter.data = view
        self.vector = vector


def copied_network(
    model: nn.Module, free: Layout, *, device: torch.device, dtype: torch.dtype
) -> tuple[nn.Module, Tensor]:
    """A copy of a network with every weight copied once, and the vector ``(n,)`` that its free ones are views of.

    Raises:
        InputError: The network cannot be copied.
    """
    vector = torch.empty(free.dimension, device=device, dtype=dtype)
    views = free.named(vector)
    memo: dict[int, object] = {}
    for name, parameter in model.named_parameters():
        if type(parameter) is not nn.Parameter:  # of a class of its own, which may hold more than a tensor
            continue
        if name in views:
            copied_to = views[name].copy_(parameter.detach())
        else:
            kind = dtype if parameter.is_floating_point() else parameter.dtype  # integers stay integers
            copied_to = parameter.detach().to(device=device, dtype=kind, copy=True)
        memo[id(parameter)] = nn.Parameter(copied_to, requires_grad=False)
    return deep_copy(model, memo), vector


def deep_copy(model: nn.Module, memo: dict[int, object]) -> nn.Module:
    """``copy.deepcopy(model, memo)``.

    Raises:
        InputError: The network cannot be copied.
    """
    try:
        return copy.deepcopy(model, memo)
    except (RuntimeError, TypeError) as failure:
        raise InputError(
            f"{type(model).__name__} cannot be copied ({str(failure).splitlines()[0]}); a weight that a hook "
            "computes (torch.nn.utils.weight_norm) must be made by torch.nn.utils.parametrizations instead"
        ) from failure


def given_network(
    model: nn.Module, free: Layout, *, device: torch.device, dtype: torch.dtype
) -> tuple[nn.Module, Tensor]:
    """The network itself, whose free weights have moved into one vector ``(n,)``, which this returns too."""
    parameters = dict(model.named_parameters())
    for parameter in parameters.values():
        parameter.grad = None
    if device.type != "cpu":
        # By way of the host, for the device may not have room for the weights twice. The pages of a vector on the CPU
        # are taken one after the other, as it is filled, so that nothing is there twice.
        for name in free.names:
            parameters[name].data = parameters[name].detach().cpu()
    vector = torch.empty(free.dimension, device=device, dtype=dtype)
    for name, view in free.named(vector).items():
        view.copy_(parameters[name].detach())
        parameters[name].data = view
    return model, vector
