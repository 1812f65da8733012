"""Tr G exactly for every kind of layer, and Tr H by each of the three ways."""

import dataclasses
import functools
import importlib
import math

import problems
import pytest
import torch
from scipy.special import stdtrit
from torch import Tensor, nn
from torch.nn import functional

from landscape.curvature.gauss_newton_trace import gauss_newton_traces, plan, rounding_of_trace
from landscape.curvature.losses import averages_examples
from landscape.curvature.trace import MIN_FREEDOM, HessianTrace, hessian_trace
from landscape.draws import Draws
from landscape.errors import InputError, UsageError
from landscape.losses import build_loss
from landscape.measures import hessian_trace as measured
from landscape.objective import BatchLoss, Objective

CE = nn.CrossEntropyLoss()


def gauss_newton_diagonal(objective: Objective) -> Tensor:
    return objective.gauss_newton_product(torch.eye(objective.dimension, dtype=torch.float64)).diag()


def images() -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, stride=2, padding=1, groups=2), nn.BatchNorm2d(4), nn.ReLU(inplace=True),
        nn.Conv2d(4, 5, (3, 2), dilation=(1, 2), bias=False), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(5, 3),
    ).double()  # fmt: skip
    x = torch.randn(20, 2, 8, 8, dtype=torch.float64)
    model(x)
    return model.eval(), x, torch.randint(0, 3, (20,))


@pytest.mark.parametrize(
    "loss",
    [CE, nn.CrossEntropyLoss(label_smoothing=0.2), nn.functional.cross_entropy, nn.MSELoss()],
    ids=["ce", "smoothed", "function", "mse"],
)
def test_the_gauss_newton_trace_is_exact_layer_by_layer(loss: object) -> None:
    model, x, y = images()
    targets = torch.randn(20, 3, dtype=torch.float64) if isinstance(loss, nn.MSELoss) else y
    objective = Objective(model, loss, problems.batches(x, targets, 13))  # type: ignore[arg-type]
    chosen = plan(objective)
    assert chosen.by_use
    truth = torch.stack([part.sum() for part in objective.layout.split(gauss_newton_diagonal(objective))])
    assert torch.allclose(gauss_newton_traces(objective, chosen), truth, rtol=1e-12)


def test_layers_and_vmap_agree() -> None:
    import dataclasses

    model, x, y = images()
    objective = Objective(model, CE, problems.batches(x, y, 13))
    chosen = plan(objective)
    other = dataclasses.replace(chosen, by_use=False)
    assert torch.allclose(
        gauss_newton_traces(objective, chosen), gauss_newton_traces(objective, other), rtol=1e-12
    )


def test_a_sequence_model_with_a_product_that_is_not_recorded_goes_through_vmap() -> None:
    torch.manual_seed(0)

    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mix, self.head = nn.Linear(6, 6), nn.Linear(6, 3)
            self.weight = nn.Parameter(torch.rand(6, 6))

        def forward(self, x: Tensor) -> Tensor:
            return self.head((torch.relu(self.mix(x)) @ self.weight).mean(1))

    x, y = torch.randn(9, 5, 6, dtype=torch.float64), torch.randint(0, 3, (9,))
    objective = Objective(Tokens().double().eval(), CE, [(x, y)])
    chosen = plan(objective)
    assert chosen.affine.proved
    assert not chosen.by_use
    assert float(gauss_newton_traces(objective, chosen).sum()) == pytest.approx(
        float(gauss_newton_diagonal(objective).sum()), rel=1e-12
    )


def test_sampled_classes_are_unbiased() -> None:
    objective = problems.small_objective(nn.ReLU)
    chosen = plan(objective)
    drawn = torch.stack([gauss_newton_traces(objective, chosen, draws=Draws(k)).sum() for k in range(200)])
    truth = float(gauss_newton_traces(objective, chosen).sum())
    assert abs(float(drawn.mean()) - truth) <= 4 * float(drawn.std()) / math.sqrt(200)
    x, y = problems.classification()
    apart = Objective(problems.small_net(nn.ReLU), CE, problems.batches(x, y, 7))
    again = gauss_newton_traces(apart, plan(apart), draws=Draws(3)).sum()
    assert float(again) == pytest.approx(float(drawn[3]), rel=1e-12)  # the classes are those of the examples


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.GELU])
def test_each_way_agrees_with_the_dense_hessian(activation: type[nn.Module]) -> None:
    x, y = problems.classification()
    objective = problems.small_objective(activation)
    _, dense = problems.dense(objective, problems.small_net(activation), x, y, CE)
    found = measured(objective, tolerance=0.02)
    if activation is nn.ReLU:
        assert found.details["method"] == "exact"
        assert found.details["proof"] == "proved"
        assert found.standard_error is None
        assert found.value == pytest.approx(float(dense.trace()), rel=1e-12)
    else:
        assert found.details["method"] == "example-probes"
        assert "not piecewise linear" in str(found.details["proof"])
        assert found.standard_error is not None
        assert abs(found.value - float(dense.trace())) <= 4 * found.standard_error
        assert found.converged


