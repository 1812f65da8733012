"""``landscape train`` of several runs: the plan, its budget, and what failed."""

from command_line import TINY


def test_a_dry_run_prints_the_plan_and_trains_nothing(landscape, tmp_path):
    flags = ("--optimizers", "sgd,sam,cr-sam", "--seeds", "0-2", "-o", "new", "--dry-run")
    result = landscape("train", *TINY, *flags, "--epochs", "6", "--budget", "gradients")
    assert (result.code, result.err) == (0, "")
    head, *lines = [line.split() for line in result.out.splitlines()]
    assert head[:3] == ["optimizer", "seeds", "epochs"]
    rows = [["sgd", "0-2", "6", "1"], ["sam", "0-2", "3", "2"], ["cr-sam", "0-2", "2", "3"]]
    assert [line[:4] for line in lines[:3]] == rows
    assert "9 runs; 1 at a time with 1 thread; equal gradients, not epochs: about " in result.out
    assert max(map(len, result.out.splitlines())) <= 80
    assert not (tmp_path / "new").exists()


def test_a_failed_run_is_reported_with_exit_code_3_and_the_others_are_there(landscape, runs):
    (runs / "sgd-1/checkpoint.pt").write_bytes(b"x")
    result = landscape("train", *TINY, "--optimizers", "sgd,sam", "--seeds", "0-1", "-o", "runs", "-q")
    assert result.code == 3
    assert [line.split()[0] for line in result.out.splitlines()[1:]] == [
        "runs/sgd-0",
        "runs/sam-0",
        "runs/sam-1",
    ]
    failed, error = result.err.splitlines()
    assert failed.startswith("runs/sgd-1 failed: runs/sgd-1/checkpoint.pt is damaged")
    assert error.startswith("Error: 1 of 4 runs failed; the others are finished, and the same command")


def test_a_tracker_that_is_not_there_is_answered_with_the_nearest(landscape):
    result = landscape("train", *TINY, "--track", "tensorbord", "-o", "new")
    assert (result.code, "did you mean 'tensorboard'?" in result.error) == (2, True)
