"""Networks, data, losses and tasks of the user's own on the command line; what a checkpoint must not make run."""

import json
import shlex

import numpy as np
import pytest
import torch
from torch import nn

OWN = """
import torch
from torch import nn
from landscape import BatchLoss

def net(width=5):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, width), nn.Tanh(), nn.Linear(width, 2)).double()

def data(n=12):
    x = torch.linspace(-1, 1, 3 * n, dtype=torch.float64).reshape(n, 3)
    train = torch.utils.data.TensorDataset(x, torch.arange(n) % 2)
    return dict(train=train, test=torch.utils.data.DataLoader(train, batch_size=4))

def points():
    return [dict(inside=torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(2, 3)) for _ in range(2)]

def residual(model, batch):
    return model(batch["inside"]).square().mean()

def task(width=5):
    return dict(model=net(width), data=points(), loss=BatchLoss(residual))

def wrong():
    return dict(network=net())
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A file of the user's own and the weights of its network."""
    (tmp_path / "own.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(OWN, names)
    with torch.random.fork_rng():
        model = names["net"]()
    torch.save(model.state_dict(), tmp_path / "m.pt")
    return names, model


def records(result):
    assert result.code == 0, result.err
    return [json.loads(line) for line in result.out.splitlines()]


NAMED = ("-m", "./own.py:net", "-d", "./own.py:data")
QUICK = ("-M", "loss", "--format", "jsonl")


def test_a_task_gives_everything_to_measure_surface_and_verify(landscape, own):
    names, model = own
    (found,) = records(landscape("measure", "m.pt", "--task", "./own.py:task", *QUICK))
    expected = names["residual"](model, names["points"]()[0])
    assert found["value"] == pytest.approx(float(expected), rel=1e-12)
    origin = found["provenance"]
    assert (origin["data"], origin["loss"], origin["num_examples"]) == ("./own.py:task", "BatchLoss", 4)
    drawn = landscape("surface", "m.pt", "--task", "./own.py:task", "--points", "3", "-o", "s.png", "-q")
    assert drawn.code == 0, drawn.err
    checked = landscape("verify", "m.pt", "--task", "./own.py:task")
    assert checked.code == 0, checked.err
    assert checked.out.count("dense float64") == 3


def test_flags_come_before_what_the_task_says(landscape, own):
    (found,) = records(
        landscape(
            "measure", "m.pt", "--task", "./own.py:task", "-d", "./own.py:data", "--loss", "mse", *QUICK
        )
    )
    assert (found["provenance"]["data"], found["provenance"]["loss"]) == ("./own.py:data", "mse")


def test_loaders_are_limited_and_a_changed_file_is_measured_again(landscape, own, tmp_path):
    flags = ("measure", "m.pt", *NAMED, "--split", "test", "--limit", "7", *QUICK)
    (found,) = records(landscape(*flags))
    assert found["provenance"]["num_examples"] == 7
    landscape(*flags)
    assert len((tmp_path / "measures.jsonl").read_text().splitlines()) == 1
    (tmp_path / "own.py").write_text(OWN.replace("linspace(-1, 1, 3", "linspace(-2, 2, 3"))
    (again,) = records(landscape(*flags))
    assert again["value"] != found["value"]
    assert again["provenance"]["code"] != found["provenance"]["code"]


def test_the_accuracy_that_is_expected_is_checked_before_any_measure(landscape, own, tmp_path):
    names, model = own
    x, y = names["data"]()["train"].tensors
    accuracy = 100 * float((model(x).argmax(1) == y).double().mean())
    near = f"{accuracy:.1f}"
    for expected in (near, f"{near}%", f"{accuracy - 0.3:.2f}±0.4", f"{accuracy + 0.3:.2f}+-0.4"):
        assert landscape("measure", "m.pt", *NAMED, *QUICK, "--expect-accuracy", expected).code == 0
    (tmp_path / "measures.jsonl").unlink()
    for expected, code, said in (
        (
            f"{accuracy - 5:.1f}±0.2",
            3,
            f"the accuracy on ./own.py:data train (12 examples) is {accuracy:.2f}%, not",
        ),
        ("ninety", 2, "--expect-accuracy ninety is not a percentage such as 95.1±0.2"),
        ("950", 2, "is not a percentage"),
    ):
        result = landscape("measure", "m.pt", *NAMED, *QUICK, "--expect-accuracy", expected)
        assert result.code == code
        assert said in result.error
    none = landscape("measure", "m.pt", "--task", "./own.py:task", "--expect-accuracy", "50")
    assert none.code == 3
    assert "there is no accuracy on ./own.py:task train" in none.error
    assert not (tmp_path / "measures.jsonl").exists()


def test_batch_norm_is_recalibrated_on_the_training_examples_and_recorded(landscape, tmp_path):
    torch.save(nn.Sequential().state_dict(), tmp_path / "m.pt")
    from landscape.models import build_model

    state = build_model("mlp:width=4,depth=1,norm=batch", classes=2, input_shape=(2,), seed=0).state_dict()
    torch.save(state, tmp_path / "m.pt")
    flags = ("measure", "m.pt", "-m", "mlp:width=4,depth=1,norm=batch", "-d", "moons:samples=60", *QUICK)
    result = landscape(*flags, "--batch-norm", "recalibrate", "--split", "both")
    assert [r["provenance"]["batch_norm"] for r in records(result)] == ["recalibrate"] * 2
    assert result.err.count("batch-norm statistics are recomputed at every point, on 42 examples") == 2


@pytest.mark.parametrize("part", ["model", "data"])
def test_a_checkpoint_cannot_make_code_run_that_lies_beside_it(landscape, tmp_path, part):
    (tmp_path / "evil.py").write_text("open('pwned', 'w').close()\ndef made(): pass\n")
    recipe = {"model": "mlp", "data": "digits", part: "./evil.py:made"}
    torch.save(
        {"format": "landscape.checkpoint/1", "recipe": recipe, "state_dict": {"a": torch.ones(1)}},
        tmp_path / "m.pt",
    )
    result = landscape("measure", "m.pt")
    assert result.code == 3
    assert "names the Python code ./evil.py:made, which a checkpoint cannot run" in result.error
    assert not (tmp_path / "pwned").exists()


MISTAKES = {
    "no file": (3, ("-m", "./none.py:net", "-d", "digits"), "there is no file ./none.py"),
    "no function": (2, ("-m", "./own.py:nett", "-d", "digits"), "did you mean 'net'"),
    "option": (2, ("-m", "./own.py:net:widht=3", "-d", "digits"), "did you mean 'width'"),
    "no network": (3, ("-m", "./own.py:data", "-d", "digits"), "returns a dict, not a torch.nn.Module"),
    "no data": (3, (*NAMED[:2], "-d", "./own.py:net"), "a data factory returns a Dataset"),
    "task form": (2, ("--task", "own"), "is not ./file.py:function"),
    "task parts": (3, ("--task", "./own.py:wrong"), "returns a dictionary of network; a task returns"),
    "loss": (2, (*NAMED, "--loss", "crossentropy"), "did you mean 'cross-entropy'"),
    "no folder": (3, ("-m", "hf:nowhere", "-d", "digits"), "there is no nowhere/config.json"),
    "no npz": (3, (*NAMED[:2], "-d", "npz:x.npz"), "there is no file x.npz"),
    "no texts": (3, (*NAMED[:2], "-d", "hf-datasets:x"), "there is no such folder"),
}


@pytest.mark.parametrize("mistake", list(MISTAKES))
def test_a_mistake_is_answered_in_one_line(landscape, own, mistake):
    code, flags, said = MISTAKES[mistake]
    result = landscape("measure", "m.pt", *flags)
    assert (result.code, said in result.error) == (code, True), result.err


@pytest.mark.parametrize(
    ("shift", "said"), [(1, "labels 1 to 2, and the network has 2 classes"), (-1, "labels -1 to 0, and")]
)
def test_labels_that_the_outputs_have_not_are_told_with_their_range(landscape, own, tmp_path, shift, said):
    x = torch.linspace(-1, 1, 36, dtype=torch.float64).reshape(12, 3)
    np.savez(tmp_path / "d.npz", inputs=x.numpy(), targets=np.arange(12) % 2 + shift)
    result = landscape("measure", "m.pt", "-m", "./own.py:net", "-d", "npz:d.npz", "-M", "loss")
    assert (result.code, said in result.error) == (3, True), result.err


def test_an_empty_split_is_told(landscape, own, tmp_path):
    x, y = np.zeros((4, 3)), np.zeros(4, dtype=np.int64)
    np.savez(tmp_path / "d.npz", train_inputs=x, train_targets=y, test_inputs=x[:0], test_targets=y[:0])
    result = landscape("measure", "m.pt", "-m", "./own.py:net", "-d", "npz:d.npz", "--split", "test")
    assert (result.code, "npz:d.npz: the data set is empty" in result.error) == (3, True), result.err


def test_a_run_of_ones_own_code_goes_on_and_is_measured_with_the_flag_that_named_it(landscape, tmp_path):
    (tmp_path / "own.py").write_text(
        "from torch import nn\ndef net(classes, width=4):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(2, width), nn.Tanh(), nn.Linear(width, classes))\n"
    )
    named = ("-m", "./own.py:net:width=3")
    flags = ("train", "-d", "moons:samples=60", "--epochs", "1", "--device", "cpu", "-o", "run", "-q")
    assert landscape(*flags, *named).code == 0
    before = (tmp_path / "run" / "checkpoint.pt").read_bytes()
    assert landscape(*flags, *named).code == 0
    assert (tmp_path / "run" / "checkpoint.pt").read_bytes() == before
    without = landscape(*flags)
    assert without.code == 3
    assert "names the Python code ./own.py:net:width=3, which a recipe cannot run" in without.error
    assert "add -m ./own.py:net:width=3" in without.error
    (found,) = records(landscape("measure", "run", *named, *QUICK))
    assert found["provenance"]["model"] == "./own.py:net:width=3"
    assert "add -m ./own.py:net:width=3" in landscape("measure", "run", *QUICK).error
    assert landscape("measure", "run", "--trust-checkpoint", *QUICK).code == 0
    told = landscape("inspect", "run")
    assert "measure it  landscape measure run -m MODEL\n" in told.out
    assert "its recipe names ./own.py:net:width=3 for its model, which a file may not" in told.out


NET = """
import torch
from torch import nn

class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)

    def forward(self, x):
        return torch.relu(x + self.norm(self.conv(x)))

class Net(nn.Module):
    def __init__(self, classes=10, width=3):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, width, 3), Block(width), nn.Flatten(), nn.LazyLinear(classes))
        self.layers(torch.zeros(2, 1, 5, 5))

    def forward(self, x):
        return self.layers(x)
"""
LOSS = """
from torch.nn import functional

def smooth(outputs, targets, eps=0.1):
    return functional.cross_entropy(outputs, targets, label_smoothing=eps)
"""


@pytest.fixture
def project(tmp_path):
    """A network with batch normalisation, a loss and small pictures, in a folder whose name the shell would split."""
    folder = tmp_path / "my code"
    folder.mkdir()
    (folder / "net.py").write_text(NET)
    (folder / "loss.py").write_text(LOSS)
    pictures = np.random.default_rng(0).integers(0, 256, (24, 5, 5), dtype=np.uint8)
    np.savez(
        tmp_path / "d.npz", x_train=pictures, y_train=np.arange(24) % 10, x_test=pictures, y_test=[1] * 24
    )


def pasted(result):
    """The commands that were printed as the next ones, as the shell takes them apart."""
    _, _, printed = result.err.partition("Next: ")
    commands = [shlex.split(line) for line in printed.splitlines()]
    assert {command[0] for command in commands} == {"landscape"}
    return [command[1:] for command in commands]


def test_the_commands_that_training_prints_work_when_pasted(landscape, project):
    trained = landscape(
        *("train", "-m", "./my code/net.py:width=2", "-d", "d.npz", "--loss", "./my code/loss.py:eps=0.2"),
        *("--optimizers", "sgd,sam", "--epochs", "1", "-b", "12", "--device", "cpu", "-o", "all runs"),
    )
    assert trained.code == 0, trained.err
    words = " ".join(trained.err.split())
    assert "inputs 1×5×5; 10 classes, from the largest class number" in words
    assert "pixels from 0 to 1, not normalised; " in words
    code = ["-m", "./my code/net.py:Net:width=2", "--loss", "./my code/loss.py:smooth:eps=0.2"]
    compare, measure, surface = pasted(trained)
    assert compare == ["compare", "all runs", *code]
    assert measure == ["measure", "all runs/sgd-0", *code]
    assert surface == ["surface", "all runs/sgd-0", "all runs/sam-0", "-o", "all runs/surface.pdf", *code]
    (record,) = records(landscape(*measure, "-M", "loss", "--format", "jsonl"))
    assert record["provenance"]["loss"] == "./my code/loss.py:smooth:eps=0.2"
    for command, more in ((compare, ("-M", "loss")), (surface, ("--points", "3"))):
        result = landscape(*command, *more)
        assert result.code == 0, result.err
    without = landscape("measure", "all runs/sgd-0", *code[:2])
    assert without.code == 3
    assert "names the Python code ./my code/loss.py:smooth:eps=0.2" in without.error


def test_a_run_with_a_loss_of_the_table_is_measured_with_it(landscape):
    trained = landscape(
        *("train", "-m", "mlp:width=4,depth=1", "-d", "moons:samples=60", "--loss", "mse", "--epochs", "1"),
        *("--device", "cpu", "-o", "run"),
    )
    measure, surface = pasted(trained)
    assert (measure, surface) == (["measure", "run"], ["surface", "run", "-o", "run/surface.pdf"])
    (record,) = records(landscape(*measure, *QUICK))
    assert record["provenance"]["loss"] == "mse"
    (other,) = records(landscape(*measure, *QUICK, "--loss", "cross-entropy"))
    assert other["value"] > record["value"]


def test_a_run_of_a_task_is_measured_with_the_task_alone(landscape, tmp_path):
    (tmp_path / "task.py").write_text(
        OWN.replace(".double()", "")
        + "def task(width=5):\n    return dict(model=net(width), data=data(), loss='mse')\n"
    )
    flags = ("--epochs", "1", "--device", "cpu", "--dtype", "float64", "-o", "run")
    trained = landscape("train", "--task", "./task.py:width=4", "-b", "4", *flags)
    assert trained.code == 0, trained.err
    measure, _ = pasted(trained)
    assert measure == ["measure", "run", "--task", "./task.py:task:width=4"]
    (record,) = records(landscape(*measure, *QUICK))
    assert record["provenance"]["loss"] == "mse"
    assert record["provenance"]["recipe"]["task"] == "./task.py:task:width=4"
    without = landscape("measure", "run")
    assert "names the Python code ./task.py:task:width=4" in without.error
    assert "add --task ./task.py:task:width=4" in without.error
    assert landscape("measure", "run", "--trust-checkpoint", *QUICK).code == 0
    assert "measure it  landscape measure run --task TASK\n" in landscape("inspect", "run").out
