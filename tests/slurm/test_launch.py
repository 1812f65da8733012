"""What :func:`landscape.processes.launch` says of the processes that a real Slurm starts."""

import sys

import pytest

SAY = """
import json, os
from landscape.processes import launch
names = ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", "SLURMD_NODENAME")
print(json.dumps({"launch": launch(), **{name: os.environ.get(name) for name in names}}))
"""


@pytest.fixture
def say(tmp_path):
    """The words of a command that prints what it takes itself for."""
    (tmp_path / "say.py").write_text(SAY)
    return [sys.executable, tmp_path / "say.py"]


def places(lines):
    return sorted(line["launch"][:3] if line["launch"] else [] for line in lines)


def test_tasks_of_srun_are_the_processes_of_one_command(slurm, say):
    assert places(slurm.lines("srun", "-n", 2, *say)) == [[0, 2, "srun"], [1, 2, "srun"]]
    assert places(slurm.lines("srun", *say)) == [[]]


def test_tasks_on_several_nodes_are_numbered_through(slurm, say):
    lines = slurm.lines("srun", "-N", 2, "--ntasks-per-node", 2, *say)
    assert places(lines) == [[rank, 4, "srun"] for rank in range(4)]
    assert sorted((line["launch"][0], line["SLURMD_NODENAME"]) for line in lines) == [
        (0, "127.0.0.1"), (1, "127.0.0.1"), (2, "127.0.0.2"), (3, "127.0.0.2")
    ]  # fmt: skip


def test_a_batch_script_is_one_process_and_its_steps_are_several(slurm, say):
    words = " ".join(map(str, say))
    number = slurm.submitted(f"{words}\necho\nsrun {words}\nsrun -n 1 {words}", "-n", 2, "-o", "job.txt")
    assert [job["JobState"] for job in slurm.finished(number)] == ["COMPLETED"]
    text = (slurm.folder / "job.txt").read_text()
    assert text.startswith('{"launch": null')
    assert [text.count(f'"launch": {start}') for start in ("null", "[0, 2", "[1, 2")] == [2, 1, 1]


def test_tasks_of_an_array_are_processes_of_their_own(slurm, say):
    words = " ".join(map(str, say))
    number = slurm.submitted(f"{words}\nsrun {words}", "-n", 2, "--array", "0-2", "-o", "job-%a.txt")
    assert [job["JobState"] for job in slurm.finished(number)] == ["COMPLETED"] * 3
    for index in range(3):
        text = (slurm.folder / f"job-{index}.txt").read_text()
        assert [text.count(f'"launch": {start}') for start in ("null", "[0, 2", "[1, 2")] == [1, 1, 1]
        assert text.count(f'"SLURM_ARRAY_TASK_ID": "{index}", "SLURM_ARRAY_TASK_COUNT": "3"') == 3


def test_the_shell_of_salloc_is_one_process(slurm, say):
    """On this cluster it is a step of its own, whose tasks are those of the whole job; elsewhere no step at all."""
    words = " ".join(map(str, say))
    assert places(slurm.lines("salloc", "-n", 2, *say)) == [[]]
    typed = f"{words} >shell.txt; srun {words} >step.txt; exit\n"
    assert (
        slurm.run("script", "-qec", "salloc -n 2", "/dev/null", fed=typed).returncode == 0
    )  # gives it a terminal
    assert '"launch": null' in (slurm.folder / "shell.txt").read_text()
    assert (slurm.folder / "step.txt").read_text().count('2, "srun"') == 2


def test_a_job_that_a_step_has_submitted_is_no_part_of_that_step(slurm, say):
    """sbatch hands on the variables of the step that it was called in."""
    words = " ".join(map(str, say))
    (slurm.folder / "submit.sh").write_text(
        f'[ "$SLURM_PROCID" != 0 ] || sbatch -W -o job.txt --wrap "{words}"\n'
    )
    assert slurm.run("srun", "-n", 2, "bash", "submit.sh").returncode == 0
    assert (slurm.folder / "job.txt").read_text().startswith('{"launch": null')
