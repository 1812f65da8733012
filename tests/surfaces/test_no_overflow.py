"""What the fused kernels would hide: infinite values that become NaN, which their ReLU turns into 0."""

import math

import pytest
import torch
from torch import Tensor, nn

from landscape.objective import Objective
from landscape.surfaces import fusing, no_overflow
from landscape.surfaces.forward_passes import evaluation
from landscape.surfaces.fusing import FusedConvolution
from landscape.surfaces.no_overflow import NoOverflow

pytestmark = pytest.mark.skipif(not fusing.available(), reason="this torch has no fused convolutions")


class Deep(nn.Module):
    """Residual blocks whose bound grows by a large factor each, though their activations do not."""

    def __init__(self, blocks: int, scale: float) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 1)
        self.inner = nn.ModuleList(nn.Conv2d(4, 4, 3, padding=1) for _ in range(blocks))
        self.outer = nn.ModuleList(nn.Conv2d(4, 4, 1) for _ in range(blocks))
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.uniform_(-scale, scale)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        for inner, outer in zip(self.inner, self.outer, strict=True):
            x = (outer(inner(x).relu()) + x).relu()
        return x.mean((2, 3))


def _deep(blocks: int, scale: float) -> Objective:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        images, labels = torch.randn(6, 1, 6, 6), torch.arange(6) % 4
        return Objective(Deep(blocks, scale), nn.CrossEntropyLoss(), [(images, labels)])


def _same(found: float, expected: float) -> bool:
    return found == pytest.approx(expected, rel=1e-5, nan_ok=True)


def _proof(objective: Objective, evaluate: object) -> NoOverflow:
    cells = [cell.cell_contents for cell in evaluate.__closure__]
    (network,) = (cell for cell in cells if hasattr(cell, "proof"))
    return network.proof


def _chain() -> Objective:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [layer for _ in range(6) for layer in (nn.Conv2d(4, 4, 3, padding=1), nn.ReLU())]
        model = nn.Sequential(nn.Conv2d(1, 4, 1), *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        return Objective(model, nn.CrossEntropyLoss(), [(torch.randn(6, 1, 6, 6).exp(), torch.arange(6) % 4)])


@pytest.mark.parametrize("build", [_chain, lambda: _deep(6, 0.5)], ids=["chain", "residual"])
def test_what_diverges_has_the_value_of_the_plain_network(build):
    objective = build()
    evaluate = evaluation(objective, "fused")
    seen = set()
    for power in range(14):
        point = objective.point * 10.0**power
        plain, fused = objective.evaluate(point), evaluate(point)
        assert _same(fused[0], plain[0])
        assert fused[1] == plain[1]
        seen.add(math.isnan(plain[0]))
    assert seen == {True, False}


def test_without_the_proof_a_network_that_diverges_would_have_a_loss(monkeypatch):
    objective = _chain()
    evaluate = evaluation(objective, "fused")
    monkeypatch.setattr(NoOverflow, "held", lambda self: True)
    points = [objective.point * 10.0**power for power in range(14)]
    hidden = [math.isnan(objective.evaluate(p)[0]) and math.isfinite(evaluate(p)[0]) for p in points]
    assert any(hidden)


def test_bound_is_above_every_result_and_is_met_by_the_worst_input():
    convolution = nn.Conv2d(3, 5, 3, groups=1)
    factor, summand = FusedConvolution(convolution).growth()
    with torch.inference_mode():
        assert float(convolution(torch.randn(9, 3, 7, 7).clamp(-2, 2)).abs().max()) <= 2 * factor + summand
        row = convolution.weight.abs().sum((1, 2, 3)).argmax()
        worst = convolution.weight[row].sign()[None]
        met = float((convolution(worst)[0, row] - convolution.bias[row]).item())
        assert summand == float(convolution.bias.abs().max())
    assert met == pytest.approx(factor, rel=1e-5)
    assert FusedConvolution(nn.Conv2d(1, 1, 1, bias=False)).growth()[1] == 0.0


def test_bound_of_a_network_is_met_where_nothing_cancels():
    class Ones(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c, self.d = (nn.Conv2d(1, 1, 1) for _ in range(4))
            self.pool = nn.MaxPool2d(2)
            for parameter in self.parameters():
                nn.init.ones_(parameter)

        def forward(self, x: Tensor) -> Tensor:
            x = self.pool(self.a(x)).relu() + self.pool(self.b(x))
            return (self.d(self.c(x)) + x).relu()

    objective = Objective(Ones(), nn.L1Loss(), [(torch.full((2, 1, 2, 2), 3.0), torch.zeros(2, 1, 1, 1))])
    evaluate = evaluation(objective, "fused")
    assert evaluate(objective.point)[0] == 18.0
    proof = _proof(objective, evaluate)
    assert [proof.bounds[node] for node in proof.bounds if "fused" in str(node.target)] == [
        4.0,
        4.0,
        9.0,
        18.0,
    ]


def test_first_convolution_is_not_trusted_with_weights_near_the_largest_number():
    convolution = nn.Conv2d(1, 1, 1)
    model = nn.Sequential(convolution, nn.ReLU(), nn.Flatten())
    objective = Objective(model, nn.L1Loss(), [(torch.ones(2, 1, 1, 1), torch.zeros(2, 1))])
    evaluate = evaluation(objective, "fused")
    for weight, held in ((1e35, True), (1e37, False)):
        point = torch.tensor([weight, 0.0])
        assert evaluate(point)[0] == objective.evaluate(point)[0]
        assert _proof(objective, evaluate).held() is held


def test_deep_network_is_looked_at_now_and_then_and_stays_fused():
    objective = _deep(80, 0.4)
    evaluate = evaluation(objective, "fused")
    assert _same(evaluate(objective.point)[0], objective.evaluate(objective.point)[0])
    proof = _proof(objective, evaluate)
    assert proof.held()
    looked = [c for c in proof._convolutions if c.limits != [None, None]]
    assert 0 < len(looked) < len(proof._convolutions) / 3


def test_shallow_network_is_not_looked_at():
    objective = _deep(3, 0.3)
    evaluate = evaluation(objective, "fused")
    evaluate(objective.point)
    assert all(c.limits == [None, None] for c in _proof(objective, evaluate)._convolutions)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -2e12, 2e12])
