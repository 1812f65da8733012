"""Networks with integer weights: what is right is measured, what is not is refused, and never silently zero."""

import warnings

import pytest
import torch
from torch import Tensor, nn

from landscape import Objective
from landscape.errors import InputError, UsageError
from landscape.measures import measure
from landscape.surfaces.plane import build_plane

X = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
DATA = [(X, X.argmax(1) % 3)]


def network() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        parts = [nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3)]
        return nn.Sequential(*parts).eval()


def dynamic(which: set[object]) -> nn.Module:
    """Torch's own layers, which round their inputs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantised: nn.Module = torch.ao.quantization.quantize_dynamic(network(), which)  # type: ignore[no-untyped-call]
    return quantised


class Scaled(nn.Module):
    """Integers with a scale, as a buffer or a parameter, which become numbers in the forward pass."""

    def __init__(self, linear: nn.Linear, *, buffer: bool) -> None:
        super().__init__()
        weight = linear.weight.detach()
        scale = weight.abs().amax(1, keepdim=True) / 127
        self.register_buffer("scale", scale)
        integers = (weight / scale).round().to(torch.int8)
        if buffer:
            self.register_buffer("weight", integers)
        else:
            self.weight = nn.Parameter(integers, requires_grad=False)
        self.bias = nn.Parameter(linear.bias.detach().clone()) if buffer else None

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight.to(x.dtype) * self.scale, self.bias)


def test_derivatives_through_layers_that_round_are_refused_and_the_loss_is_not() -> None:
    model = dynamic({"2"})
    objective = Objective(model, "cross-entropy", DATA)
    assert objective.loss == pytest.approx(nn.functional.cross_entropy(model(X), DATA[0][1]).item(), rel=1e-6)
    assert objective.accuracy is not None
    assert "integer weights, which have no derivative, are held fixed: 2 (Linear)" in objective.notes
    for name in ("gradient-norm", "hessian-trace", "dominant-eigenvalue"):
        with pytest.raises(
            InputError, match=r"quantised in '2' \(Linear\), and autograd takes no derivative"
        ) as failure:
            measure(objective, name)
        assert "\n" not in str(failure.value)
    plane = build_plane("random", objective)
    assert objective.evaluate(objective.point + 0.5 * plane.x)[0] != pytest.approx(objective.loss, rel=1e-3)


def test_derivatives_after_the_last_integers_are_right() -> None:
    model = dynamic({"2"})
    objective = Objective(model, "cross-entropy", DATA, parameters=["4.*"])
    loss = nn.functional.cross_entropy(model(X), DATA[0][1])
    slopes = torch.autograd.grad(loss, list(model[4].parameters()))  # type: ignore[index]
    expected = torch.cat([slope.reshape(-1) for slope in slopes])
    torch.testing.assert_close(objective.gradient, expected)


def test_derivatives_past_integers_that_become_numbers_are_right() -> None:
    float_net = network()
    model = nn.Sequential(*float_net[:2], Scaled(float_net[2], buffer=True), *float_net[3:])  # type: ignore[arg-type]
    objective = Objective(model, "cross-entropy", DATA, dtype=torch.float64)
    with torch.no_grad():
        float_net[2].weight.copy_(model[2].weight * model[2].scale)  # type: ignore[operator, union-attr, arg-type]
    names = [name for name in dict(float_net.named_parameters()) if name != "2.weight"]
    whole = Objective(float_net, "cross-entropy", DATA, parameters=names, dtype=torch.float64)
    assert objective.layout.names == whole.layout.names
    vector = torch.ones(objective.dimension, dtype=torch.float64)
    torch.testing.assert_close(objective.gradient, whole.gradient)
    torch.testing.assert_close(objective.hessian_product(vector), whole.hessian_product(vector))


@pytest.mark.parametrize("own", [False, True])
def test_loss_and_accuracy_of_a_network_of_integers_alone(own: bool) -> None:
    net = network()
    parts = [Scaled(layer, buffer=False) if isinstance(layer, nn.Linear) else layer for layer in net]
    model = nn.Sequential(*parts) if own else dynamic({nn.Linear})
    objective = Objective(model, "cross-entropy", DATA)
    assert objective.dimension == 0
    assert objective.loss == pytest.approx(nn.functional.cross_entropy(model(X), DATA[0][1]).item(), rel=1e-6)
    assert objective.accuracy == pytest.approx((model(X).argmax(1) == DATA[0][1]).float().mean().item())
    for name in ("gradient-norm", "hessian-trace", "dominant-eigenvalue"):
        with pytest.raises(
            InputError, match="no weight is in floating point, so that there is nothing to diff"
        ):
            measure(objective, name)
    with pytest.raises(InputError, match="no plane: the network has no weights in floating point"):
        build_plane("random", objective)
    with pytest.raises(UsageError, match="no free parameter"):
        Objective(nn.Flatten(), "cross-entropy", DATA)
