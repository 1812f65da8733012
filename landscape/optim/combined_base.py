"""One base optimizer of several, for a base that takes some parameters only, as Muon takes matrices."""

from collections.abc import Callable
from typing import Any

import torch

from landscape.errors import UsageError


class Combined(torch.optim.Optimizer):
    """Several optimizers that step one after the other, each with its groups, as one with all groups.

    They share its groups and state, so that schedulers, radii of groups and checkpoints see one optimizer.

    Args:
        members: Optimizers without a parameter in common.

    Raises:
        UsageError: A parameter is in two of them.
    """

    def __init__(self, *members: torch.optim.Optimizer) -> None:
        self._members = members
        self._counts = [len(member.param_groups) for member in members]
        groups = [group for member in members for group in member.param_groups]
        numbers = [id(parameter) for group in groups for parameter in group["params"]]
        if len(set(numbers)) < len(numbers):
            raise UsageError("a parameter is in two of the combined optimizers; give each to one of them")
        super().__init__([{"params": list(group["params"])} for group in groups], {})
        self.param_groups = groups
        for member in members:
            self.state.update(member.state)
        self._share()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """The steps of all, after the closure, whose loss is returned, if there is one."""
        with torch.enable_grad():
            loss = None if closure is None else closure()
        device = self.param_groups[0]["params"][0].device
        # In which Muon's products would have its precision.
        with torch.autocast(device.type, enabled=False):
            for member in self._members:
                member.step()
        return loss

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Raises a :class:`UsageError` once there are groups, as nothing says whose a new one would be."""
        if "_is_shared" in vars(self):
            raise UsageError(
                "a combined base has the groups of its members; build it again with the new group"
            )
        super().add_param_group(param_group)

    def _share(self) -> None:
        """Give the members their part of the groups, and the state."""
        self._is_shared = True
        start = 0
        for member, count in zip(self._members, self._counts, strict=True):
            member.param_groups = self.param_groups[start : start + count]
            member.state = self.state
            start += count

    def __getstate__(self) -> dict[str, Any]:
        return dict(vars(self))  # with the members, which torch would leave out

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # also what loading a state ends with
        self._share()
