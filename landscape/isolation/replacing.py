"""Functions of torch that others take the place of for a while, in whatever module calls them."""

from collections.abc import Callable, Mapping
from typing import Any

from torch.overrides import TorchFunctionMode


class Replacing(TorchFunctionMode):
    """A context in which calls of some functions of torch go to others with the same parameters.

    Args:
        replacements: What is called instead, by the function of torch.
    """

    def __init__(self, replacements: Mapping[Any, Callable[..., Any]]) -> None:
        super().__init__()
        self._replacements = replacements

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs an operation of torch, or what replaces it."""
        return self._replacements.get(func, func)(*args, **(kwargs or {}))
