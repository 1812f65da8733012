"""Weights are mapped, not read: opening a file takes no memory of its own, and fitting it takes one copy."""

import subprocess
import sys
import textwrap

import pytest

MEGABYTES = 128
PROGRAM = """
    import sys
    import torch
    from torch import nn
    from landscape.checkpoints import read_checkpoint
    from landscape.checkpoints.fitting import fit

    def anonymous():
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) // 1024

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ParameterList(torch.empty(1024, 1024) for _ in range({layers}))

    read_checkpoint(sys.argv[2])
    start = anonymous()
    contents = read_checkpoint(sys.argv[1])
    opened = anonymous()
    sum(tensor.sum() for tensor in contents.state.values())
    read = anonymous()
    model = Net()
    fit(model, contents.state, source="m")
    print(opened - start, read - start, anonymous() - start)
"""


@pytest.mark.thorough
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("form", ["torch", "safetensors"])
def test_opening_a_file_takes_no_memory_and_fitting_it_one_copy(tmp_path, form):
    import safetensors.torch
    import torch

    layers = MEGABYTES // 4
    state = {f"layers.{i}": torch.full((1024, 1024), float(i)) for i in range(layers)}
    write = torch.save if form == "torch" else safetensors.torch.save_file
    write(state, tmp_path / "m")
    write({"w": torch.ones(1)}, tmp_path / "small")
    del state
    code = textwrap.dedent(PROGRAM).format(layers=layers)
    command = [sys.executable, "-c", code, str(tmp_path / "m"), str(tmp_path / "small")]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    opened, read, fitted = map(int, ended.stdout.split())
    assert opened < MEGABYTES / 4
    assert read < MEGABYTES / 4
    assert MEGABYTES * 0.9 < fitted < MEGABYTES * 1.3