class Transposed(nn.Module):
    """A smooth network whose first weight is used by a product that is not recorded."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.head = nn.Parameter(torch.ones(8, 5)), nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(x @ self.weight))


def test_where_uses_are_not_known_the_remainder_has_probes_for_every_batch() -> None:
    x, y = problems.classification()
    model = problems.network(Transposed())
    objective = Objective(model, CE, problems.batches(x, y, 30))
    found = measured(objective, tolerance=0.02)
    assert found.details["method"] == "gauss-newton-residual"
    assert found.standard_error is not None
    _, dense = problems.dense(objective, model, x, y, CE)
    assert abs(found.value - float(dense.trace())) <= 4 * found.standard_error


def test_without_known_outputs_fresh_probes_are_taken_for_every_batch() -> None:
    x, y = problems.classification()
    hidden = BatchLoss(lambda model, batch: CE(model(batch[0]), batch[1]))
    objective = Objective(problems.small_net(), hidden, problems.batches(x, y, 30))
    plain = problems.small_objective()
    found = measured(objective, tolerance=0.05)
    assert found.details["method"] == "probes"
    assert found.standard_error is not None
    _, dense = problems.dense(plain, problems.small_net(), x, y, CE)
    assert abs(found.value - float(dense.trace())) <= 4 * found.standard_error
    together = measured(plain, method="hutchinson", tolerance=0.05)
    assert int(str(found.details["probes"])) < int(str(together.details["probes"]))


@pytest.mark.parametrize(("way", "runs"), [("example-probes", 60), ("probes", 20)])
def test_the_interval_covers_the_truth_as_often_as_it_says(way: str, runs: int) -> None:
    """The number covered is binomial; 95 % nominal, a 4σ band. ``benchmarks/coverage.py`` has 200 seeds."""
    objective, dense = problems.tiny_case(hidden=way == "probes")
    truth, covered = float(dense.trace()), 0
    for seed in range(runs):
        found = hessian_trace(objective, tolerance=0.15, max_passes=200, draws=Draws(seed))
        assert found.way in (way, "deflated-probes")
        half = stdtrit(found.draws - 1, 0.975) * (found.standard_error or 0.0)
        covered += abs(found.value - truth) <= half
    assert covered >= runs * 0.95 - 4 * math.sqrt(runs * 0.95 * 0.05)


def stopped(
    objective: Objective, *, tolerance: float, max_passes: int
) -> tuple[HessianTrace, list[tuple[int, float, float, float]]]:
    told: list[tuple[int, float, float, float]] = []
    estimate = hessian_trace(
        objective,
        tolerance=tolerance,
        max_passes=max_passes,
        draws=Draws(0),
        on_step=lambda *step: told.append(step),
    )
    assert told[-1][:3] == (estimate.passes, pytest.approx(estimate.value), estimate.standard_error)
    scale = max(abs(estimate.value), estimate.gauss_newton or 0.0)
    assert told[-1][3] == pytest.approx(tolerance * scale)
    return estimate, told


def test_probes_for_every_example_come_in_pairs_up_to_the_most_and_until_the_error_is_known() -> None:
    objective, _ = problems.tiny_case()
    for most, passes in ((2, 2), (3, 2), (4, 4), (5, 4)):
        estimate, told = stopped(objective, tolerance=1e-9, max_passes=most)
        assert (estimate.way, estimate.passes, estimate.converged) == ("example-probes", passes, False)
        assert [step for step, *_ in told] == list(range(2, passes + 1, 2))
    assert stopped(objective, tolerance=1e-9, max_passes=1)[0].way == "gauss-newton-residual"
    loose, told = stopped(objective, tolerance=1e9, max_passes=1000)
    assert MIN_FREEDOM == 20
    assert loose.converged
    assert loose.draws - 1 >= 20
    before, _ = stopped(objective, tolerance=1e9, max_passes=loose.passes - 2)
    assert before.passes == loose.passes - 2
    assert before.draws - 1 < 20


def test_other_probes_come_by_fours_up_to_the_most() -> None:
    objective, _ = problems.tiny_case(hidden=True)
    for most, steps in ((1, [1]), (2, [2]), (4, [4]), (9, [4, 8, 9])):
        estimate, told = stopped(objective, tolerance=1e-9, max_passes=most)
        assert (estimate.way, estimate.passes, estimate.draws) == ("probes", most, most)
        assert [step for step, *_ in told] == steps
        assert (estimate.layer_errors is None) == (most == 1)
        assert (estimate.standard_error == math.inf) == (most == 1)
        assert not estimate.converged


def test_the_trace_of_a_loss_upside_down_stops_on_its_magnitude() -> None:
    objective, _ = problems.quadratic([-5.0, -3.0, -2.0, -1.0])
    estimate, _ = stopped(objective, tolerance=0.3, max_passes=400)
    assert estimate.converged
    assert estimate.value < 0


def focal(outputs: Tensor, targets: Tensor) -> Tensor:
    """Not convex in the outputs."""
    log_p = nn.functional.log_softmax(outputs, dim=1).gather(1, targets[:, None]).squeeze(1)
    return -((1 - log_p.exp()) ** 2 * log_p).mean()


LOSSES = {
    "class weights": nn.CrossEntropyLoss(weight=torch.tensor([0.2, 3.0, 1.0, 0.5]).double()),
    "ignored labels": nn.CrossEntropyLoss(ignore_index=2),
    "weights, smoothing and ignored labels": nn.CrossEntropyLoss(
        weight=torch.tensor([0.2, 3.0, 1.0, 0.5]).double(), label_smoothing=0.1, ignore_index=1
    ),
    "a partial": functools.partial(nn.functional.cross_entropy, weight=torch.tensor([1.0, 2, 3, 4]).double()),
    "a line of one's own": lambda outputs, targets: nn.functional.cross_entropy(outputs, targets),
    "focal": focal,
}


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh])
@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_of_independent_examples_is_as_quick_as_a_known_one(
    name: str, activation: type[nn.Module]
) -> None:
    x, y = problems.classification(60)
    model = problems.network(nn.Linear(8, 6), activation(), nn.Linear(6, 4))
    objective = Objective(model, LOSSES[name], problems.batches(x, y, 17))  # type: ignore[arg-type]
    found = measured(objective, tolerance=0.02)
    _, dense = problems.dense(objective, model, x, y, LOSSES[name])
    truth = float(dense.trace())
    if activation is nn.ReLU:
        assert (found.details["method"], found.standard_error) == ("exact", None)
        assert found.value == pytest.approx(truth, rel=1e-10)
    else:
        assert found.details["method"] == "example-probes"
        assert found.standard_error is not None
        assert abs(found.value - truth) <= 4 * found.standard_error


def test_a_loss_of_many_classes_without_a_known_root_is_said() -> None:
    x, _ = problems.classification()
    y = functional.one_hot(torch.arange(100) % 70).double()
    model = problems.network(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 70))
    objective = Objective(model, nn.MultiLabelSoftMarginLoss(), [(x, y)])
    found = measured(objective, tolerance=0.02)
    assert "MultiLabelSoftMarginLoss in the outputs is not known" in plan(objective).obstacle
    assert (found.details["method"], found.details["gauss_newton_trace"]) == ("example-probes", None)


def test_the_tolerance_is_relative_to_the_larger_of_the_two_traces() -> None:
    objective = problems.small_objective()
    found = hessian_trace(objective, tolerance=0.05, max_passes=500, draws=Draws(0))
    assert found.gauss_newton is not None
    assert found.standard_error is not None
    assert found.standard_error <= 0.05 * max(abs(found.value), found.gauss_newton)


@pytest.mark.parametrize(
    "name", ["cross-entropy", "cross-entropy:label_smoothing=0.1", "mse", "bce-with-logits"]
)
def test_a_loss_by_name_is_as_exact_as_torchs_own(name: str) -> None:
    """What a checkpoint is measured with; a subclass of it promises nothing."""
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3)).double()
    inputs, targets = torch.randn(6, 3, dtype=torch.float64), torch.eye(3, dtype=torch.float64).repeat(2, 1)
    loss = build_loss(name)
    found = hessian_trace(
        Objective(model, loss, [(inputs, targets)]),
        tolerance=0.05,
        max_passes=50,
        draws=Draws(0),
    )
    assert (found.way, found.proof) == ("exact", "proved")
    other = type("Other", (type(loss),), {})()
    assert not averages_examples(other)


def test_a_loss_derived_from_a_known_one_is_not_taken_for_it_and_that_is_said() -> None:
    class Squared(nn.CrossEntropyLoss):
        def forward(self, input: Tensor, target: Tensor) -> Tensor:
            return super().forward(input, target) ** 2

    x, y = problems.classification()
    chosen = plan(Objective(problems.small_net(), Squared(), [(x, y)]))
    assert chosen.obstacle == "its loss is not the mean over its examples"
    assert not chosen.by_example


@pytest.mark.parametrize("steps", [0, 400])
def test_the_rounding_of_an_exact_trace_is_said(steps: int) -> None:
    torch.manual_seed(0)
    x, y = problems.classification(200, 16, 10, dtype=torch.float32)
    model = problems.network(
        nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)
    ).float()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    single, double = (
        measured(
            Objective(model, nn.CrossEntropyLoss(), problems.batches(x, y, 90), dtype=dtype), tolerance=0.02
        )
        for dtype in (torch.float32, torch.float64)
    )
    error = abs(single.value - double.value)
    rounding = single.details["rounding"]
    assert isinstance(rounding, float)
    assert "rounding" not in double.details
    assert error <= 10 * rounding
    assert rounding <= 1e-3 * single.value


class ManyTransposed(Transposed):
    """The same with so many classes that one is sampled for every example."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.head = nn.Parameter(torch.ones(8, 3)), nn.Linear(3, 65)


