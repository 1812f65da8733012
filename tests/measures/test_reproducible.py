"""Two runs with one seed give the same bytes; other batch sizes give the same numbers."""

import dataclasses

import problems
import pytest
import torch
from short_measures import short
from torch import nn

from landscape import records
from landscape.measures import MEASURES, measure
from landscape.objective import Objective

NAMES = [short(name) for name in MEASURES]
OF_THE_PARTITION = {"gradient-noise", "approximation-ratio", "noise-scale"}
"""What is about batches by its nature."""
UNDEFINED_WITH_TANH = {"path-norm"}


def objective(batch: int, activation: type[nn.Module] = nn.Tanh, **options: object) -> Objective:
    x, y = problems.classification(dtype=torch.float32)
    model = problems.small_net(activation, dtype=torch.float32)
    return Objective(model, nn.CrossEntropyLoss(), problems.batches(x, y, batch), **options)  # type: ignore[arg-type]


def lines(batch: int) -> list[str]:
    found = measure(objective(batch), NAMES)
    return [
        records.to_json(dataclasses.replace(e, cost=dataclasses.replace(e.cost, seconds=0.0))) for e in found
    ]


def test_two_runs_with_the_same_seed_give_identical_bytes() -> None:
    assert lines(30) == lines(30)


@pytest.mark.parametrize(("activation", "batch"), [(nn.ReLU, 100), (nn.Tanh, 17)])
def test_other_batch_sizes_give_the_same_numbers(activation: type[nn.Module], batch: int) -> None:
    without = OF_THE_PARTITION | (UNDEFINED_WITH_TANH if activation is nn.Tanh else set())
    names = [name for name in NAMES if name.split(":")[0] not in without]
    for a, b in zip(
        measure(objective(30, activation), names), measure(objective(batch, activation), names), strict=True
    ):
        assert abs(a.value - b.value) <= 1e-3 * abs(a.value), a.measure


def test_micro_batches_give_the_same_numbers_for_every_measure() -> None:
    names = [name for name in NAMES if name not in UNDEFINED_WITH_TANH]
    for a, b in zip(
        measure(objective(30), names), measure(objective(30, micro_batch=12), names), strict=True
    ):
        assert abs(a.value - b.value) <= 1e-3 * abs(a.value), a.measure