def test_what_is_looked_at_must_be_below_the_limit(value):
    convolution = FusedConvolution(nn.Conv2d(1, 1, 1))
    picture = torch.ones(1, 1, 2, 2)
    with torch.inference_mode():
        convolution.refresh()
        convolution.limits = [no_overflow._LOOKED_AT, None]
        convolution(picture)
        assert not convolution.exceeded
        picture[0, 0, 1, 1] = value
        convolution(picture)
        assert convolution.exceeded
        convolution.refresh()
        assert not convolution.exceeded


def test_point_that_is_looked_at_in_vain_is_computed_plainly(monkeypatch):
    objective = _deep(80, 0.4)
    evaluate = evaluation(objective, "fused")
    monkeypatch.setattr(no_overflow, "_LOOKED_AT", 1e-9)
    before = objective.ledger.counts["evaluations"]
    assert evaluate(objective.point) == objective.evaluate(objective.point)
    assert not _proof(objective, evaluate).held()
    assert objective.ledger.counts["evaluations"] == before + 2 * objective.num_examples


def test_values_of_unknown_size_are_looked_at():
    class Unknown(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(1, 3, 1), nn.Conv2d(3, 3, 1)
            for parameter in self.parameters():
                nn.init.constant_(parameter, 0.5)

        def forward(self, x: Tensor) -> Tensor:
            x = self.a(x).exp()
            return (self.b(x) + x).relu().mean((2, 3))

    images, labels = torch.ones(4, 1, 3, 3), torch.arange(4) % 3
    objective = Objective(Unknown(), nn.CrossEntropyLoss(), [(images, labels)])
    evaluate = evaluation(objective, "fused")
    for scale, fused in ((1.0, True), (30.0, False)):
        point = objective.point * scale
        assert _same(evaluate(point)[0], objective.evaluate(point)[0])
        assert _proof(objective, evaluate).held() is fused
    assert [c.limits for c in _proof(objective, evaluate)._convolutions] == [
        [None, None],
        [no_overflow._LOOKED_AT, no_overflow._LOOKED_AT],
    ]
