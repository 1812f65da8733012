"""One cluster for all tests of this folder; they are skipped where Slurm is not installed."""

import json
import re
import subprocess
import sys
import time

import pytest
import slurm_cluster


class Slurm:
    """The commands of Slurm, run in an empty folder."""

    def __init__(self, environment, folder):
        self.environment = environment
        self.folder = folder

    def run(self, *command, seconds=120, fed=""):
        """The result of a command whose standard input is ``fed``."""
        words = list(map(str, command))
        options = {"env": self.environment, "cwd": self.folder, "capture_output": True, "text": True}
        return subprocess.run(words, timeout=seconds, input=fed, check=False, **options)

    def lines(self, *command, **options):
        """The JSON lines that a command prints, which succeeds."""
        result = self.run(*command, **options)
        assert result.returncode == 0, result.stderr
        return [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]

    def background(self, *command):
        """A process with its output in pipes."""
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(list(map(str, command)), env=self.environment, cwd=self.folder, **pipes)

    def submitted(self, text, *options):
        """The number of a batch job with this script, whose output is appended when it starts again."""
        (self.folder / "job.sh").write_text(f"#!/bin/bash\n{text}\n")
        result = self.run("sbatch", "--parsable", "--open-mode=append", *options, "job.sh")
        assert result.returncode == 0, result.stderr
        return result.stdout.strip()

    def job(self, number):
        """The attributes of a job, or of each task of an array: ``JobState``, ``ExitCode``, …"""
        text = self.run("scontrol", "show", "job", "-o", number).stdout
        return [dict(re.findall(r"(\w+)=(\S*)", line)) for line in text.splitlines() if line]

    def wait(self, condition, seconds=120):
        """Waits until a condition holds; returns how long that took."""
        begun = time.monotonic()
        while not condition():
            assert time.monotonic() - begun < seconds, self.run("squeue").stdout
            time.sleep(0.2)
        return time.monotonic() - begun

    def finished(self, number, seconds=120):
        """The attributes of a job, or of each task of an array, once it is over."""
        over = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL"}
        self.wait(lambda: all(job["JobState"] in over for job in self.job(number)), seconds)
        return self.job(number)


@pytest.fixture(scope="session")
def environment():
    if reason := slurm_cluster.reason_without():
        pytest.skip(reason)
    with slurm_cluster.cluster() as variables:
        yield {**variables, "OMP_NUM_THREADS": "1"}


@pytest.fixture
def slurm(environment, tmp_path):
    """Slurm with two nodes, in an empty folder."""
    return Slurm(environment, tmp_path)


@pytest.fixture(scope="session")
def landscape():
    """The words of a shell that run the command."""
    return [sys.executable, "-m", "landscape"]
