"""The window of a training in which a rule acts, such as the last part; outside it, steps are those of the base."""

from landscape.errors import UsageError


def require_window(name: str, start: float, stop: float, total_steps: int | None) -> None:
    """Raises a :class:`UsageError` for a window that is empty, or whose ends cannot be known."""
    if (start, stop) == (0, 1):
        return
    if start >= stop:
        raise UsageError(
            f"start={start:g} and stop={stop:g} leave no step to {name}; start must be below stop"
        )
    if total_steps is None:
        raise UsageError(
            f"start={start:g} and stop={stop:g} of {name} are shares of a training whose length is not known; pass "
            "total_steps=…, the steps of the whole run (`landscape train` does it)"
        )


def is_within(step: int, start: float, stop: float, total_steps: int | None) -> bool:
    """Whether a step, counted from 0, is in the window; one that ends with the training has no last step."""
    if total_steps is None or (start, stop) == (0, 1):
        return True
    return step >= round(start * total_steps) and (stop == 1 or step < round(stop * total_steps))
