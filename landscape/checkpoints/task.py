"""One function for everything: a task returns ``dict(model=…, data=…, loss=…)``."""

from collections.abc import Mapping
from typing import Any

from landscape.errors import InputError, UsageError
from landscape.registry.factories import user_row
from landscape.registry.names import NameTable, split

PARTS = ("model", "data", "loss")


def load_task(task: str | Mapping[str, Any] | None) -> Mapping[str, Any]:
    """What the task gives, by part; empty where there is no task.

    Args:
        task: ``./file.py:function`` or ``package.module:function`` and its options, or what it would return.

    Raises:
        UsageError: The name has another form, or the function no such option.
        InputError: The function fails, or returns something else.
    """
    if task is None:
        return {}
    found: Any = task
    if isinstance(task, str):
        row = user_row(split(task).name)
        if row is None:
            raise UsageError(f"--task {task} is not ./file.py:function or package.module:function")
        found = NameTable("task", [row]).build(task)
    if not isinstance(found, Mapping) or not found or not set(found) <= set(PARTS):
        seen = (
            f"a dictionary of {', '.join(map(str, found))}"
            if isinstance(found, Mapping)
            else type(found).__name__
        )
        raise InputError(f"{task} returns {seen}; a task returns dict(model=…, data=…, loss=…)")
    return found
