"""``landscape train`` of several runs: the plan, its budget, and what failed."""

from command_line import TINY
from landscape.cli.train import command

from landscape.training import Recipe
from landscape.training.recipe import SETTINGS


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


def test_every_field_of_the_recipe_is_a_flag_with_its_default_and_its_help(landscape):
    flags = {parameter.name: parameter for parameter in command.params}
    words = " ".join(landscape("train", "--help").out.split())
    for setting in SETTINGS:
        flag = flags[setting.name]
        assert f"--{setting.name.replace('_', '-')}" in flag.opts
        assert flag.default == setting.default
        assert (setting.flag.default or setting.default) == getattr(Recipe(), setting.name)
        assert flag.help in " ".join(Recipe.__doc__.split())
        assert "".join(flag.help.split()) in words.replace(" ", "")
    assert [flags[name].opts for name in ("model", "data", "optimizer", "batch_size", "seed")] == [
        ["--model", "-m"],
        ["--data", "-d"],
        ["--optimizer", "--optimizers"],
        ["--batch-size", "-b"],
        ["--seed", "--seeds"],
    ]
