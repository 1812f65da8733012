"""``landscape compare --group``: checkpoints of a plain PyTorch script in the table that papers print."""

import json
import shutil
import sys

import numpy as np
import pytest
import torch

from landscape.records.json_lines import read

SCRIPT = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes=3):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, num_classes))

    def forward(self, x):
        return self.layers(x)

def train(optimizer, seed, inputs, targets):
    torch.manual_seed(seed)
    net = Net()
    lr = {"sgd": 0.3, "sam": 0.2, "adam": 0.1}[optimizer]
    step = torch.optim.SGD(net.parameters(), lr)
    for _ in range(6):
        step.zero_grad()
        nn.functional.cross_entropy(net(inputs), targets).backward()
        step.step()
    return net
"""
OWN = ("-m", "./train.py:Net", "-d", "npz:d.npz", "--device", "cpu")
GROUPS = ("--group", "SGD=own/sgd-*", "--group", "SAM=own/sam-*", "--group", "Adam=own/adam-*")
FEW = ("-M", "test:accuracy,train:gradient-norm", "--device", "cpu")


@pytest.fixture
def own(landscape, tmp_path):
    """Three optimizers and seeds in nine files, with the script and the data; a function that gives a network."""
    (tmp_path / "train.py").write_text(SCRIPT)
    scope = {"__name__": "__main__"}
    exec(compile(SCRIPT, "train.py", "exec"), scope)
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(70, 4)).astype("float32")
    targets = (inputs[:, 0] > 0).astype("int64") + (inputs[:, 1] > 1)
    arrays = {"x_train": inputs[:40], "y_train": targets[:40], "x_test": inputs[40:], "y_test": targets[40:]}
    np.savez(tmp_path / "d.npz", **arrays)
    (tmp_path / "own").mkdir()
    data = {name: torch.tensor(array) for name, array in arrays.items()}
    networks = {}
    for optimizer in ("sgd", "sam", "adam"):
        for seed in range(3):
            network = scope["train"](optimizer, seed, data["x_train"], data["y_train"])
            networks[optimizer, seed] = network
            # As a script saves a whole network: its class is in __main__, which is another module when it is read.
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(sys.modules["__main__"], "Net", scope["Net"], raising=False)
                content = network if optimizer == "adam" else network.state_dict()
                torch.save(content, tmp_path / f"own/{optimizer}-{seed}.pt")
    return lambda optimizer, seed: (networks[optimizer, seed], data)


def values(result, row, measure):
    cells = json.loads(result.out)["cells"]
    [cell] = [cell for cell in cells if row in cell.values() and cell["measure"] == measure]
    return cell["values"]


def test_the_papers_table_of_nine_files_and_everything_is_read_the_second_time(landscape, own, tmp_path):
    table = landscape("compare", *GROUPS, *OWN, "--format", "json")
    assert table.code == 0
    assert "Seeds, from the names (sgd-0.pt → 0): SGD 0, 1, 2; SAM 0, 1, 2; Adam 0, 1, 2" in table.err
    assert "0 numbers read from records, 72 measured now" in table.err
    content = json.loads(table.out)
    names = list(dict.fromkeys(cell["measure"] for cell in content["cells"]))
    assert names == [
        *("test:accuracy", "generalization-gap", "train:surrogate-gap", "train:dominant-eigenvalue"),
        *(
            "train:hessian-trace",
            "train:normalized-trace",
            "train:approximation-ratio",
            "train:gradient-norm",
        ),
    ]
    assert list(dict.fromkeys(cell["method"] for cell in content["cells"])) == ["SGD", "SAM", "Adam"]
    assert {cell["n"] for cell in content["cells"]} == {3}

    def accuracy(optimizer, seed, part):
        network, data = own(optimizer, seed)
        return (network(data[f"x_{part}"]).argmax(1) == data[f"y_{part}"]).float().mean().item()

    for optimizer, row in (("sgd", "SGD"), ("sam", "SAM")):
        test = [accuracy(optimizer, seed, "test") for seed in range(3)]
        gaps = [accuracy(optimizer, seed, "train") - test[seed] for seed in range(3)]
        assert values(table, row, "test:accuracy") == pytest.approx(test, abs=1e-6)
        assert values(table, row, "generalization-gap") == pytest.approx(gaps, abs=1e-6)
    records = (tmp_path / "own/measures.jsonl").read_bytes()
    # A limit above the size is the size.
    again = landscape("compare", *GROUPS, *OWN, "--format", "json", "--limit", "5000")
    assert (again.out, "72 numbers read from records, 0 measured now" in again.err) == (table.out, True)
    assert (tmp_path / "own/measures.jsonl").read_bytes() == records
    # `landscape measure` reads the same records: it is the same path.
    one = landscape("measure", "own/sam-1.pt", *OWN, "-M", "hessian-trace", "-q")
    assert " read" in one.out


def test_the_trace_in_the_table_is_that_of_the_dense_hessian(landscape, own):
    result = landscape("compare", *GROUPS[:2], *OWN, "-M", "train:hessian-trace", "--format", "json", "-q")
    traces = []
    for seed in range(3):
        network, data = own("sgd", seed)
        parameters = dict(network.named_parameters())
        flat = torch.nn.utils.parameters_to_vector(parameters.values()).detach().double()
        sizes = [p.numel() for p in parameters.values()]

        def loss(theta, network=network, parameters=parameters, sizes=sizes, data=data):
            parts = [v.view_as(p) for v, p in zip(theta.split(sizes), parameters.values(), strict=True)]
            state = dict(zip(parameters, parts, strict=True))
            outputs = torch.func.functional_call(network, state, (data["x_train"].double(),))
            return torch.nn.functional.cross_entropy(outputs, data["y_train"])

        traces.append(torch.func.hessian(loss)(flat).trace().item())
    assert values(result, "SGD", "hessian-trace") == pytest.approx(traces, rel=0.06)


def test_records_are_read_only_where_weights_data_code_and_settings_are_the_same(landscape, own, tmp_path):
    def counted(*flags):
        few = ("-M", "gradient-norm", "--device", "cpu")
        return landscape("compare", *GROUPS[:2], *few, *flags).err.splitlines()[-1].split(" numbers")[0]

    assert counted(*OWN) == "0"
    assert counted(*OWN, "--limit", "5000") == "3"  # a limit above the size is the size
    assert counted(*OWN, "--limit", "20") == "0"
    assert counted(*OWN, "--parameters", "layers.2.*") == "0"
    assert counted(*OWN, "--parameters", "layers.2.*") == "3"
    assert counted("-m", "./train.py:Net", "-d", "npz:d.npz:classes=3") == "0"
    torch.save(own("adam", 1)[0].state_dict(), tmp_path / "own/sgd-1.pt")
    assert counted(*OWN) == "2"
    (tmp_path / "train.py").write_text(SCRIPT + "\n# changed\n")
    assert counted(*OWN) == "0"


def test_a_dry_run_says_what_would_be_measured_and_writes_nothing(landscape, own, snapshot):
    landscape("compare", *GROUPS[:2], *OWN, *FEW, "-q")
    before = snapshot()
    plan = landscape("compare", *GROUPS[:4], *OWN, *FEW, "--dry-run")
    assert plan.code == 0
    assert [line.split()[:2] for line in plan.out.splitlines()[1:3]] == [
        ["train:gradient-norm", "3"],
        ["test:accuracy", "3"],
    ]
    assert "6 of 12 numbers would be measured, in about" in " ".join(plan.out.split())
    nothing = landscape("compare", *GROUPS[:2], *OWN, *FEW, "--dry-run", "-q")
    assert nothing.out == "Nothing would be measured: all 6 numbers are on record.\n"
    against = landscape("compare", *GROUPS[:2], *OWN, "--against", "generalization-gap", "--dry-run")
    assert "train:hessian-trace" in against.out
    assert "train:accuracy" in against.out  # a part of the gap; that on test is on record
    assert max(map(len, against.out.splitlines())) <= 80
    assert snapshot() == before


def test_a_table_of_checkpoints_is_compared_by_any_of_its_columns(landscape, own, tmp_path):
    lines = [
        f"own/{o}-{s}.pt,{o.upper()},{s},{lr}" for o, lr in (("sgd", 0.3), ("sam", 0.2)) for s in range(3)
    ]
    (tmp_path / "t.csv").write_text("\n".join(["checkpoint,row,seed,lr", *reversed(lines)]))
    by_row = json.loads(landscape("compare", "--runs", "t.csv", *OWN, *FEW, "--format", "json").out)
    assert [cell["method"] for cell in by_row["cells"][:2]] == ["SAM", "SGD"]
    assert "the rows differ in lr too: SAM 0.2, SGD 0.3" in by_row["notes"]
    by_lr = json.loads(
        landscape("compare", "--runs", "t.csv", *OWN, *FEW, "--by", "lr,row", "--format", "json").out
    )
    assert {cell["lr, method"] for cell in by_lr["cells"]} == {"0.2 row=SAM", "0.3 row=SGD"}
    flags = (*FEW, "--baseline", "SGD", "--format", "json")
    differences = json.loads(landscape("compare", "--runs", "t.csv", *OWN, *flags).out)["differences"]
    assert {each["method"] for each in differences} == {"SAM"}


@pytest.mark.thorough
def test_data_without_a_test_split_are_compared_on_train(landscape, own, tmp_path):
    arrays = np.load(tmp_path / "d.npz")
    np.savez(tmp_path / "one.npz", x=arrays["x_train"], y=arrays["y_train"])
    flags = (*GROUPS[:2], "-m", "./train.py:Net", "-d", "npz:one.npz", "--device", "cpu", "-q")
    refused = landscape("compare", *flags)
    assert (refused.code, refused.error) == (
        3,
        "Error: npz:one.npz has no held-out examples; measure on --split train",
    )
    assert not (tmp_path / "own/measures.jsonl").exists()
    result = landscape("compare", *flags, "--split", "train", "--dry-run")
    assert "train:accuracy" in result.out
    assert "test" not in result.out


def test_a_regression_has_no_column_of_accuracies(landscape, own, tmp_path):
    (tmp_path / "task.py").write_text(
        "import torch\nfrom train import Net\n"
        "def task():\n"
        "    x = torch.linspace(-1, 1, 80).view(20, 4)\n"
        "    data = torch.utils.data.TensorDataset(x, x[:, :3])\n"
        "    return dict(model=Net(), data=dict(train=data, test=data), loss=torch.nn.MSELoss())\n"
    )
    result = landscape(
        "compare", *GROUPS[:2], "--task", "./task.py:task", "--device", "cpu", "--format", "json"
    )
    names = [cell["measure"] for cell in json.loads(result.out)["cells"]]
    assert (len(names), "accuracy" in names, "hessian-trace" in names) == (6, False, True)


def test_runs_can_be_members_and_those_that_are_not_finished_are_left_out(landscape, runs):
    lines = (runs / "sam-1/history.jsonl").read_text().splitlines()
    (runs / "sam-1/history.jsonl").write_text(lines[0] + "\n")
    groups = ("--group", "B=runs/sam-*", "--group", "A=runs/sgd-*")
    result = landscape("compare", *groups, "-M", "loss,gradients", "--limit", "60", "--format", "json")
    content = json.loads(result.out)
    cells = {(cell["method"], cell["measure"]): cell["seeds"] for cell in content["cells"]}
    assert cells == {
        ("B", "loss"): [0],
        ("A", "loss"): [0, 1],
        ("B", "gradients"): [0],
        ("A", "gradients"): [0, 1],
    }
    assert "Note: runs/sam-1 is left out: its training is at epoch 1 of 2" in result.err
    assert content["reference"] == "B"
    assert not any("differ in optimizer" in note for note in content["notes"])


def test_which_measure_predicts_the_test_loss_of_own_checkpoints(landscape, own):
    flags = ("--against", "test-loss", "-M", "gradient-norm,test:gradient-norm", "--format", "json")
    study = json.loads(landscape("compare", *GROUPS, *OWN, *flags).out)
    assert study["runs"] == 9
    assert {p["measure"] for p in study["predictors"]} == {"train:gradient-norm", "test:gradient-norm"}


def test_what_is_on_record_needs_neither_model_nor_data(landscape, own):
    table = landscape("compare", *GROUPS[:2], *OWN, *FEW).out
    assert landscape("compare", *GROUPS[:2], "--no-measure-missing", *FEW).out == table


def test_a_row_with_fewer_seeds_is_paired_on_the_common_ones_and_it_is_said(landscape, own, tmp_path):
    (tmp_path / "own/sam-2.pt").unlink()
    result = landscape("compare", *GROUPS[:4], *OWN, *FEW)
    assert "Note: SAM lacks seed 2: differences are over the seeds that both rows have" in result.err
    assert "SAM lacks seed 2" in result.out
    assert "n=2" in result.out


def test_numbers_are_printed_where_they_cannot_be_kept(landscape, own, tmp_path):
    (tmp_path / "own/measures.jsonl").mkdir()
    result = landscape("compare", *GROUPS[:4], *OWN, *FEW)
    assert result.code == 0
    assert result.err.count("numbers are not kept") == 1
    assert "own/measures.jsonl cannot be written" in result.err


def test_checkpoints_of_every_form_are_members(landscape, own, tmp_path):
    import safetensors.torch

    for seed in range(2):
        network, _ = own("sgd", seed)
        (tmp_path / f"folders/{seed}").mkdir(parents=True)
        safetensors.torch.save_file(network.state_dict(), tmp_path / f"folders/{seed}/model.safetensors")
        torch.save({"state_dict": own("sam", seed)[0].state_dict(), "epoch": 3}, tmp_path / f"sam{seed}.ckpt")
    groups = ("--group", "SGD=folders/*", "--group", "[31m^\\x=sam*.ckpt")
    result = landscape("compare", *groups, *OWN, *FEW, "--format", "latex")
    assert result.code == 0
    assert r"{[}31m\textasciicircum{}\textbackslash{}x & $" in result.out
    assert len(read(tmp_path / "folders/1/measures.jsonl").estimates) == 2
    assert len(read(tmp_path / "measures.jsonl").estimates) == 4


REFUSED = {
    "no model": (
        GROUPS[:2] + OWN[2:],
        3,
        ["own/sgd-0.pt does not say which model it belongs to", "-m MODEL"],
    ),
    "no data": (GROUPS[:2] + OWN[:2], 3, ["own/sgd-0.pt does not say which data it belongs to", "-d DATA"]),
    "neither": (GROUPS[:2], 3, ["does not say which model and data"]),
    "nothing": ((), 2, ["nothing to compare: give", "--group", "--runs"]),
    "no file": (("--runs", "none.csv"), 3, ["none.csv does not exist"]),
    "runs and groups": (("own", *GROUPS[:2]), 2, ["RUN… and --group cannot be combined"]),
    "a group without a flag": (("own/sgd-0.pt", *OWN), 3, ["does not say how it was trained", "--group"]),
    "seeds of runs": (("own", "--seed-from", "(x)"), 2, ["--seed-from reads the names of a --group"]),
    "baseline": (
        (*GROUPS[:4], *OWN, "--baseline", "sgd"),
        3,
        ["no row is called 'sgd'; there are: SGD, SAM"],
    ),
    "label": ((*GROUPS[:4], *OWN, "--label", "sgd=x"), 2, ["--label sgd=x is not ROW=NAME"]),
    "split of a gap": ((*GROUPS[:2], "-M", "test:generalization-gap"), 2, ["does not belong to one split"]),
    "measure": ((*GROUPS[:2], *OWN, "-M", "test:acuracy"), 2, ["did you mean 'accuracy'?"]),
    "content": (("--group", "A=own/sgd-*", "--group", "B=copy/*", *OWN), 3, ["'A' seed 1", "(copy/a-7.pt)"]),
    "weights": (
        ("--group", "A=own/sgd-*", "--group", "B=same/b-5.pt", *OWN),
        3,
        ["(same/b-5.pt) are the same"],
    ),
    "networks": (("--group", "A=wide/a-*", *OWN), 3, ["wide/a-0.pt (row 'A')", "are of different networks"]),
    "networks of rows": ((*GROUPS[:2], "--group", "B=wide/b-9.pt", *OWN), 3, ["(row 'B') are of different"]),
    "damaged": (("--group", "A=bad/*", *OWN), 3, ["bad/a-0.pt is empty"]),
    "no checkpoint": (("--group", "A=wide", *OWN), 3, ["wide is a folder without a checkpoint.pt"]),
}


@pytest.mark.parametrize("mistake", list(REFUSED))
def test_what_cannot_be_compared_is_one_line_before_anything_is_measured(
    landscape, own, tmp_path, snapshot, mistake
):
    for folder in ("copy", "wide", "bad", "same"):
        (tmp_path / folder).mkdir()
    shutil.copy(tmp_path / "own/sgd-1.pt", tmp_path / "copy/a-7.pt")
    shutil.copy(tmp_path / "own/sgd-1.pt", tmp_path / "wide/a-0.pt")
    for name in ("a-1.pt", "b-9.pt"):
        torch.save({"w": torch.ones(3, 3)}, tmp_path / "wide" / name)
    torch.save(own("sgd", 2)[0].state_dict(), tmp_path / "same/b-5.pt")
    (tmp_path / "bad/a-0.pt").write_bytes(b"")
    arguments, code, says = REFUSED[mistake]
    before = snapshot()
    result = landscape("compare", *arguments, "-q")
    assert result.code == code, result.err
    assert all(words in result.error for words in says), result.error
    assert snapshot() == before
