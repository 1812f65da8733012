"""A network of ``fully_shard`` as a plain one without values, and its weights, read one at a time."""

import copy
import sys
from typing import Any

import torch
from torch import Tensor, nn

from landscape.objective.shards import Read

# Where FSDP2 keeps what it knows of a module, and the hooks with which it gathers and drops weights.
_STATE = "__composable_api"
_HOOKS = (
    "_forward_pre_hooks",
    "_forward_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)


def is_fully_sharded(model: nn.Module) -> bool:
    """Whether ``fully_shard`` alone has divided the weights of a network, so that it can be taken apart."""
    modules = _modules_of(model)
    inside = {id(parameter) for module in modules for parameter in module.parameters()}
    divided = [parameter for parameter in model.parameters() if hasattr(parameter, "full_tensor")]
    # Tensor parallelism divides along a second dimension, and changes what layers compute.
    return bool(modules) and all(id(p) in inside and _dimensions(p) <= 1 for p in divided)


def taken_apart(model: nn.Module) -> tuple[nn.Module, Read]:
    """A copy of a network of ``fully_shard`` with plain modules on the meta device, and what reads its weights.

    The network stays as it is, but for weights that its last forward pass has left whole, which it gathers again.
    All processes read the same weights in the same order; each is whole while it is read.
    """
    modules = _modules_of(model)
    for module in modules:
        module.reshard()
    weights = dict(model.named_parameters())
    memo: dict[int, object] = {
        id(p): nn.Parameter(torch.empty(p.shape, dtype=p.dtype, device="meta"), requires_grad=p.requires_grad)
        for p in weights.values()
    }
    states = []
    for module in modules:
        memo[id(module._get_fsdp_state())] = object()
        # Modules of FSDP refuse to be copied; the class that each had is that after FSDPModule among its bases.
        plain_class: Any = type(module).__mro__[type(module).__mro__.index(_kind()) + 1]
        memo[id(module)] = twin = plain_class.__new__(plain_class)
        states.append((twin, module.__getstate__()))
    for twin, state in states:
        twin.__setstate__(copy.deepcopy(state, memo))
    plain: nn.Module = copy.deepcopy(model, memo)
    for module in plain.modules():
        _forget(module)

    def read(name: str, start: int, stop: int) -> Tensor:
        weight: Any = weights[name].detach()
        whole: Tensor = weight.full_tensor() if hasattr(weight, "full_tensor") else weight
        return whole.reshape(-1)[start:stop]

    return plain, read


def _modules_of(model: nn.Module) -> list[Any]:
    """The modules to which ``fully_shard`` was applied."""
    kind = _kind()
    return [] if kind is None else [module for module in model.modules() if isinstance(module, kind)]


def _kind() -> Any:
    """The class of such modules; ``None`` if nobody has imported it, which costs a second, so that there is none."""
    return getattr(sys.modules.get("torch.distributed.fsdp"), "FSDPModule", None)


def _dimensions(parameter: Any) -> int:
    """Along how many dimensions of the mesh a weight is divided, rather than repeated."""
    return sum(not placement.is_replicate() for placement in parameter.placements)


def _forget(module: nn.Module) -> None:
    """Removes what FSDP has left in a copied module."""
    for key in [key for key in vars(module) if key.startswith(_STATE)]:
        del vars(module)[key]
    for key in _HOOKS:
        hooks = vars(module)[key]
        for number, hook in list(hooks.items()):
            if getattr(getattr(hook, "hook", hook), "__module__", "").startswith("torch.distributed.fsdp"):
                del hooks[number]
