"""How many tasks work on one output, by the environment that schedulers make."""

import pytest

from landscape.errors import UsageError
from landscape.processes.task import local_number, task_count

ARRAY = {
    "SLURM_ARRAY_TASK_ID": "20",
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
        (TORCHRUN, 2),
        ({"RANK": "0", "WORLD_SIZE": "1"}, 1),
        (STEP, 4),
        (ARRAY, 5),
        ({"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "4"}, 4),
        ({"SLURM_ARRAY_TASK_ID": "3"}, None),
        ({**ARRAY, **STEP}, 20),
        ({"JOB_COMPLETION_INDEX": "2"}, None),
        ({"JOB_COMPLETION_INDEX": "2", "JOB_COMPLETIONS": "3"}, 3),
        ({"JOB_COMPLETION_INDEX": "2", **TORCHRUN}, None),
    ],
)
def test_schedulers_say_how_many_tasks_there_are(monkeypatch, variables, expected):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert task_count() == expected


@pytest.mark.parametrize("variables", [{}, {"SLURM_ARRAY_TASK_ID": "", "RANK": "one"}])
def test_without_a_scheduler_the_way_on_is_named(monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=r"SLURM_ARRAY_TASK_ID.*--processes N"):
        task_count()


def test_the_number_on_a_machine(monkeypatch):
    assert local_number() is None
    monkeypatch.setenv("SLURM_LOCALID", "3")
    assert local_number() == 3
