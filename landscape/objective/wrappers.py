"""Networks inside other modules: DataParallel, compiled and averaged ones, taken out so that θ has plain names."""

import dataclasses

from torch import nn
from torch.optim.swa_utils import AveragedModel

from landscape.parameters import Layout

_PARALLEL = (nn.DataParallel, nn.parallel.DistributedDataParallel, AveragedModel)


def unwrapped(model: nn.Module) -> tuple[nn.Module, list[str]]:
    """The network inside its wrappers, which are left as they are, and the names of their classes."""
    taken = []
    while (attribute := _inside(model)) is not None:
        taken.append("torch.compile" if attribute == "_orig_mod" else type(model).__name__)
        model = getattr(model, attribute)
    return model, taken


def without_inner_wrappers(model: nn.Module, layout: Layout) -> tuple[Layout, list[str]]:
    """Takes wrappers out of the parts of a model, which is changed.

    Args:
        model: A copy of the user's network.
        layout: Of its free parameters, by the names that they have with the wrappers.

    Returns:
        The layout with the names that they have now, and the classes of the wrappers.
    """
    found: list[str] = []
    before = dict(model.named_parameters())
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            inner, taken = unwrapped(child)
            if taken:
                setattr(parent, name, inner)
                found += taken
    if not found:
        return layout, []
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    entries = tuple(dataclasses.replace(e, name=names[id(before[e.name])]) for e in layout.entries)
    return Layout(entries), found


def _inside(model: nn.Module) -> str | None:
    """The attribute that holds the network, if the module is a wrapper."""
    if "_orig_mod" in model._modules:
        return "_orig_mod"
    return "module" if isinstance(model, _PARALLEL) else None
