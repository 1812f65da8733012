"""What ended a run, in a line."""

from landscape.errors import InputError, OutOfMemory, UsageError, is_out_of_memory


def reason(failure: BaseException) -> str:
    """The line for a reader; the kind of exception comes first where it is none that we foresee."""
    from landscape.training.trainer import DivergedError

    text = " ".join(str(failure).split())
    if isinstance(failure, (InputError, UsageError, DivergedError, OutOfMemory)):
        return text
    if is_out_of_memory(failure):
        return "out of memory; try a smaller batch (-b 32) or fewer at a time (--jobs 1)"
    if isinstance(failure, OSError):
        return f"{failure.filename}: {failure.strerror}" if failure.filename else text
    return f"{type(failure).__name__}: {text}" if text else type(failure).__name__


def is_foreseen(failure: BaseException) -> bool:
    """Whether the line says all there is to know, so that no traceback is needed."""
    from landscape.training.trainer import DivergedError

    kinds = (InputError, UsageError, DivergedError, OutOfMemory, OSError)
    return isinstance(failure, kinds) or is_out_of_memory(failure)
