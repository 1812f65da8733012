"""Reading of data loaders, whatever the modes, default device and generators of the caller."""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from torch.utils.data import DataLoader

from landscape.isolation.modes import on_device, outside_modes
from landscape.isolation.randomness import Generators, private_randomness

T = TypeVar("T")


@contextlib.contextmanager
def loading(loader: DataLoader[Any]) -> Iterator[None]:
    """Inside, examples are read: new tensors are where a loader and its samplers draw, by default on the CPU."""
    with on_device("cpu" if loader.generator is None else loader.generator.device), outside_modes():
        yield


def loaded(source: Iterable[T]) -> Iterator[T]:
    """The items of an iterable; those of a ``DataLoader`` are read in :func:`loading`."""
    if not isinstance(source, DataLoader):
        yield from source
        return
    iterator: Iterator[T] | None = None
    while True:
        with loading(source):
            iterator = iter(source) if iterator is None else iterator
            try:
                item = next(iterator)
            except StopIteration:
                return
        yield item


def undisturbed(source: Iterable[T]) -> Iterator[T]:
    """The items of an iterable that may draw from the global generators, as loaders do, with a stream of its own."""
    if isinstance(source, (list, tuple)):
        yield from source
        return
    stream: Generators | None = None
    iterator: Iterator[T] | None = None
    while True:
        with private_randomness():
            if stream is not None:
                stream.restore()
            iterator = loaded(source) if iterator is None else iterator
            try:
                item = next(iterator)
            except StopIteration:
                return
            stream = Generators()
        yield item
