"""Which task of several this is, by the environment that schedulers make."""

import pytest

from landscape.errors import UsageError
from landscape.processes.task import Task, local_number, required_task, task

ARRAY = {
    "SLURM_ARRAY_TASK_ID": "20",
    "SLURM_ARRAY_TASK_MIN": "10",
    "SLURM_ARRAY_TASK_MAX": "30",
    "SLURM_ARRAY_TASK_STEP": "5",
    "SLURM_ARRAY_TASK_COUNT": "5",
}
TORCHRUN = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}
STEP = {"SLURM_PROCID": "1", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4", "SLURM_LOCALID": "0"}


@pytest.fixture(autouse=True)
def started_alone(monkeypatch):
    for name in (*ARRAY, *TORCHRUN, *STEP, "JOB_COMPLETION_INDEX", "JOB_COMPLETIONS"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        (TORCHRUN, (1, 2, "torchrun")),
        ({"RANK": "0", "WORLD_SIZE": "1"}, (0, 1, "torchrun")),
        (STEP, (1, 4, "srun")),
        (ARRAY, (2, 5, "Slurm")),
        ({"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "4"}, (3, 4, "Slurm")),
        ({"SLURM_ARRAY_TASK_ID": "3"}, (3, None, "Slurm")),
        ({**ARRAY, **STEP}, (9, 20, "Slurm and srun")),
        ({"JOB_COMPLETION_INDEX": "2"}, (2, None, "Kubernetes")),
        ({"JOB_COMPLETION_INDEX": "2", "JOB_COMPLETIONS": "3"}, (2, 3, "Kubernetes")),
        ({"JOB_COMPLETION_INDEX": "2", **TORCHRUN}, (5, None, "Kubernetes and torchrun")),
        ({}, None),
        ({"SLURM_ARRAY_TASK_ID": "", "RANK": "one"}, None),
    ],
)
def test_schedulers_say_which_task_this_is(monkeypatch, variables, expected):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert task() == (None if expected is None else Task(*expected))


def test_without_a_scheduler_the_way_on_is_named():
    with pytest.raises(UsageError, match=r"SLURM_ARRAY_TASK_ID.*--processes N"):
        required_task()


def test_the_number_on_a_machine(monkeypatch):
    assert local_number() is None
    monkeypatch.setenv("SLURM_LOCALID", "3")
    assert local_number() == 3