def test_sampled_classes_and_probes_of_the_remainder_add_up_to_the_trace() -> None:
    x, y = problems.classification(60, classes=65)
    model = problems.network(ManyTransposed())
    model.get_submodule("0.head").weight.data.mul_(3)
    objective = Objective(model, CE, [(x, y)])
    estimate, _ = stopped(objective, tolerance=1e-9, max_passes=16)
    assert (estimate.way, estimate.passes, estimate.converged) == ("gauss-newton-residual", 16, False)
    assert estimate.standard_error is not None
    eye = torch.eye(objective.dimension, dtype=torch.float64)
    truth = float(objective.hessian_product(eye).trace())
    remainder = truth - float(gauss_newton_diagonal(objective).sum())
    assert abs(estimate.value - truth) <= 4 * estimate.standard_error
    assert abs(remainder) > 8 * estimate.standard_error  # neither without it nor less it


def test_the_error_of_the_only_layer_is_that_of_the_sum() -> None:
    objective, _ = problems.quadratic([5.0, 3.0, 2.0, 1.0])
    estimate, told = stopped(objective, tolerance=1e9, max_passes=400)
    assert estimate.layer_errors is not None
    assert estimate.layer_errors.tolist() == pytest.approx([estimate.standard_error], rel=1e-9)
    assert estimate.layers.tolist() == [estimate.value]
    assert [step for step, *_ in told] == [4, 8]
    assert (estimate.gauss_newton, estimate.converged) == (None, True)


