"""Networks that a plain script of torch saved as a whole, with their class in its ``__main__``."""

import json
import os
import runpy
import sys
from pathlib import Path

import pytest
import torch
from checkpoints.supervision import supervised
from command_line import call

from landscape.checkpoints import load_checkpoint, read_checkpoint
from landscape.errors import InputError

SCRIPT = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(2, 5), nn.BatchNorm1d(5), nn.Tanh())
        self.head = nn.Linear(5, 2)

    def forward(self, x):
        return self.head(self.body(x))


if __name__ == "__main__":
    for seed in range(3):
        torch.manual_seed(seed)
        net = Net()
        net(torch.randn(20, 2))
        content = [net, {"model": net, "epoch": 3}, nn.DataParallel(net)][seed]
        torch.save(content, f"net-{seed}.pt", _use_new_zipfile_serialization=seed != 2)
        torch.save(net.state_dict(), f"state-{seed}.pt")
"""


@pytest.fixture
def script(tmp_path, monkeypatch):
    """The script in a folder, run as ``python train.py``, and no trace of it in this process."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text(SCRIPT)
    with torch.random.fork_rng():
        runpy.run_path("train.py", run_name="__main__")
    assert not hasattr(sys.modules["__main__"], "Net")
    return tmp_path


MEASURE = (
    "-m",
    "./train.py:Net",
    "-d",
    "moons:samples=60",
    "-M",
    "loss",
    "-M",
    "hessian-trace",
)


def test_three_files_are_measured_without_running_what_is_in_them(script, capsys):
    assert (
        call(["measure", "state-0.pt", *MEASURE]) == 0
    )  # what is imported now is not imported because of a file
    for seed in range(3):
        with supervised(strict=True) as events:
            contents = read_checkpoint(f"net-{seed}.pt")
        assert events == []
        assert contents.module == "__main__.Net"
        expected = torch.load(f"state-{seed}.pt", weights_only=True)
        for name, tensor in contents.state.items():
            assert torch.equal(tensor, expected[name.removeprefix("module.")])
    Path("measures.jsonl").unlink()
    before = {path.name for path in script.iterdir()}
    capsys.readouterr()
    with supervised() as events:
        assert call(["measure", *(f"net-{seed}.pt" for seed in range(3)), *MEASURE]) == 0
    assert {event for event, *_ in events} <= {"open", "os.mkdir"}  # of the measures, beside the files
    assert {path.name for path in script.iterdir()} - before == {"measures.jsonl"}
    told = " ".join(capsys.readouterr().err.split())
    assert "whole module, read without running its code: classes __main__.Net" in told
    assert call(["measure", *(f"state-{seed}.pt" for seed in range(3)), *MEASURE]) == 0
    values = [json.loads(line)["value"] for line in Path("measures.jsonl").read_text().splitlines()]
    assert values[:6] == values[6:]
    assert len(set(values)) == 6


def test_a_trusted_file_finds_its_class_in_the_script_that_is_named(script):
    for seed in range(3):
        state = load_checkpoint(
            f"net-{seed}.pt", model="./train.py:Net", data="moons", trust=True
        ).model.state_dict()
        expected = torch.load(f"state-{seed}.pt", weights_only=True)
        assert all(torch.equal(state[name], tensor) for name, tensor in expected.items())
    assert not hasattr(sys.modules["__main__"], "Net")


@pytest.mark.parametrize("old", [False, True])
def test_the_current_folder_is_importable_while_a_trusted_file_is_opened(tmp_path, monkeypatch, old):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets_of_mine.py").write_text("from torch import nn\nclass Mine(nn.Linear):\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import nets_of_mine

    torch.save(nets_of_mine.Mine(2, 2), "m.pt", _use_new_zipfile_serialization=not old)
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "nets_of_mine")
    before = list(sys.path)
    assert set(read_checkpoint("m.pt", trust=True).state) == {"weight", "bias"}
    assert sys.path == before
    monkeypatch.delitem(sys.modules, "nets_of_mine")
    os.mkdir("elsewhere")
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(
        InputError, match=r"needs nets_of_mine\.Mine, .*no module 'nets_of_mine'.*leave out"
    ) as failure:
        read_checkpoint("../m.pt", trust=True)
    assert "damaged" not in str(failure.value)


def test_a_class_that_is_missing_is_named(script, capsys):
    flags = ["-d", "moons", "-M", "loss", "--trust-checkpoint"]
    (script / "other.py").write_text("from torch import nn\nclass Other(nn.Linear):\n    pass\n")
    for model in ("mlp", "./other.py:Other"):
        assert call(["measure", "net-0.pt", "-m", model, *flags]) == 3
        error = capsys.readouterr().err
        assert "needs __main__.Net, " in error
        assert "-m ./FILE.py:Net" in error
        assert "damaged" not in error


def test_a_module_that_cannot_be_imported_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken_nets.py").write_text("import not_there_at_all\n")
    (tmp_path / "m.pt").write_bytes(b"\x80\x02cbroken_nets\nOdd\n.")
    with pytest.raises(InputError, match=r"needs broken_nets\.Odd, .*not_there_at_all") as failure:
        read_checkpoint("m.pt", trust=True)
    assert "damaged" not in str(failure.value)
    (tmp_path / "m.pt").write_bytes(b"\x80\x02ctorch.nn\nLaminar\n.")
    with pytest.raises(InputError, match=r"needs torch\.nn\.Laminar, which module 'torch\.nn' does not have"):
        read_checkpoint("m.pt", trust=True)
