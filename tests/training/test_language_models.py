"""Training with next-token: the same weights as by cross-entropy of each token, also where examples are selected."""

import math
from pathlib import Path

import pytest
import torch

from landscape.errors import UsageError
from landscape.training import Recipe, Run, train

OWN = """
import torch
from torch import nn
from torch.utils.data import TensorDataset

def texts(count, seed):
    ids = (torch.arange(count)[:, None] * (seed + 3) + torch.arange(6) ** 2) % 7
    following = ids.roll(-1, 1)
    following[:, -1] = -100
    return TensorDataset(ids, following)

def task():
    net = nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 7))
    return dict(model=net, data=dict(train=texts(12, 0), test=texts(4, 1), classes=7))
"""


def run(tmp_path: Path, optimizer: str, loss: str, **changes: int) -> Run:
    (tmp_path / "own.py").write_text(OWN)
    task, options = "./own.py:task", {"epochs": 1, "batch_size": 4, "device": "cpu", "dtype": "float64"}
    fields = {"task": task, "model": task, "data": task, "optimizer": optimizer, "loss": loss}
    return train(
        Recipe(**{**options, **changes}, **fields), output=f"{optimizer.partition(':')[0]}-{loss[:5]}"
    )  # type: ignore[arg-type]


def weights(result: Run) -> torch.Tensor:
    state = torch.load(result.checkpoint, weights_only=True)["state_dict"]
    return torch.cat([tensor.flatten() for tensor in state.values()])


@pytest.mark.parametrize("optimizer", ["sam", "m-sam:m=2", "esam:gamma=1", "ssam-f"])
def test_a_step_is_that_of_cross_entropy(
    optimizer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    results = [run(tmp_path, optimizer, loss) for loss in ("next-token", "cross-entropy")]
    assert torch.allclose(*map(weights, results), rtol=1e-10, atol=1e-13)
    assert results[0].metrics["test_loss"] == pytest.approx(results[1].metrics["test_loss"], rel=1e-10)


def test_sequences_are_selected_by_their_losses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert math.isfinite(run(tmp_path, "esam:gamma=0.5", "next-token").metrics["test_loss"])
    with pytest.raises(UsageError, match="optimizer=esam selects examples by their losses"):
        run(tmp_path, "esam:gamma=0.5", "cross-entropy")
    with pytest.raises(UsageError, match="optimizer=saf compares class scores"):
        run(tmp_path, "saf", "next-token")
