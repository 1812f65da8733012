"""Accuracy among the classes that occur: written out, and of all classes."""

import math

import problems
import pytest
import torch
from torch import nn

from landscape.errors import UsageError
from landscape.measures import accuracy, subset_accuracy
from landscape.objective import Objective


def test_outputs_of_classes_that_do_not_occur_are_no_answers() -> None:
    x, y = problems.classification(60)
    kept = y != 2
    x, y = x[kept], y[kept]
    model = problems.small_net()
    found = subset_accuracy(Objective(model, nn.CrossEntropyLoss(), problems.batches(x, y, 13)))
    outputs = model(x)[:, [0, 1, 3]].argmax(1)
    expected = float((torch.tensor([0, 1, 3])[outputs] == y).double().mean())
    assert found.value == pytest.approx(expected, rel=1e-12)
    assert found.details["classes"] == 3
    everything = accuracy(Objective(model, nn.CrossEntropyLoss(), [(x, y)]))
    assert found.value > everything.value  # or the data would not tell the two apart


def test_with_all_classes_it_is_the_accuracy() -> None:
    objective = problems.small_objective()
    assert subset_accuracy(objective).value == accuracy(objective).value


def test_what_has_no_classes_is_said() -> None:
    x, _ = problems.classification()
    found = subset_accuracy(Objective(problems.network(nn.Linear(8, 1)), nn.MSELoss(), [(x, x[:, :1])]))
    assert math.isnan(found.value)
    with pytest.raises(UsageError, match=r"needs \(inputs, targets\) batches"):
        subset_accuracy(problems.quadratic([1.0, 2.0])[0])
