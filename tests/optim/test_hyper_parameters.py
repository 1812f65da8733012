"""Hyper-parameters are annotated attributes: a real constructor, checks from the annotation, options of the row."""

import inspect
from typing import Annotated, Literal

import pytest
import torch
from optim.battery import VARIANTS, closure, mlp, sgd, weights
from torch import Tensor, nn

from landscape.errors import UsageError
from landscape.optim import OPTIMIZERS, SAM, SharpnessAware
from landscape.optim.gradients_at import GradientsAt
from landscape.optim.vector import unit
from landscape.registry import Row
from landscape.registry.bounds import PositiveInt, Real


class Scaled(SharpnessAware):
    """A variant of a user: two lines of hyper-parameters and a formula."""

    rho: Annotated[float, Real(0)] = 0.1
    times: PositiveInt
    sign: Literal["plus", "minus"] = "plus"

    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        return self.times * gradients_at(unit(gradients, times=self.rho))


class Explicit(SAM):
    """A variant of a user with a constructor of its own."""

    extra: PositiveInt = 1

    def __init__(
        self, base: torch.optim.Optimizer, *, model: nn.Module | None = None, extra: int = 3
    ) -> None:
        super().__init__(base, model=model, rho=0.2)
        self.extra = extra


@pytest.mark.parametrize("name", VARIANTS)
def test_the_constructor_shows_every_option_with_its_default_and_is_not_forged(name: str) -> None:
    kind, row = OPTIMIZERS[name].build, OPTIMIZERS[name]
    assert not hasattr(kind, "__signature__")
    parameters = inspect.signature(kind.__init__).parameters
    assert set(parameters) == {"self", "base", "model", *row.options}
    assert parameters["base"].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    for option in row.options.values():
        assert parameters[option.name].kind is inspect.Parameter.KEYWORD_ONLY
        assert parameters[option.name].default == option.default


def test_an_annotated_attribute_is_an_argument_an_attribute_and_an_option() -> None:
    optimizer = Scaled(sgd(mlp()), times=2)
    assert (optimizer.rho, optimizer.times, optimizer.sign) == (0.1, 2, "plus")
    options = Row("scaled", Scaled, "", hidden=frozenset({"base", "model"})).options
    assert list(options) == ["max_grad_norm", "rho", "times", "sign"]
    assert options["times"].required
    with pytest.raises(TypeError, match="times"):
        Scaled(sgd(mlp()))
    with pytest.raises(TypeError, match="tims"):
        Scaled(sgd(mlp()), tims=2)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rho": -1.0}, "rho=-1.0 is not allowed: rho must be a finite number ≥ 0"),
        ({"times": 0}, "times=0 is not allowed: times must be a whole number above 0"),
        ({"times": True}, "times=True is not allowed"),
        ({"sign": "none"}, "sign='none' is not allowed: sign must be one of plus, minus"),
        (
            {"max_grad_norm": 0},
            "max_grad_norm=0 is not allowed: max_grad_norm must be a finite number above 0",
        ),
    ],
)
def test_the_bounds_of_the_annotation_are_checked(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Scaled(sgd(mlp()), **{"times": 1, **options})  # type: ignore[arg-type]


def test_a_subclass_with_a_constructor_of_its_own_still_works() -> None:
    model, twin = mlp(), mlp()
    optimizer, plain = Explicit(sgd(model), model=model), SAM(sgd(twin), model=twin, rho=0.2)
    assert (optimizer.extra, optimizer.rho) == (3, 0.2)
    optimizer.step(closure(optimizer, model))
    plain.step(closure(plain, twin))
    assert torch.equal(weights(model), weights(twin))


def test_a_variant_without_hyper_parameters_has_the_radius_of_the_base_class() -> None:
    class Ascent(SharpnessAware):
        def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
            return gradients_at(unit(gradients, times=self.rho))

    model, twin = mlp(), mlp()
    optimizer, plain = Ascent(sgd(model), rho=0.2), SAM(sgd(twin), rho=0.2)
    optimizer.step(closure(optimizer, model))
    plain.step(closure(plain, twin))
    assert torch.equal(weights(model), weights(twin))
    with pytest.raises(UsageError, match="rho=-1 is not allowed"):
        Ascent(sgd(mlp()), rho=-1)


def test_an_assigned_radius_is_that_of_every_group() -> None:
    model = mlp()
    optimizer = SAM(
        torch.optim.SGD(
            [{"params": model[0].parameters(), "rho": 0.3}, {"params": model[2].parameters()}], 0.1
        )
    )
    optimizer.rho = 0.7
    assert [group["rho"] for group in optimizer.param_groups] == [0.7, 0.7]
    assert optimizer.rho == 0.7
