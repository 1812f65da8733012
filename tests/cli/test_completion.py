"""What a shell is told that could follow: in a process of its own, as the shell asks."""

import os
import subprocess
import sys

import pytest


def told(words, folder, shell="bash", what="complete"):
    environment = {
        **os.environ,
        "_LANDSCAPE_COMPLETE": f"{shell}_{what}",
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }
    command = [sys.executable, "-P", "-m", "landscape"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize(
    "shell", ["bash", *(pytest.param(other, marks=pytest.mark.thorough) for other in ("zsh", "fish"))]
)
def test_the_script_of_each_shell_is_printed(tmp_path, shell):
    assert "_LANDSCAPE_COMPLETE" in told([], tmp_path, shell, "source")


SLOW = pytest.mark.thorough  # a table is imported, and torch with it


@pytest.mark.parametrize(
    ("words", "expected", "other"),
    [
        (["landscape", "meas"], "measure", "train"),
        (["landscape", "train", "--optimizer", "sgd,look"], "sgd,looksam", "gsam"),
        (["landscape", "plot", "x", "--over", "gr"], "gradients", "epoch"),
        (["landscape", "train", "--measure-e"], "--measure-every", "--model"),
        pytest.param(["landscape", "measure", "x.pt", "-M", "hessian"], "hessian-trace", "loss", marks=SLOW),
        pytest.param(["landscape", "measure", "x.pt", "-m", "resnet"], "resnet18", "mlp", marks=SLOW),
        pytest.param(
            ["landscape", "surface", "x", "--plane", "inter"], "interpolation", "random", marks=SLOW
        ),
    ],
)
def test_names_follow(tmp_path, words, expected, other):
    values = [line.partition(",")[2] for line in told(words, tmp_path).splitlines()]
    assert expected in values
    assert other not in values


@pytest.mark.parametrize(
    "words", [["landscape", "measure", "runs/"], ["landscape", "measure", "x", "-m", "./ow"]]
)
def test_files_are_left_to_the_shell(tmp_path, words):
    assert told(words, tmp_path).startswith(("file,", "dir,"))
