"""A window of the training in which a rule acts: the base before and after, the rule itself inside, over every row."""

import copy

import pytest
import torch
from optim.battery import VARIANTS, build, closure, in_step, mlp, sgd, weights
from torch import nn

from landscape.errors import UsageError
from landscape.optim import ERM, GSAM, OPTIMIZERS, SAM, SharpnessAware, build_optimizer

WITH_WINDOW = [name for name in VARIANTS if "start" in OPTIMIZERS[name].shared]
LATE, MIDDLE = "start=0.15", "start=0.15,stop=0.25"  # of the 20 steps in the context of the battery


def spelled(name: str, window: str) -> str:
    return f"{name}:{window}"


def run(model: nn.Module, optimizer: SharpnessAware, steps: range) -> SharpnessAware:
    for number in steps:
        torch.manual_seed(number)
        optimizer.step(closure(optimizer, model, seed=number))
    return optimizer


def test_all_rules_have_it_but_those_with_a_beginning_of_their_own() -> None:
    assert set(VARIANTS) - set(WITH_WINDOW) == {"saf", "mesa", "swa"}


@pytest.mark.parametrize("name", WITH_WINDOW)
@pytest.mark.parametrize("window", [LATE, MIDDLE])
def test_outside_it_is_the_base_and_inside_the_rule_bit_for_bit(name: str, window: str) -> None:
    models = [mlp(nn.Dropout(0.2)), mlp(nn.Dropout(0.2))]
    windowed = build(spelled(name, window), models[0])
    base = sgd(models[1])
    run(models[0], windowed, range(3))
    run(models[1], ERM(base), range(3))
    assert torch.equal(*map(weights, models))
    assert (windowed.gradient_evaluations, windowed.sam_steps, windowed.memory) == (3, 0, {})

    run(models[0], windowed, range(3, 5))
    rule = in_step(3, build(name, models[1], base))
    run(models[1], rule, range(3, 5))
    assert torch.equal(*map(weights, models))
    assert windowed.memory.keys() == rule.memory.keys()

    is_over = window == MIDDLE
    memory = copy.deepcopy(windowed.memory)
    run(models[0], windowed, range(5, 7))
    run(models[1], ERM(base) if is_over else rule, range(5, 7))
    assert torch.equal(*map(weights, models))
    if is_over:
        assert all(torch.equal(*map(torch.as_tensor, (v, memory[n]))) for n, v in windowed.memory.items())


@pytest.mark.parametrize("name", WITH_WINDOW)
@pytest.mark.parametrize("saved_after", [2, 4])
def test_a_run_that_is_resumed_before_or_inside_goes_on_bit_for_bit(name: str, saved_after: int) -> None:
    models = [mlp(), mlp()]
    whole, resumed = (build(spelled(name, MIDDLE), model) for model in models)
    run(models[0], whole, range(saved_after))
    models[1].load_state_dict(models[0].state_dict())
    resumed.load_state_dict(copy.deepcopy(whole.state_dict()))
    for model, optimizer in zip(models, (whole, resumed), strict=True):
        run(model, optimizer, range(saved_after, 7))
    assert torch.equal(*map(weights, models))
    assert whole.gradient_evaluations == resumed.gradient_evaluations


def test_the_first_and_the_last_step_are_the_nearest_to_the_shares() -> None:
    def active(start: float, stop: float, total: int) -> list[int]:
        model = mlp()
        optimizer = SAM(sgd(model), start=start, stop=stop, total_steps=total)
        passes = []
        for number in range(total + 2):
            run(model, optimizer, range(number, number + 1))
            passes.append(len(optimizer.losses))
        return [number for number, count in enumerate(passes) if count == 2]

    assert active(0.7, 1.0, 10) == [7, 8, 9, 10, 11]  # a training that goes on after its end
    assert active(0.07, 0.29, 100) == list(range(7, 29))  # 0.07 · 100 is a little more than 7
    assert active(0.0, 0.3, 10) == [0, 1, 2]


def test_a_step_that_is_skipped_counts_as_one_of_the_training() -> None:
    model = mlp()
    optimizer = SAM(sgd(model), start=0.5, total_steps=4)
    for number, scale in enumerate([torch.nan, 1.0, 1.0, 1.0]):
        optimizer.step(closure(optimizer, model, seed=number, scale=scale))
    assert (optimizer.skipped_steps, optimizer.steps, optimizer.sam_steps) == (1, 3, 2)


def test_a_window_of_a_training_of_unknown_length_is_refused_and_an_empty_one() -> None:
    with pytest.raises(UsageError, match=r"start=0\.7 and stop=1 of GSAM .* not known; pass total_steps=…"):
        GSAM(sgd(mlp()), start=0.7)
    with pytest.raises(UsageError, match=r"stop=0\.5 of SAM"):
        build_optimizer(mlp(), optimizer="sam:stop=0.5")
    with pytest.raises(UsageError, match=r"start=0\.7 and stop=0\.5 leave no step to SAM"):
        SAM(sgd(mlp()), start=0.7, stop=0.5, total_steps=10)
    for options in ({"start": 1.0}, {"start": -0.1}, {"stop": 0.0}, {"stop": 1.1}, {"total_steps": 0}):
        with pytest.raises(UsageError, match="is not allowed"):
            SAM(sgd(mlp()), **{"total_steps": 10, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("spec", "cost"),
    [("sam:start=0.75", 1.25), ("cr-sam:start=0.25,stop=0.75", 2.0), ("swa:start=0.75", 1), ("sgd", 1)],
)
def test_the_table_knows_what_a_step_costs_on_average(spec: str, cost: float) -> None:
    row = OPTIMIZERS.row(OPTIMIZERS.parse(spec).name)
    assert row.gradients(OPTIMIZERS.settings(spec)) == pytest.approx(cost)


def test_an_option_without_a_default_is_required_where_a_base_class_has_one() -> None:
    assert OPTIMIZERS["ae-sam"].options["total_steps"].required
    assert OPTIMIZERS["sam"].options["total_steps"].default is None
