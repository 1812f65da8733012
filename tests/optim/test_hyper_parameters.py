"""Hyper-parameters are annotated attributes: a real constructor, checks from the annotation, options of the row."""

import dataclasses
import inspect
from typing import Annotated, Any, Literal

import pytest
import torch
from optim.battery import VARIANTS, closure, mlp, sgd, weights
from torch import Tensor, nn

from landscape import optim
from landscape.errors import UsageError
from landscape.optim import (
    GNP,
    GSAM,
    MESA,
    OPTIMIZERS,
    SAM,
    SSSAM,
    SWA,
    WSAM,
    AdaptiveGSAM,
    AELookSAM,
    Bernoulli,
    LookSAM,
    Policy,
    SharpnessAware,
)
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
    assert set(parameters) - {"branches", "process_group", "class_counts"} == {
        "self",
        "base",
        "model",
        *row.options,
    }
    assert parameters["base"].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    for option in row.options.values():
        assert parameters[option.name].kind is inspect.Parameter.KEYWORD_ONLY
        assert parameters[option.name].default == option.default


def test_an_annotated_attribute_is_an_argument_an_attribute_and_an_option() -> None:
    optimizer = Scaled(sgd(mlp()), times=2)
    assert (optimizer.rho, optimizer.times, optimizer.sign) == (0.1, 2, "plus")
    options = Row("scaled", Scaled, "", hidden=frozenset({"base", "model"})).options
    assert list(options) == ["max_grad_norm", "start", "stop", "total_steps", "rho", "times", "sign"]
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
            return gradients_at.along(gradients, self.rho)

    model, twin = mlp(), mlp()
    optimizer, plain = Ascent(sgd(model), rho=0.2), SAM(sgd(twin), rho=0.2)
    optimizer.step(closure(optimizer, model))
    plain.step(closure(plain, twin))
    assert torch.equal(weights(model), weights(twin))
    with pytest.raises(UsageError, match="rho=-1 is not allowed"):
        Ascent(sgd(mlp()), rho=-1)


class Ascent(SharpnessAware):
    """A variant of a user without hyper-parameters, whose annotations declare ordinary attributes."""

    history: list[float]
    log: list[str] = []  # noqa: RUF012
    calls: int = 0

    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        self.calls += 1
        return gradients_at(unit(gradients, times=self.rho))


class Named(Explicit):
    """A subclass of a variant with a constructor of its own."""

    label: Literal["a", "b"] = "b"


class Tagged:
    """A mixin with a cooperative constructor."""

    def __init__(self, *arguments: Any, tag: str = "", **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.tag = tag


class TaggedSAM(Tagged, SAM):
    """SAM with a mixin."""


def test_annotations_without_bounds_declare_ordinary_attributes() -> None:
    model = mlp()
    optimizer = Ascent(sgd(model), rho=0.2)
    optimizer.step(closure(optimizer, model))
    assert (optimizer.rho, optimizer.calls, Ascent.log) == (0.2, 1, [])
    assert set(inspect.get_annotations(Ascent)) == {"history", "log", "calls"}


def test_constructors_of_users_are_inherited() -> None:
    optimizer = Named(sgd(mlp()), extra=4)
    assert (optimizer.extra, optimizer.rho, optimizer.label) == (4, 0.2, "b")
    tagged = TaggedSAM(sgd(mlp()), tag="run", rho=0.3)
    assert (tagged.tag, tagged.rho) == ("run", 0.3)


def test_bounds_written_as_text_are_read() -> None:
    class Later(SAM):
        k: "PositiveInt" = 4
        other: "NowhereDefined"  # type: ignore[name-defined]  # noqa: F821

    class Text(SAM):
        k: "PositiveInt" = 4

    assert not hasattr(Later(sgd(mlp())), "other")
    assert Text(sgd(mlp()), k=2).k == 2
    with pytest.raises(UsageError, match="k=0 is not allowed"):
        Text(sgd(mlp()), k=0)


@pytest.mark.parametrize("name", VARIANTS)
def test_none_is_refused_unless_the_annotation_allows_it(name: str) -> None:
    row = OPTIMIZERS[name]
    required = {key: 10 for key, option in row.options.items() if option.required}
    for key, option in row.options.items():
        if option.default is not None:
            with pytest.raises(UsageError, match=key):
                row.build(sgd(mlp()), **{**required, key: None})


def test_a_rule_that_extends_another_is_one_of_its_kind() -> None:
    for kind, general in (
        (AdaptiveGSAM, GSAM),
        (WSAM, GNP),
        (AELookSAM, LookSAM),
        (AELookSAM, SharpnessAware),
    ):
        assert issubclass(kind, general)


def test_policies_can_be_changed_during_training_and_extended() -> None:
    @dataclasses.dataclass(frozen=True)
    class Never(Policy):
        def looks_around(self, *_: object, **__: object) -> bool:
            return False

    optimizer = SSSAM(sgd(mlp()))
    assert isinstance(optimizer.policy, Bernoulli)
    optimizer.policy.p = 0.2
    optimizer.policy = Never()
    assert len({Bernoulli(0.5), Bernoulli(0.5)}) == 2


def test_a_quotient_counts_whole_steps() -> None:
    assert MESA(sgd(mlp()), steps_per_epoch=50_000 / 128).steps_per_epoch == 390  # type: ignore[arg-type]
    assert SWA(sgd(mlp()), total_steps=4e4).total_steps == 40_000  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"k=2\.5 is not allowed"):
        LookSAM(sgd(mlp()), k=2.5)  # type: ignore[arg-type]


def test_a_star_import_gives_the_public_names_and_no_module() -> None:
    variants = {kind.build.__name__ for kind in OPTIMIZERS.values() if not kind.is_base}
    assert variants < set(optim.__all__)
    extra = {"OPTIMIZERS", "build_optimizer", "BatchClosure", "MicroBatches", "Policy", "WeightAverage"}
    assert extra < set(optim.__all__)
    assert len(set(optim.__all__) - variants) == 14
    assert not any(inspect.ismodule(getattr(optim, name)) for name in optim.__all__)


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
