"""Double precision survives the way from a file to an objective."""

from pathlib import Path

import problems
import torch
from torch import nn

from landscape.checkpoints import load_checkpoint
from landscape.data import Data


def test_weights_in_float64_are_not_rounded(tmp_path: Path) -> None:
    x, y = problems.classification()
    data = torch.utils.data.TensorDataset(x, y)
    model = problems.small_net()
    torch.save(model.state_dict(), tmp_path / "double.pt")
    single = problems.small_net(nn.Tanh, dtype=torch.float32)
    loaded = load_checkpoint(
        tmp_path / "double.pt", model=single, data=Data("made", data, data, classes=4, input_shape=(8,))
    )
    point = loaded.objective().point
    assert point.dtype == torch.float64
    assert torch.equal(point, torch.cat([p.detach().reshape(-1) for p in model.parameters()]))
    assert next(single.parameters()).dtype == torch.float32
