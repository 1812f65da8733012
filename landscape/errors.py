"""What a user can be told, told apart so that the command line can exit with the right code.

The two mistakes are ``ValueError``: a caller who does not care catches that. The text is written for the reader at
2 a.m.: what, the value seen, why, and what to type instead.
"""


class UsageError(ValueError):
    """A name, option or number that was asked for does not exist or is not allowed (exit code 2)."""


class InputError(ValueError):
    """A file, model or data set cannot be used, or they do not fit together (exit code 3)."""


class OutOfMemory(MemoryError):
    """Not even one example, or a batch that cannot be split, fits in memory (exit code 5)."""


class Remark(UserWarning):
    """The result is right, but was had in another way than was asked for."""


def is_out_of_memory(failure: BaseException) -> bool:
    """Whether a device or the system had no memory left, whatever class says so."""
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