@pytest.mark.parametrize("scale", [0.1, 10.0])
def test_the_rounding_of_an_exact_trace_is_in_proportion_to_it(scale: float) -> None:
    x, y = problems.classification(dtype=torch.float32)
    model = problems.small_net(nn.ReLU, dtype=torch.float32)
    objective = Objective(model, nn.MSELoss(), [(scale * x, nn.functional.one_hot(y).float())])
    found = hessian_trace(objective, tolerance=0.1, max_passes=8, draws=Draws(0))
    relative = rounding_of_trace(objective, plan(objective))
    assert (found.way, found.passes, found.draws) == ("exact", 0, 0)
    assert relative is not None
    assert found.rounding == pytest.approx(relative * found.value)


@pytest.mark.parametrize("classes", [64, 65])
def test_probes_for_every_example_add_an_exact_part_where_classes_are_few(classes: int) -> None:
    x, y = problems.classification(20, classes=classes)
    objective = Objective(problems.network(nn.Linear(8, 2), nn.Tanh(), nn.Linear(2, classes)), CE, [(x, y)])
    estimate, _ = stopped(objective, tolerance=1e-9, max_passes=6)
    truth = float(objective.hessian_product(torch.eye(objective.dimension).double()).trace())
    assert estimate.way == "example-probes"
    assert abs(estimate.value - truth) <= 4 * (estimate.standard_error or 0.0)
    inner = float(gauss_newton_diagonal(objective).sum()) if classes == 64 else None
    assert estimate.gauss_newton == (None if inner is None else pytest.approx(inner, rel=1e-9))


