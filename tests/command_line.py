"""The installed command, run in this process: a process of its own costs seconds of imports each time."""

import importlib.metadata
import signal
import sys
from dataclasses import dataclass

import pytest

TINY = ("-m", "mlp:width=8,depth=1", "-d", "digits", "--epochs", "2", "-b", "256", "--device", "cpu")


@dataclass(frozen=True)
class Result:
    """What a command left behind: its exit code, and what it wrote on stdout and stderr."""

    code: int
    out: str
    err: str

    @property
    def error(self):
        """The one line that a failed command writes."""
        assert "Traceback" not in self.err
        lines = [line for line in self.err.splitlines() if line.strip()]
        assert [line[:7] for line in lines] == ["Error: "], self.err
        assert self.out == ""
        return lines[0]


def entry_point():
    [found] = importlib.metadata.entry_points(group="console_scripts", name="landscape")
    return found.load()


def call(arguments):
    before, argv = signal.getsignal(signal.SIGTERM), sys.argv
    sys.argv = ["landscape", *map(str, arguments)]
    try:
        with pytest.raises(SystemExit) as ended:
            entry_point()()
    finally:
        sys.argv = argv
        signal.signal(signal.SIGTERM, before)
    return int(ended.value.code or 0)


@pytest.fixture
def landscape(tmp_path, monkeypatch, capsys):
    """A function: arguments of the command → :class:`Result`, run in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        capsys.readouterr()
        code = call(arguments)
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run
