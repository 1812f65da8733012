"""``landscape surface`` killed at each of its writes, and run again: the same files, and nothing else."""

import os
import tempfile

import pytest
from command_line import call

from landscape.surfaces.journal import Journal

SMALL = ("--points", "3", "--limit", "20", "--device", "cpu", "-q")
TWO = ("surface", "runs/sgd-0", "runs/sam-0", *SMALL, "-o", "s.csv")
ONE = (
    "surface",
    "runs/sgd-0",
    "--plane",
    "line",
    *SMALL,
    "-o",
    "s.svg",
)  # a line is drawn faster than contours
LINE = ("surface", "runs/sgd-0", "runs/sam-0", "--plane", "interpolation", *SMALL, "-o", "s.csv")
STEPS = ((tempfile, "mkstemp"), (os, "replace"), (os, "unlink"))


class Killed(BaseException):
    """What a signal does to a process, in one that goes on."""


def killed_before(number, monkeypatch, steps):
    """From that change to the disk on nothing is changed any more, neither by what cleans up."""
    left = [number]

    def stopping(function):
        def step(*arguments, **options):
            left[0] -= 1
            if left[0] <= 0:
                raise Killed
            return function(*arguments, **options)

        return step

    for module, name in steps:
        monkeypatch.setattr(module, name, stopping(getattr(module, name)))


def made(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name[:2] in ("s.", "s-", ".s")}


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("command", "steps"),
    [(TWO, STEPS), (ONE, STEPS[1:]), (LINE, STEPS[1:])],
    ids=["two-surfaces", "figure", "line"],
)
def test_the_same_command_ends_what_was_begun_wherever_it_was_killed(
    landscape, runs, tmp_path, monkeypatch, command, steps
):
    assert landscape(*command).code == 0
    whole = made(tmp_path)
    for number in range(1, 100):
        for name in made(tmp_path):
            (tmp_path / name).unlink()
        with monkeypatch.context() as patch:
            killed_before(number, patch, steps)
            try:
                call(command)
                break
            except Killed:
                pass
        saved = any(file.suffix == ".npz" for file in tmp_path.glob("s*"))
        with monkeypatch.context() as patch:
            if saved:
                # All points are in a journal or in the file: none is computed again.
                patch.setattr(Journal, "append", None)
            again = landscape(*command)
        assert again.code == 0, (number, again.err)
        assert made(tmp_path) == whole, number
    assert number > 3
    assert landscape(*command).code == 0
    assert made(tmp_path) == whole


def test_a_merge_that_was_killed_is_ended_too(landscape, runs, tmp_path, monkeypatch):
    for k in (1, 2):
        part = ("surface", "runs/sgd-0", *SMALL, "--shard", f"{k}/2", "-o", f"part-{k}.npz")
        assert landscape(*part).code == 0
        assert landscape(*part).out.split() == [f"part-{k}.npz"]
    merge = ("surface", "--merge", "part-1.npz", "part-2.npz", "-o", "s.csv", "-q")
    with monkeypatch.context() as patch:
        killed_before(2, patch, STEPS[1:2])
        with pytest.raises(Killed):
            call(merge)
    assert (tmp_path / "s.npz").exists()
    assert landscape(*merge).code == 0
    assert sorted(made(tmp_path)) == ["s.csv", "s.npz"]
    refused = landscape("surface", "--merge", "part-1.npz", "-o", "s.csv", "-q")
    assert refused.code == 2
    assert "s.npz is there and is another surface" in refused.error


@pytest.mark.parametrize("change", ["weights", "other flags", "settings in a file"])
def test_numbers_of_something_else_are_neither_taken_nor_replaced(landscape, runs, tmp_path, change):
    (tmp_path / "flags.toml").write_text("span = 0.5\n")
    command = ["surface", "runs/sgd-0", *SMALL, "-c", "flags.toml", "-o", "s.csv"]
    assert landscape(*command).code == 0
    before = made(tmp_path)
    if change == "weights":
        (runs / "sgd-1/checkpoint.pt").replace(runs / "sgd-0/checkpoint.pt")
    elif change == "other flags":
        command += ["--plane", "random:seed=1"]
    else:
        (tmp_path / "flags.toml").write_text("span = 0.25\n")
    refused = landscape(*command)
    assert refused.code == 2
    assert "s.npz is there" in refused.error
    assert "--overwrite" in refused.error
    assert made(tmp_path) == before
    assert landscape(*command, "--overwrite").code == 0
    assert made(tmp_path)["s.npz"] != before["s.npz"]


def test_a_journal_beside_the_numbers_of_another_run_does_not_let_these_be_replaced(
    landscape, runs, tmp_path, monkeypatch
):
    assert landscape("surface", "runs/sgd-0", *SMALL, "-o", "s.csv").code == 0
    before = made(tmp_path)["s.npz"]
    other = ("surface", "runs/sgd-0", "--plane", "line", *SMALL, "-o", "s.csv")
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "append", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert landscape(*other, "--overwrite").code == 130
    refused = landscape(*other)
    assert refused.code == 2
    assert "s.npz is there" in refused.error
    assert made(tmp_path)["s.npz"] == before
    assert landscape(*other, "--overwrite").code == 0
    assert sorted(made(tmp_path)) == ["s.csv", "s.npz"]
