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


class ProcessFailed(RuntimeError):
    """Another of the processes that compute together failed, or does not answer (exit code 1)."""


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
            and any(
                text in words for text in ("out of memory", "can't allocate memory", "_status_alloc_failed")
            )
        )
    )


_ASSERTION = "device-side assert"
_FATAL = (
    _ASSERTION,
    "illegal memory access",
    "illegal instruction",
    "misaligned address",
    "unspecified launch failure",
    "launch timed out",
    "hardware stack error",
    "invalid program counter",
    "uncorrectable ecc error",
)


def device_failure(failure: BaseException | None) -> str | None:
    """What to tell the user if a GPU can no longer be used in this process; ``None`` for any other failure.

    Every later call of CUDA fails too, so that the failure may be one of a cleanup, or an error that was made of it.
    The first in its chain is reported.
    """
    reason: str | None = None
    while failure is not None:
        words = str(failure).lower()
        if isinstance(failure, RuntimeError) and any(text in words for text in _FATAL):
            reason = str(failure).strip().partition("\n")[0].rstrip(".")
        failure = failure.__cause__ or failure.__context__
    if reason is None:
        return None
    why = "a kernel, the driver or the hardware failed"
    if _ASSERTION in reason:
        why = "a kernel met an index out of range, such as a label beyond the classes or a token beyond the vocabulary"
    return (
        f"{reason}: {why}. Nothing more can be computed on a GPU in this process; what is finished is kept. To see "
        "where it happens, run it again with --device cpu, or with CUDA_LAUNCH_BLOCKING=1 in the environment"
    )
