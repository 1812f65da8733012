"""Double precision survives the way from a file to an objective, and eight bits are exact in single precision."""

from pathlib import Path

import problems
import pytest
import safetensors.torch
import torch
from torch import nn

from landscape.checkpoints import load_checkpoint
from landscape.checkpoints.inspection import inspect_checkpoint
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


@pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz"])
@pytest.mark.parametrize("save", [torch.save, safetensors.torch.save_file])
def test_weights_in_eight_bits_are_told_and_measured_as_they_are(tmp_path: Path, name: str, save) -> None:
    kind, file = getattr(torch, name), tmp_path / "eight"
    x, y = problems.classification()
    data = torch.utils.data.TensorDataset(x.float(), y)
    model = problems.small_net(nn.Tanh, dtype=torch.float32)
    state = {key: tensor.to(kind) for key, tensor in model.state_dict().items()}
    save(state, file)
    assert inspect_checkpoint(file).dtypes == {name: len(state)}
    assert inspect_checkpoint(file).not_finite == ()
    loaded = load_checkpoint(file, model=model, data=Data("made", data, data, classes=4, input_shape=(8,)))
    assert f"weights in {name} were up-cast" in loaded.notes
    expected = torch.cat([state[key].float().reshape(-1) for key, _ in model.named_parameters()])
    assert torch.equal(loaded.objective().point, expected)
    first = next(iter(state))
    state[first] = torch.full_like(state[first].float(), float("nan")).to(kind)
    save(state, file)
    assert inspect_checkpoint(file).not_finite == (first,)
