"""Runs to try the commands on, and an empty folder to try them in."""

import os
import shutil

import pytest
from command_line import TINY, call
from command_line import landscape as landscape


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A folder with the runs of two optimizers and two seeds, trained once; not to be written to."""
    folder = tmp_path_factory.mktemp("trained")
    here = os.getcwd()
    os.chdir(folder)
    try:
        assert call(["train", *TINY, "--optimizers", "sgd,sam", "--seeds", "0-1", "-o", "runs", "-q"]) == 0
    finally:
        os.chdir(here)
    return folder / "runs"


@pytest.fixture
def runs(trained, tmp_path):
    """A copy of the runs in the folder where commands are run."""
    shutil.copytree(trained, tmp_path / "runs")
    return tmp_path / "runs"


@pytest.fixture
def snapshot(tmp_path):
    """A function that tells what is on disk: every path with its content and time."""

    def taken():
        return {
            str(path): (path.read_bytes(), path.stat().st_mtime_ns) if path.is_file() else None
            for path in tmp_path.rglob("*")
        }

    return taken
