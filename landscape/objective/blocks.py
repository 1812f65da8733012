"""The natural blocks of a network: its transformer blocks, its residual blocks, or else its outermost layers."""

from collections.abc import Iterator, Sequence

from torch import nn

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
# What networks whose stages are classes of their own (timm, Hugging Face) call the blocks of a stage.
_BLOCKS = "blocks", "layers", "layer", "h"


def natural_blocks(network: nn.Module) -> dict[str, nn.Module]:
    """The blocks by name, in the order of the network; none lies inside another.

    A block is a module with parameters and submodules that is an entry of a ``Sequential``, ``ModuleList`` or
    ``ModuleDict``: ``transformer.h.0``, ``layer1.0``. Entries that are such containers, or stages, are entered. A
    network without blocks is divided into its outermost layers with parameters; one that is a single layer is one
    block, whose name is empty.
    """
    return dict(_entries(network, "")) or _outermost(network)


def parameters_by_block(network: nn.Module, names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Parameter names by the name of their block, in order; those outside the blocks by the module that owns them.

    Args:
        network: The network.
        names: Which of its parameters; each ends up in exactly one group.
    """
    blocks = natural_blocks(network)
    groups: dict[str, list[str]] = {}
    for name in names:
        owner = name.rpartition(".")[0]
        inside = [block for block in blocks if not block or name.startswith(f"{block}.")]
        groups.setdefault(inside[0] if inside else owner, []).append(name)
    return {block: tuple(members) for block, members in groups.items()}


def _entries(module: nn.Module, name: str) -> Iterator[tuple[str, nn.Module]]:
    """The outermost blocks inside a module."""
    for child_name, child in module.named_children():
        path = f"{name}.{child_name}".lstrip(".")
        if isinstance(module, _CONTAINERS) and _is_composite(child) and not _holds_blocks(child):
            yield path, child
        elif not nn.utils.parametrize.is_parametrized(child):
            yield from _entries(child, path)


def _is_composite(module: nn.Module) -> bool:
    """Whether a module has parameters, and submodules that are not what computes one of its own weights."""
    parts = [name for name, _ in module.named_children() if name != "parametrizations"]
    return bool(parts) and next(module.parameters(), None) is not None


def _holds_blocks(module: nn.Module) -> bool:
    """Whether a module is a container of blocks, or a stage."""
    if isinstance(module, _CONTAINERS):
        return any(map(_is_composite, module.children()))
    return any(
        isinstance(child, _CONTAINERS) and _holds_blocks(child)
        for name, child in module.named_children()
        if name in _BLOCKS
    )


def _outermost(network: nn.Module) -> dict[str, nn.Module]:
    """The outermost submodules with parameters; those of the only one if there is only one."""
    name, module = "", network
    while True:
        layers = {
            f"{name}.{child_name}".lstrip("."): child
            for child_name, child in module.named_children()
            if child_name != "parametrizations" and next(child.parameters(), None) is not None
        }
        own = next(module.parameters(recurse=False), None) is not None
        if len(layers) != 1 or own:
            return layers or {name: module}
        ((name, module),) = layers.items()
