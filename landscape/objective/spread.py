"""A network whose weights lie on several devices (``device_map``): θ and its vectors are on the host.

A module that reads a weight gets a copy of θ's part on the device where the weight lay, as a differentiable function
of that part: derivatives of every order come back to the host by themselves, and solvers and sums know one device. The
graph of a pass holds the copies, so that the devices hold what they held before, and the host has room for vectors
that no device has.
"""

import torch
from torch import Tensor, nn

from landscape.errors import InputError
from landscape.objective.gathering import use_parts
from landscape.objective.weights import deep_copy
from landscape.parameters import Layout

HOST = torch.device("cpu")


class Spread:
    """The devices of the weights of a network.

    Args:
        places: Of every parameter, by the ``id`` of what stands for it while the network is taken apart.
    """

    def __init__(self, places: dict[int, torch.device]) -> None:
        self._places = places

    def form(self, parameter: Tensor) -> torch.device:
        """What has to be known of a parameter to make it of its part."""
        return self._places[id(parameter)]

    def weight(self, owner: nn.Module, part: Tensor, device: torch.device) -> Tensor:
        """The weight of a module."""
        return part.to(device)


def devices_of(model: nn.Module) -> dict[torch.device, str]:
    """The devices on which a network has parameters with values, each with the name of one of them."""
    return {p.device: name for name, p in model.named_parameters() if not p.is_meta}


def spread_network(
    model: nn.Module, free: Layout, *, copy: bool, dtype: torch.dtype
) -> tuple[nn.Module, Tensor]:
    """A network whose modules fetch their weights, and the vector ``(n,)`` on the host of which these are views.

    Args:
        model: The network.
        free: Its free parameters.
        copy: Whether the network is copied; otherwise it is changed, and its weights leave their devices.
        dtype: The precision.

    Raises:
        InputError: The network cannot be copied.
    """
    vector = torch.empty(free.dimension, device=HOST, dtype=dtype)
    views, memo = free.named(vector), dict[int, object]()
    parts, places = dict[int, nn.Parameter](), dict[int, torch.device]()
    for name, parameter in model.named_parameters():
        kind = dtype if parameter.is_floating_point() else parameter.dtype  # integers stay integers
        held = views[name].copy_(parameter.detach()) if name in views else parameter.detach().to(HOST, kind)
        stand_in = nn.Parameter(vector.new_empty(0), requires_grad=False) if copy else parameter
        memo[id(parameter)] = stand_in
        places[id(stand_in)] = parameter.device
        parts[id(stand_in)] = nn.Parameter(held, requires_grad=False)
    own = deep_copy(model, memo) if copy else model
    use_parts(own, parts, Spread(places))
    return own, vector


def refuse_offloaded(model: nn.Module, chosen: torch.device | str | None) -> None:
    """Refuses networks of ``device_map`` that load weights for each pass, or are to be moved.

    Raises:
        InputError: Such a network.
    """
    for module in model.modules():
        places = {str(place) for place in (vars(module).get("hf_device_map") or {}).values()}
        if len(places) < 2:
            continue
        layers = (
            f"the layers of {type(module).__name__} are spread over {', '.join(sorted(places))} by device_map"
        )
        if "disk" in places or any(p.is_meta for p in module.parameters()):
            raise InputError(
                f"{layers}, and some weights are loaded for each pass only (offloaded), where no derivative can be "
                "taken in them: load the network again with a device_map over devices that hold all of it, without "
                "'cpu' and 'disk', or without device_map; or divide its weights over processes (shard_weights=True)"
            )
        if chosen is not None:
            raise InputError(
                f"{layers}, between which it moves its activations: it cannot be computed on {chosen} alone; leave "
                "device= out, so that every layer is computed where it is, or load the network without device_map"
            )
