"""Activation checkpointing of the natural blocks of a private copy, switched on for single passes."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from landscape.errors import UsageError
from landscape.isolation.derivatives import twice_differentiable
from landscape.isolation.recomputing import recomputed
from landscape.isolation.switches import assigned
from landscape.objective.batch import tensors_in
from landscape.objective.blocks import natural_blocks
from landscape.objective.shards import Shards


@dataclass
class Recomputation:
    """Which blocks are computed again in backward passes, and whether they are now.

    Attributes:
        blocks: Their forward passes by name.
        obstacle: Why none is; empty if they are, ``None`` if it is not known yet.
        share: The memory of the graph of a gradient with it, relative to that without.
        attention: Whether the network may use attention.
        saving: The context of passes that are differentiated.
    """

    blocks: "dict[str, Block]" = field(default_factory=dict)
    obstacle: str | None = None
    share: float = 1.0
    attention: bool = True
    saving: Callable[[], AbstractContextManager[object]] = contextlib.nullcontext
    is_on: bool = False
    is_watching: bool = False

    @contextlib.contextmanager
    def on(self) -> Iterator[None]:
        """Inside, forward passes keep only what lies between blocks."""
        with assigned((self, "is_on", True)):
            yield

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Inside, nothing is computed again, and blocks are judged by what they write to."""
        with assigned((self, "is_watching", True)):
            yield

    @property
    def notes(self) -> list[str]:
        """A line on what is computed again, once it is known."""
        if self.obstacle is None:
            return []
        if self.obstacle:
            return [f"recompute changes nothing here: {self.obstacle}"]
        names = [name for name, block in self.blocks.items() if block.is_suited and block.calls]
        few = ", ".join(names[:2]) + (", …" if len(names) > 2 else "")
        return [
            f"{len(names)} blocks ({few}) are computed again in backward passes: the graph of a gradient takes "
            f"{100 * self.share:.0f} % of its memory"
        ]


class Block:
    """The forward pass of a block, which is computed again in backward passes while that is switched on."""

    def __init__(self, module: nn.Module, switch: Recomputation) -> None:
        self.forward, self.module, self.switch = module.forward, module, switch
        self.weights = list(module.parameters())
        self.is_suited = True
        self.calls = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the block returns."""
        self.calls += 1
        if self.switch.is_watching:
            return self._watched(args, kwargs)
        if not (self.switch.is_on and self.is_suited and self._has_its_own_weights):
            return self.forward(*args, **kwargs)
        return recomputed(self.forward, self.weights, args, kwargs, context=self._again)

    @contextlib.contextmanager
    def _again(self) -> Iterator[None]:
        with twice_differentiable(attention=self.switch.attention), self.switch.saving():
            yield

    @property
    def _has_its_own_weights(self) -> bool:
        """Whether nothing takes the place of its weights, and no transform of ``torch.func`` is at work."""
        if not torch.is_grad_enabled() or torch._C._functorch.peek_interpreter_stack() is not None:
            return False
        return all(a is b for a, b in zip(self.module.parameters(), self.weights, strict=True))

    def _watched(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        before = [tensor._version for tensor in tensors_in((args, kwargs))]
        results = self.forward(*args, **kwargs)
        # What it has written to would not be what it was when it is computed again.
        self.is_suited &= [tensor._version for tensor in tensors_in((args, kwargs))] == before
        return results


def recomputation(model: nn.Module, products: str, shards: Shards) -> Recomputation:
    """Prepares the natural blocks of a private copy, which is changed, for being computed again.

    Raises:
        UsageError: For products of another kind than double backward.
    """
    if products == "forward-over-reverse":
        raise UsageError(
            'recompute=True is for products="double-backward": products="forward-over-reverse" keep no graph; leave '
            "one of the two out"
        )
    switch = Recomputation(saving=shards.saving)
    for name, block in natural_blocks(model).items():
        switch.blocks[name] = block.forward = Block(block, switch)
    return switch