@pytest.mark.parametrize(
    ("failure", "passed_on"),
    [
        (InputError("a file is missing"), True),
        (UsageError("no such name"), True),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("a shape of this batch"), False),
    ],
)
def test_a_failure_that_concerns_the_user_is_passed_on_and_any_other_is_said(
    failure: Exception, passed_on: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr(importlib.import_module("landscape.curvature.trace"), "gauss_newton_traces", failing)
    objective, _ = problems.tiny_case(nn.ReLU)
    if passed_on:
        with pytest.raises(type(failure), match=str(failure)):
            stopped(objective, tolerance=1e9, max_passes=8)
    else:
        estimate, _ = stopped(objective, tolerance=1e9, max_passes=8)
        assert (estimate.way, estimate.converged) == ("probes", True)
        assert str(failure) in estimate.proof


def test_without_an_exact_part_the_tolerance_is_of_the_trace_alone_however_small() -> None:
    x, y = problems.classification(20, classes=65)
    model = problems.network(nn.Linear(8, 2), nn.Tanh(), nn.Linear(2, 65))
    objective = Objective(model, lambda outputs, targets: 1e-6 * CE(outputs, targets), [(x, y)])
    estimate, _ = stopped(objective, tolerance=1e-3, max_passes=2)
    assert (estimate.way, estimate.gauss_newton, estimate.converged) == ("example-probes", None, False)
    assert estimate.standard_error is not None
    assert 1e-3 * abs(estimate.value) < estimate.standard_error < 1e-3


@pytest.mark.parametrize(("freedom", "draws"), [(57.9, 58), (math.inf, 10**9 + 1)])
def test_the_degrees_of_freedom_of_a_pooled_error_are_those_of_so_many_draws(
    monkeypatch: pytest.MonkeyPatch, freedom: float, draws: int
) -> None:
    module = importlib.import_module("landscape.curvature.trace")
    pooled = module.pooled
    monkeypatch.setattr(module, "pooled", lambda pairs: (*pooled(pairs)[:3], freedom))
    x, y = problems.classification(20, classes=3)
    objective = Objective(problems.network(nn.Linear(8, 2), nn.Tanh(), nn.Linear(2, 3)), CE, [(x, y)])
    estimate = hessian_trace(objective, tolerance=1e-9, max_passes=4, draws=Draws(0))
    assert (estimate.way, estimate.draws) == ("example-probes", draws)


def test_deflation_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    module, tried = importlib.import_module("landscape.curvature.trace"), list[float]()
    monkeypatch.setattr(module._Estimator, "_deflated", lambda _, rest, passes, scale: tried.append(rest))
    objective, _ = problems.tiny_case()
    estimate = hessian_trace(objective, tolerance=1e-3, max_passes=60, draws=Draws(0))
    assert (estimate.way, estimate.passes) == ("example-probes", 60)
    assert len(tried) == 1
    assert tried[0] >= module.MANY_PRODUCTS


@pytest.mark.parametrize(("price", "kinds"), [(1.0, {False, True}), (1e9, {False})])
def test_operations_are_probed_one_by_one_only_if_the_trial_is_a_small_part_of_the_work(
    monkeypatch: pytest.MonkeyPatch, price: float, kinds: set[bool]
) -> None:
    module, seen = importlib.import_module("landscape.curvature.trace"), set[bool]()
    pairs_of_passes, examined = module.pairs_of_passes, module.plan

    def counted(*args: object, apart: bool, **options: object) -> object:
        seen.add(apart)
        return pairs_of_passes(*args, apart=apart, **options)

    monkeypatch.setattr(module, "pairs_of_passes", counted)
    monkeypatch.setattr(module, "plan", lambda one: dataclasses.replace(examined(one), cost_apart=price))
    objective, _ = problems.tiny_case()
    hessian_trace(objective, tolerance=0.02, max_passes=20, draws=Draws(0))
    assert seen == kinds
