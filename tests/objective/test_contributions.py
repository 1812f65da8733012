"""Contributions to a derivative that are passed on as they arrive: the same numbers, in less memory."""

import pytest
import torch
from torch import Tensor, nn

from landscape.isolation.live_bytes import LiveBytes
from landscape.objective import Objective
from landscape.objective import contributions as under_test
from landscape.objective.contributions import contributions, passed_on

DEVICE = "cpu"


class Tied(nn.Module):
    """Layers wide enough for their matrices to be large, one of which is used twice in the forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(130, 130, device=DEVICE), nn.Linear(130, 130, device=DEVICE)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 130)`` to the same."""
        outputs: Tensor = self.first(torch.tanh(self.second(torch.tanh(self.first(x)))))
        return outputs


def objective() -> Objective:
    torch.manual_seed(0)
    model = Tied()
    data = torch.randn(4, 130, device=DEVICE), torch.randn(4, 130, device=DEVICE)
    return Objective(model, nn.functional.mse_loss, data)


def test_every_use_of_a_large_leaf_is_found_and_small_leaves_are_left_to_autograd() -> None:
    here = objective()
    leaves = dict(enumerate(here.network.parameters()))
    loss = here.network(torch.randn(4, 130, device=DEVICE)).square().mean()
    names = here.layout.names
    found = [names[use.number] for use in contributions([loss], leaves)]
    assert found == ["first.weight"] * 2
    found = [names[use.number] for use in contributions([loss], leaves, least=1)]
    assert sorted(found) == ["first.weight", "first.weight", "second.weight"]


def test_a_leaf_with_a_hook_is_left_to_autograd() -> None:
    here = objective()
    leaves = dict(enumerate(here.network.parameters()))
    leaves[0].register_hook(lambda slope: 2 * slope)  # type: ignore[no-untyped-call]
    loss = here.network(torch.randn(4, 130, device=DEVICE)).square().mean()
    assert contributions([loss], leaves) == []


def test_contributions_add_up_to_the_gradient() -> None:
    here = objective()
    leaves = list(here.network.parameters())
    loss = here.network(torch.randn(4, 130, device=DEVICE)).square().mean()
    expected = torch.autograd.grad(loss, leaves, retain_graph=True)
    parts: dict[int, list[Tensor]] = {}
    uses = contributions([loss], dict(enumerate(leaves)), least=1)
    with passed_on(uses, lambda number, part: parts.setdefault(number, []).append(part)):
        rest = torch.autograd.grad(loss, leaves, allow_unused=True, retain_graph=True)
    assert len(parts) == 2
    for number, whole in enumerate(expected):
        arrived = parts.get(number) or [rest[number]]
        assert torch.equal(sum(arrived[1:], arrived[0]), whole)
        assert (rest[number] is None) == (number in parts)
    # Outside, nothing is intercepted any more.
    again = torch.autograd.grad(loss, leaves)
    assert all(torch.equal(a, b) for a, b in zip(again, expected, strict=True))


def test_products_and_gradients_are_those_of_autograd_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    vector = torch.randn(objective().dimension, device=DEVICE)
    here = objective()
    product, gradient = here.hessian_product(vector), here.gradient
    monkeypatch.setattr(under_test, "LARGE", 1 << 60)
    plain = objective()
    torch.testing.assert_close(here.hessian_product(vector), product)
    torch.testing.assert_close(plain.hessian_product(vector), product)
    torch.testing.assert_close(plain.gradient, gradient)


def test_a_product_takes_little_more_than_its_vector(monkeypatch: pytest.MonkeyPatch) -> None:
    def peak() -> float:
        torch.manual_seed(0)
        layers = [each for _ in range(8) for each in (nn.Linear(256, 256, device=DEVICE), nn.Tanh())]
        data = torch.randn(1, 256, device=DEVICE), torch.randn(1, 256, device=DEVICE)
        here = Objective(nn.Sequential(*layers), nn.functional.mse_loss, data)
        vector = torch.randn(here.dimension, device=DEVICE)
        here.hessian_product(vector)  # with the checks that come once
        here = here.at(here.point)
        with LiveBytes() as live:
            here.hessian_product(vector)
        return float(live.peak / here.point.nbytes)

    with_contributions = peak()
    monkeypatch.setattr(under_test, "LARGE", 1 << 60)
    # The product, and one matrix of eight; without, nearly a vector of contributions waits beside it.
    assert with_contributions < 1.5
    assert peak() > with_contributions + 0.7
