"""The commands of Slurm in the tests that have a cluster (``slurm_cluster``)."""

import contextlib
import json
import re
import subprocess
import time
from pathlib import Path


class Slurm:
    """The commands of Slurm, run in an empty folder."""

    def __init__(self, environment, folder):
        self.environment = environment
        self.folder = folder

    def run(self, *command, seconds=900, fed=""):
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

    def task(self, number):
        """The process of a task of a step, once there is one; of one that Python runs."""
        found = []

        def is_there():
            for entry in Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError):
                    variables = (entry / "environ").read_bytes().split(b"\0")
                    command = (entry / "cmdline").read_bytes().split(b"\0")
                    own = f"SLURM_CONF={self.environment['SLURM_CONF']}".encode()
                    if {own, f"SLURM_PROCID={number}".encode(), b"SLURM_STEP_NUM_TASKS=2"} <= set(variables):
                        found.extend([int(entry.name)] if b"landscape" in command else [])
            return found

        self.wait(is_there)
        return found[0]

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

    def wait(self, condition, seconds=900):
        """Waits until a condition holds; returns how long that took."""
        begun = time.monotonic()
        while not condition():
            assert time.monotonic() - begun < seconds, self.run("squeue").stdout
            time.sleep(0.2)
        return time.monotonic() - begun

    def finished(self, number, seconds=900):
        """The attributes of a job, or of each task of an array, once it is over."""
        over = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL"}
        self.wait(lambda: all(job["JobState"] in over for job in self.job(number)), seconds)
        return self.job(number)
