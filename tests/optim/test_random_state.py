"""Recorded numbers come again, and the stream goes on as if nothing had been."""

import pytest
import torch

from landscape.optim.pass_state import RandomState


def test_the_recorded_numbers_come_again(device: torch.device) -> None:
    state = RandomState(device)
    state.record()
    first = torch.rand(4, device=device)
    with state:
        assert torch.equal(torch.rand(4, device=device), first)
        torch.rand(7, device=device)


def test_the_stream_goes_on_after_the_recorded_pass(device: torch.device) -> None:
    torch.manual_seed(3)
    expected = [torch.rand(4, device=device) for _ in range(2)]
    torch.manual_seed(3)
    state = RandomState(device)
    state.record()
    torch.rand(4, device=device)
    with pytest.raises(RuntimeError, match="shape"), state:
        torch.rand(9, device=device).view(4)
    assert torch.equal(torch.rand(4, device=device), expected[1])
