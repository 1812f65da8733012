"""From an exception to one clear line and the documented exit code."""

import os
import shlex
import signal
import sys
import traceback
from types import FrameType
from typing import NoReturn

import click

from landscape.errors import InputError, UsageError

DONE, INTERNAL, USAGE, INPUT, UNCONVERGED, MEMORY, INTERRUPTED, TERMINATED = 0, 1, 2, 3, 4, 5, 130, 143


class Terminated(BaseException):
    """SIGTERM arrived."""


class Unconverged(Exception):
    """Done, but something did not converge or is not finite, and the user asked to be failed on that."""


def run_guarded(group: click.Command) -> int:
    """Runs the command line; returns the exit code and never shows a traceback for a user's mistake."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        result = group.main(prog_name="landscape", standalone_mode=False)
        return result if isinstance(result, int) else DONE
    except click.exceptions.Abort:
        return _interrupted(INTERRUPTED)
    except click.ClickException as failure:
        failure.show()
        return failure.exit_code
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except UsageError as failure:
        return _said(failure, USAGE)
    except InputError as failure:
        return _said(failure, INPUT)
    except Unconverged as failure:
        return _said(failure, UNCONVERGED)
    except KeyboardInterrupt:
        return _interrupted(INTERRUPTED)
    except Terminated:
        return _interrupted(TERMINATED)
    except SystemExit as ended:
        return _interrupted(TERMINATED) if ended.code == TERMINATED else int(ended.code or 0)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except OSError as failure:
        place = f" ({failure.filename})" if failure.filename else ""
        return _said(f"{failure.strerror or failure}{place}", INPUT)
    except Exception as failure:
        return _unexpected(failure)


def _unexpected(failure: Exception) -> int:
    if type(failure).__name__ == "OutOfMemoryError":
        return _said("out of memory; try a smaller batch: -b 32", MEMORY)
    traceback.print_exc()
    return _said(
        f"internal error ({type(failure).__name__}); please report it with the lines above and the output of "
        "`landscape env`",
        INTERNAL,
    )


def _said(failure: object, code: int) -> int:
    click.echo(f"Error: {failure}", err=True)
    return code


def _interrupted(code: int) -> int:
    command = shlex.join(["landscape", *sys.argv[1:]])
    click.echo(f"\nInterrupted; what is done is on disk. To go on, run it again:\n  {command}", err=True)
    return code


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated
