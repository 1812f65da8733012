"""``landscape train`` of plans, from the command line; and what reads a sweep that is half done."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from landscape.training import submission

FLAGS = ("-m", "mlp:width=4,depth=1", "-d", "moons", "--epochs", "2", "-b", "700")
SWEEP = (*FLAGS, "--optimizers", "sgd,sam", "--seeds", "0-1", "-o", "runs/x")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A plan of four runs, of which the second is trained."""
    import os

    from command_line import call

    folder, here = tmp_path_factory.mktemp("written"), os.getcwd()
    os.chdir(folder)
    try:
        assert call(["train", *SWEEP, "--write-plan", "plan.jsonl", "-q"]) == 0
        assert call(["train", "--plan", "plan.jsonl", "--index", "1", "--device", "cpu", "-q"]) == 0
    finally:
        os.chdir(here)
    return folder


@pytest.fixture
def plan(written, tmp_path):
    shutil.copytree(written, tmp_path, dirs_exist_ok=True)
    return tmp_path / "plan.jsonl"


def test_writing_a_plan_trains_nothing_and_says_how_to_go_on(landscape, tmp_path):
    result = landscape("train", *SWEEP, "--write-plan", "plan.jsonl")
    assert (result.code, result.err) == (0, "")
    first, *rest = result.out.splitlines()
    assert first == "plan.jsonl: 4 runs into runs/x; nothing is trained yet"
    commands = [line.strip() for line in rest if line.startswith("  ")]
    assert commands[0] == "landscape train --plan plan.jsonl --index 0"
    assert [command.split("--launcher ")[1].split()[0] for command in commands[1:]] == [
        "local",
        "slurm",
        "sbatch",
    ]
    head, *lines = map(json.loads, (tmp_path / "plan.jsonl").read_text().splitlines())
    assert (head["runs"], head["folder"], [line["index"] for line in lines]) == (4, ".", [0, 1, 2, 3])
    # Here and not there is where auto is known.
    assert {line["recipe"]["device"] for line in lines} == {"auto"}
    assert [path.name for path in (tmp_path / "runs/x").iterdir()] == [".sweep.json"]


def test_the_budget_of_gradients_is_in_the_plan(landscape, tmp_path):
    flags = ("--epochs", "4", "--budget", "gradients", "--device", "cpu", "--write-plan", "plan.jsonl", "-q")
    assert landscape("train", *SWEEP, *flags).code == 0
    lines = [json.loads(line) for line in (tmp_path / "plan.jsonl").read_text().splitlines()[1:]]
    assert [line["recipe"]["epochs"] for line in lines] == [4, 4, 2, 2]


def test_an_index_trains_one_run_as_without_a_plan_and_returns_at_once_again(landscape, plan, monkeypatch):
    folder = plan.parent / "runs/x/sgd-1"
    assert landscape("train", *FLAGS, "--seed", "1", "--device", "cpu", "-o", "alone", "-q").code == 0
    assert (folder / "checkpoint.pt").read_bytes() == (plan.parent / "alone/checkpoint.pt").read_bytes()
    before = (folder / "checkpoint.pt").stat().st_mtime_ns
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")
    monkeypatch.chdir(plan.parent / "alone")
    result = landscape("train", "--plan", "../plan.jsonl", "--index", "auto")
    assert result.code == 0
    assert "Finished before and not trained again: runs/x/sgd-1" in result.err
    assert (folder / "checkpoint.pt").stat().st_mtime_ns == before


WRONG = {
    "out of range": (("--plan", "plan.jsonl", "--index", "4"), 2, "--index 4 is not in 0-3"),
    "no index": (("--plan", "plan.jsonl"), 2, "needs either --index I"),
    "both": (("--plan", "plan.jsonl", "--index", "0", "--launcher", "local"), 2, "needs either --index I"),
    "a flag of training": (("--plan", "plan.jsonl", "--index", "0", "--lr", "1"), 2, "--lr cannot stand beside"),
    "no plan": (("--plan", "absent.jsonl", "--index", "0"), 3, "absent.jsonl does not exist; write it first"),
    "not a plan": (("--plan", "runs/x/sgd-1/history.jsonl", "--index", "0"), 3, "is not a plan"),
    "index alone": (("--index", "0"), 2, "--index belongs to a plan: write one"),
    "launcher alone": (("--launcher", "local"), 2, "--launcher belongs to a plan"),
    "overwrite": ((*SWEEP, "--write-plan", "p.jsonl", "--overwrite"), 2, "--overwrite cannot be planned"),
    "jobs": ((*SWEEP, "--write-plan", "p.jsonl", "--jobs", "2"), 2, "--jobs is not part of a plan"),
    "dry run": ((*SWEEP, "--write-plan", "p.jsonl", "--dry-run"), 2, "--write-plan trains nothing"),
    "another sweep": ((*SWEEP, "--lr", "1", "--write-plan", "p.jsonl"), 2, "another"),
    "another run": ((*SWEEP, "--lr", "1", "-o", "runs/x/sgd-1", "--write-plan", "plan.jsonl"), 2, "plan.jsonl"),
    "no time": (("--plan", "plan.jsonl", "--launcher", "slurm"), 2, "--slurm names no time"),
    "slurm for local": (("--plan", "plan.jsonl", "--launcher", "local", "--slurm", "time=9"), 2, "--slurm holds"),
    "devices of slurm": (("--plan", "plan.jsonl", "--launcher", "slurm", "--devices", "0"), 2, "--devices shares"),
    "launched at once": (
        (*SWEEP, "--write-plan", "p.jsonl", "--launcher", "sbatch", "--devices", "0"),
        2,
        "--devices shares",
    ),
    "no number": ((*FLAGS, "--devices", "zero"), 2, "--devices zero is not the number of a GPU"),
    "twice": ((*FLAGS, "--devices", "0,cuda:0"), 2, "names cuda:0 twice"),
    "device too": ((*FLAGS, "--devices", "99", "--device", "cpu"), 2, "--devices cuda:99 cannot be used"),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "code", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_request_is_one_line_and_changes_nothing(landscape, plan, snapshot, arguments, code, message):
    before = snapshot()
    result = landscape("train", *arguments)
    assert (result.code, message in result.error) == (code, True), result.error
    assert snapshot() == before


def test_devices_become_those_of_the_runs(landscape, plan, monkeypatch):
    """On a machine that pretends to have two GPUs, and a training that only says where it would be."""
    from landscape.cli import options, train

    seen = {}
    monkeypatch.setattr(options, "chosen_device", lambda name, dtype=None: name)

    def planned(work, **settings):
        seen.update(settings, recipes={job.recipe.device for job in work})
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "train_plan", planned)
    landscape("train", *SWEEP, "-o", "new", "--devices", "0,cuda:1", "-q")
    assert (seen["devices"], seen["jobs"], seen["recipes"]) == (["cuda:0", "cuda:1"], 2, {"cuda:0"})


def test_the_text_for_sbatch_is_a_script_for_the_runs_that_are_left(landscape, plan):
    result = landscape(
        "train", "--plan", "plan.jsonl", "--launcher", "sbatch", "--slurm", "time=90,partition=gpu"
    )
    assert (result.code, result.err) == (0, "")
    assert "#SBATCH --array=0,2-3\n" in result.out
    assert f"--plan {plan} --index auto" in result.out
    subprocess.run(["bash", "-n"], input=result.out, text=True, check=True)
    assert (plan.parent / "plan.logs").is_dir()


def test_without_submitit_the_text_for_sbatch_is_printed_and_the_extra_named(landscape, plan, monkeypatch):
    monkeypatch.setattr(submission, "has_submitit", lambda: False)
    result = landscape("train", "--plan", "plan.jsonl", "--launcher", "slurm", "--slurm", "time=90")
    assert result.code == 2
    assert result.out.startswith("#!/bin/bash\n#SBATCH")
    assert "pip install 'submitit" in result.err
    assert len(result.err.splitlines()) == 1


def test_without_submitit_the_runs_are_trained_here_by_the_pool(landscape, plan, monkeypatch):
    monkeypatch.setattr(submission, "has_submitit", lambda: False)
    result = landscape("train", "--plan", "plan.jsonl", "--launcher", "local", "--jobs", "1", "-q")
    assert result.code == 0, result.err
    assert all(
        (plan.parent / f"runs/x/{name}/checkpoint.pt").is_file() for name in ("sgd-0", "sam-0", "sam-1")
    )


def test_compare_and_plot_read_a_sweep_that_is_half_done(landscape, plan):
    unfinished = plan.parent / "runs/x/sam-0"
    shutil.copytree(plan.parent / "runs/x/sgd-1", unfinished)
    text = (unfinished / "recipe.toml").read_text()
    (unfinished / "recipe.toml").write_text(text.replace('optimizer = "sgd"', 'optimizer = "sam"'))
    (unfinished / "history.jsonl").unlink()
    (unfinished / "checkpoint.pt").unlink()
    result = landscape("compare", "runs/x", "-M", "train:loss", "--limit", "50", "--device", "cpu")
    assert result.code == 0
    said = (
        "3 of 4 runs are unfinished and left out: runs/x/sam-0 (epoch 0 of 2), runs/x/sgd-0 (not begun), runs/x/sam-1 "
        "(not begun)"
    )
    assert f"Note: {said}" in result.err
    assert "SGD" in result.out
    drawn = landscape("plot", "runs/x/sam-0", "runs/x/sgd-1", "--kind", "history", "-o", "h.svg")
    assert (drawn.code, drawn.out.splitlines()[0]) == (0, "h.svg")
    assert "Note: runs/x/sam-0 is left out: it has no history and no record yet" in drawn.err
    shutil.rmtree(plan.parent / "runs/x/sgd-1")
    nothing = landscape("compare", "runs/x")
    assert (nothing.code, "no run is finished: 4 of 4 runs are unfinished" in nothing.error) == (3, True)
    nothing = landscape("plot", "runs/x/sam-0")
    assert nothing.code == 3
    assert "Error: nothing can be drawn yet" in nothing.err


def test_a_finished_run_whose_process_was_killed_before_its_last_checkpoint_is_unfinished(landscape, runs):
    (runs / "sam-1/.lock").write_text("123\n")
    result = landscape("compare", "runs", "-M", "loss", "--limit", "50", "--device", "cpu")
    assert (
        "runs/sam-1 is left out: its training is at epoch 2 of 2, and a process is at it or was killed"
        in result.err
    )


def test_the_indexed_job_of_the_documentation_is_one(written):
    """Read as Kubernetes reads it; its command is one of ours."""
    yaml = pytest.importorskip("yaml")
    docs = Path(__file__).parents[2] / "docs"
    pages = [page.read_text(encoding="utf-8") for page in docs.glob("scale*.md")]
    [text] = [page.split("```yaml\n")[1].split("```")[0] for page in pages if "completionMode" in page]
    job = yaml.safe_load(text)
    assert (job["apiVersion"], job["kind"], job["spec"]["completionMode"]) == ("batch/v1", "Job", "Indexed")
    spec = job["spec"]
    pod = spec["template"]["spec"]
    # The API refuses a limit for each index, and a policy, with any other restart.
    assert pod["restartPolicy"] == "Never"
    assert spec["backoffLimitPerIndex"] > 0
    assert spec["parallelism"] <= spec["completions"] <= spec["maxFailedIndexes"]
    assert {rule["action"] for rule in spec["podFailurePolicy"]["rules"]} == {"Ignore", "FailIndex"}
    [container] = pod["containers"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {
        volume["name"] for volume in pod["volumes"]
    }
    from landscape.cli.train import command

    known = {flag for parameter in command.params for flag in parameter.opts}
    assert container["command"][:2] == ["landscape", "train"]
    assert {word for word in container["command"] if word.startswith("-")} == {"--plan", "--index"} <= known


def test_a_machine_without_a_gpu_says_so(landscape):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    result = landscape("train", *SWEEP, "--devices", "0,1")
    assert (result.code, "--devices cuda:0 cannot be used: " in result.error) == (2, True)
