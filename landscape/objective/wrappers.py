"""Wrappers around networks (DataParallel, compiled and averaged ones), removed so that θ has plain names."""

import dataclasses

from torch import nn
from torch.optim.swa_utils import AveragedModel

from landscape.parameters import Layout

_PARALLEL = (nn.DataParallel, nn.parallel.DistributedDataParallel, AveragedModel)


def unwrapped(model: nn.Module) -> tuple[nn.Module, list[str]]:
    """The network inside its wrappers, which stay as they are, and the names of their classes."""
    wrappers = []
    while True:
        if "_orig_mod" in model._modules:  # torch.compile's only mark: its class is private
            wrappers.append("torch.compile")
            model = model._orig_mod  # type: ignore[assignment]
        elif isinstance(model, _PARALLEL):
            wrappers.append(type(model).__name__)
            model = model.module
        else:
            return model, wrappers


def without_inner_wrappers(model: nn.Module, layout: Layout) -> tuple[Layout, list[str]]:
    """Removes wrappers from submodules, in place; returns the layout with the new names, and the wrappers' classes."""
    wrappers: list[str] = []
    before = dict(model.named_parameters())
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            inner, removed = unwrapped(child)
            if removed:
                setattr(parent, name, inner)
                wrappers += removed
    if not wrappers:
        return layout, []
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    entries = tuple(dataclasses.replace(e, name=names[id(before[e.name])]) for e in layout.entries)
    return Layout(entries), wrappers
