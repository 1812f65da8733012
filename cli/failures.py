"""Turns an exception into one clear line and the documented exit code."""

import functools
import os
import shlex
import signal
import sys
import traceback
import warnings
from types import FrameType
from typing import Any, NoReturn

import click

from landscape.errors import (
    InputError,
    OutOfMemory,
    ProcessFailed,
    Remark,
    UsageError,
    device_failure,
    is_out_of_memory,
)
from landscape.tables.escaping import visible

from .ranks import Several, ended
from .terminal import plain_output

# The last two are 128 plus the number of the signal, as in shells.
DONE, INTERNAL, USAGE, INPUT, UNCONVERGED, MEMORY, INTERRUPTED, TERMINATED = 0, 1, 2, 3, 4, 5, 130, 143


class Terminated(BaseException):
    """SIGTERM arrived."""


class Unconverged(Exception):
    """A number did not converge, is not finite or differs, and the user wants the command to fail on that."""


_CODES = {
    UsageError: USAGE,
    InputError: INPUT,
    OutOfMemory: MEMORY,
    Unconverged: UNCONVERGED,
    ProcessFailed: INTERNAL,
}


def run_guarded(group: click.Command) -> int:
    """Runs the command line; returns the exit code and never shows a traceback for a user's mistake."""
    signal.signal(signal.SIGTERM, _terminate)
    with plain_output(), warnings.catch_warnings():
        warnings.simplefilter("always", Remark)
        warnings.showwarning = functools.partial(_show_warning, set())
        with Several(interruption) as several:
            code = TERMINATED
            try:
                code = _ended(group, several)
            except (
                Terminated,
                KeyboardInterrupt,
            ):  # a second signal, while the first failure was put into words
                code = _interrupted(code)
            several.leave(code)
            return code


def _show_warning(
    shown_before: set[str], message: Warning | str, category: type[Warning], *place: Any, **more: Any
) -> None:
    """Our own remarks in one line, each once; the warnings of other libraries as Python shows them."""
    if issubclass(category, Remark):
        if str(message) not in shown_before:
            click.echo(f"Note: {visible(message)}", err=True)
        shown_before.add(str(message))
    else:
        click.echo(warnings.formatwarning(message, category, *place[:2]), err=True, nl=False)


def _ended(group: click.Command, several: Several) -> int:
    try:
        # In its standalone mode click prints the errors in words and codes of its own.
        result = group.main(prog_name="landscape", standalone_mode=False, obj=several)
        return result if isinstance(result, int) else DONE
    except click.exceptions.Abort as failure:
        # click makes one thing of Ctrl-C and of an end of file that nobody expected.
        if isinstance(failure.__cause__, EOFError):
            return _unexpected(failure.__cause__)
        return _interrupted(INTERRUPTED)
    except click.exceptions.NoArgsIsHelpError as failure:
        failure.show()
        return USAGE
    except click.UsageError as failure:
        where = failure.ctx.command_path if failure.ctx is not None else "landscape"
        return _report(f"{failure.format_message().rstrip('.')}; see {where} --help", USAGE)
    except click.ClickException as failure:
        return _report(failure.format_message(), USAGE)
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except tuple(_CODES) as failure:
        if (reason := device_failure(failure)) is not None:
            return _report(reason, INTERNAL)
        code = next(code for kind, code in _CODES.items() if isinstance(failure, kind))
        return _report(failure, code, follows=isinstance(failure, ProcessFailed))
    except KeyboardInterrupt:
        return _interrupted(INTERRUPTED)
    except Terminated:
        return _interrupted(TERMINATED)
    except SystemExit as ended:
        # click ends with 1, here, only where the reader of a pipe has gone: `landscape list data | head -1`.
        if ended.code == 1:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return DONE
        return _interrupted(TERMINATED) if ended.code == TERMINATED else int(ended.code or 0)
    except OSError as failure:
        place = f"{failure.filename}: " if failure.filename else ""
        return _report(f"{place}{failure.strerror or failure}; choose another file or folder", INPUT)
    except Exception as failure:
        return _unexpected(failure)


def _unexpected(failure: Exception) -> int:
    if is_out_of_memory(failure):
        return _report("out of memory; try a smaller batch: -b 32", MEMORY)
    if (reason := device_failure(failure)) is not None:
        return _report(reason, INTERNAL)
    words = (
        f"internal error ({type(failure).__name__}); please report it with the lines above and the output of "
        "`landscape env`"
    )
    return ended(f"{traceback.format_exc()}Error: {visible(words)}", INTERNAL)


def _report(failure: object, code: int, *, follows: bool = False) -> int:
    return ended(f"Error: {visible(' '.join(str(failure).split()))}", code, follows=follows)


def _interrupted(code: int) -> int:
    return ended(interruption(code), code)


def interruption(code: int) -> str:
    """What is said after a signal."""
    # Run again with these, the command would throw away the results from which it is to continue.
    words = [word for word in sys.argv[1:] if word not in ("--overwrite", "--no-resume")]
    command = shlex.join(["landscape", *words])
    return f"\nInterrupted; the results so far are on disk. To continue, run it again:\n  {command}"


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated
