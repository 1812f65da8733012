"""The exceptions and the warning that a user sees, one class per exit code of the command line.

The first two are kinds of ``ValueError``, which is enough for most callers to catch. Their text says what failed, the
value, the reason, and what to do instead.
"""


class UsageError(ValueError):
    """A requested name, option or number does not exist or is not allowed (exit code 2)."""


class InputError(ValueError):
    """A file, model or data set cannot be used, or they do not belong together (exit code 3)."""


class OutOfMemory(MemoryError):
    """Not even one example, or a batch that cannot be split, fits in memory (exit code 5)."""


class Remark(UserWarning):
    """The result is correct but was computed differently from what was requested."""


def is_out_of_memory(failure: BaseException) -> bool:
    """Whether a failure means that a device or the system ran out of memory, whatever its class."""
    if isinstance(failure, OutOfMemory):
        return False
    words = str(failure).lower()
    return (
        isinstance(failure, MemoryError)
        or type(failure).__name__ == "OutOfMemoryError"
        or (
            isinstance(failure, RuntimeError)
            and ("out of memory" in words or "can't allocate memory" in words)
        )
    )
