"""Command lines and files at random: whatever they are, an answer in the documented exit codes and no traceback.

A short sample with a fixed seed runs with the suite. By hand, more of them, and others each time:

    LANDSCAPE_ATTACKS=1000 python -m pytest -n 0 tests/cli/test_attacks.py
"""

import collections
import contextlib
import io
import os
import shutil
import signal
import sys

import pytest
from attacked_commands import command_lines, config_files
from attacked_files import COMMANDS, PLACES, edits, write_others
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from landscape.cli.application import application
from landscape.cli.failures import run_guarded

from landscape.records.surface import Surface

BY_HAND = int(os.environ.get("LANDSCAPE_ATTACKS", "0"))
DOCUMENTED = (0, 2, 3, 4, 5)
SECONDS = 20
"""Of the processor, after which a command counts as long, not as wrong: much of what may be asked takes hours."""
INTERRUPTED = 130


def attacks(count):
    """So many attacks with a fixed seed, or as many as are asked for by hand."""
    return settings(
        max_examples=BY_HAND or count,
        derandomize=not BY_HAND,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


def run(arguments):
    """Runs a command in this process; returns its exit code and what it wrote on stderr."""
    out, err = io.StringIO(), io.StringIO()
    before = sys.argv, signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGPROF)
    sys.argv = ["landscape", *arguments]
    signal.signal(signal.SIGPROF, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run_guarded(application)
    except KeyboardInterrupt:  # after the last line of the command
        code = INTERRUPTED
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        sys.argv = before[0]
        signal.signal(signal.SIGTERM, before[1])
        signal.signal(signal.SIGPROF, before[2])
    return code, err.getvalue()


@pytest.fixture(scope="module")
def template(trained, tmp_path_factory):
    """A folder with one file of every kind; not to be written to."""
    folder = tmp_path_factory.mktemp("attacked")
    for name in ("sgd-0", "sam-0"):
        shutil.copytree(trained / name, folder / "runs" / name)
    surface = ["surface", "runs/sgd-0", "--points", "3", "--limit", "20", "-q", "-o"]
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        for name in ("sgd-0", "sam-0"):
            assert run(["measure", f"runs/{name}", "-M", "loss", "--limit", "20", "-q"])[0] == 0
        assert run([*surface, "s.npz"])[0] == 0
        assert run(["convert", "runs/sgd-0/checkpoint.pt", "w.safetensors"])[0] == 0
        write_others(folder)
        # Killed when all points are done: what a journal is for.
        patch.setattr(Surface, "save", lambda *_: signal.raise_signal(signal.SIGINT))
        assert run([*surface, "j.npz"])[0] == INTERRUPTED
    (folder / "empty").mkdir()
    (folder / "text.txt").write_text("hello\n")
    return folder


@pytest.fixture(scope="module")
def attacked(template, tmp_path_factory):
    """A function that runs a command in a copy of the folder, in which something was edited, and judges the answer."""
    place = tmp_path_factory.mktemp("attack") / "here"
    codes = collections.Counter()

    def attack(arguments, edit=lambda: None):
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(template, place)
        with contextlib.chdir(place):
            edit()
            code, err = run(arguments)
        codes[code] += 1
        assert code in (*DOCUMENTED, INTERRUPTED), err
        assert "Traceback" not in err
        assert not (code in (2, 3) and not err.splitlines()[-1].startswith("Error: ")), err

    yield attack
    if BY_HAND:
        sys.stderr.write(f"\nexit codes: {dict(codes)}\n")


@given(command_lines())
@attacks(60)
def test_a_command_line_of_any_kind(attacked, line):
    attacked(line)


@given(config_files())
@attacks(40)
def test_a_file_of_flags_of_any_kind(attacked, both):
    from pathlib import Path

    line, text = both
    attacked(line, lambda: Path("c.toml").write_text(text))


@pytest.mark.thorough
@pytest.mark.parametrize("kind", list(PLACES))
def test_a_file_whose_bytes_were_edited(attacked, template, kind):
    place = template / PLACES[kind]
    if not place.exists():
        pytest.skip("what writes such files is not installed")
    content = place.read_bytes()
    commands = COMMANDS[kind]

    @given(edits(), st.sampled_from([commands[0], *commands]))
    @attacks(12)
    def attack(edit, command):
        def change():
            with open(PLACES[kind], "wb") as file:
                file.write(edit(content))

        attacked(list(command), change)

    attack()
