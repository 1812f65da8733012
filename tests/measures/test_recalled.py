"""Records in place of measurements: a number is read only if everything that it depends on is unchanged."""

import json

import problems
import torch
from torch import nn

from landscape import records
from landscape.measures import MEASURES, measure, measured_or_recalled
from landscape.objective import Objective

NAMES = ["loss", "gradient-norm", "hessian-trace:max_probes=4"]


def spent(objective):
    passes = objective.ledger.passes()
    return passes["gradients"], passes["products"]


def test_a_second_call_reads_what_the_first_has_written(tmp_path):
    file = tmp_path / "measures.jsonl"
    first = measure(problems.small_objective(), NAMES, records=file)
    again = problems.small_objective()
    second = measure(again, NAMES, records=str(file))
    assert [e.value for e in second] == [e.value for e in first]
    assert [e.measure for e in second] == ["loss", "gradient-norm", "hessian-trace"]
    assert spent(again) == (0, 0)
    assert len(file.read_text().splitlines()) == len(NAMES)


def test_what_an_interrupted_call_has_written_is_kept(tmp_path):
    file = tmp_path / "measures.jsonl"
    measure(problems.small_objective(), NAMES[:2], records=file)
    again = problems.small_objective()
    measure(again, NAMES, records=file)
    alone = problems.small_objective()
    measure(alone, NAMES[2:])
    assert spent(again) == spent(alone)
    assert [e.measure for e in records.read(file).estimates] == ["loss", "gradient-norm", "hessian-trace"]


def test_other_options_are_another_quantity(tmp_path):
    file = tmp_path / "measures.jsonl"
    measure(problems.small_objective(), ["surrogate-gap:rho=0.1"], records=file)
    measure(problems.small_objective(), ["surrogate-gap:rho=0.2"], records=file)
    assert [e.settings["rho"] for e in records.read(file).estimates] == [0.1, 0.2]


def perfect(scale, **options):
    """A network that fits its data perfectly: the loss is 0 whatever the scale of the first layer."""
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    with torch.no_grad():
        model[0].weight.fill_(scale)
        for parameter in (model[0].bias, model[1].weight, model[1].bias):
            parameter.zero_()
    return Objective(model, nn.MSELoss(), [(torch.ones(5, 3), torch.zeros(5, 2))], **options)


def test_other_weights_of_the_same_loss_are_measured_anew(tmp_path):
    file = tmp_path / "measures.jsonl"
    traces = [measure(perfect(k), ["hessian-trace"], records=file)[0].value for k in (1.0, 2.0, 1.0)]
    assert traces[0] == traces[2] != traces[1]
    assert len(file.read_text().splitlines()) == 2


def test_a_point_that_was_moved_to_is_not_that_of_the_checkpoint(tmp_path):
    file = tmp_path / "measures.jsonl"
    read = perfect(1.0).described(checkpoint="0" * 64)
    assert read.provenance.checkpoint == "0" * 64
    first, again = (measure(read, ["hessian-trace"], records=file)[0].value for _ in range(2))
    moved = measure(read.at(2 * read.point), ["hessian-trace"], records=file)[0].value
    assert first == again != moved
    assert len({e.provenance.checkpoint for e in records.read(file).estimates}) == 2


def test_other_frozen_weights_are_measured_anew(tmp_path):
    file = tmp_path / "measures.jsonl"
    points = [perfect(k, parameters=["1.*"]) for k in (1.0, 2.0, 1.0)]
    values = [measure(point, ["hessian-trace"], records=file)[0].value for point in points]
    assert values[0] == values[2] != values[1]


def test_other_examples_of_the_same_loss_are_measured_anew(tmp_path):
    file = tmp_path / "measures.jsonl"
    model = perfect(1.0)
    measure(model, ["hessian-trace"], records=file)
    other = Objective(
        nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)),
        nn.MSELoss(),
        [(2 * torch.ones(5, 3), torch.zeros(5, 2))],
    ).at(model.point)
    measure(other, ["hessian-trace"], records=file)
    assert len(file.read_text().splitlines()) == 2


def test_an_answer_says_why_the_last_record_does_not_hold():
    objective = problems.small_objective()
    assert objective.loss > 0  # known, so that records are compared by it
    specification = MEASURES.parse("gradient-norm")
    kept = []
    first = measured_or_recalled(objective, specification, (), keep=kept.append)
    assert (first.recalled, first.outdated, len(kept)) == (False, None, 1)
    assert measured_or_recalled(objective, specification, kept, keep=kept.append).recalled
    moved = objective.at(1.5 * objective.point)
    assert moved.loss != objective.loss
    answer = measured_or_recalled(moved, specification, kept, keep=kept.append)
    assert not answer.recalled
    assert answer.outdated.startswith("its loss is ")
    assert [e.value for e in kept] == [first.estimate.value, answer.estimate.value]


def test_the_loss_is_computed_anyway_and_recorded_only_if_it_is_another(tmp_path):
    file = tmp_path / "measures.jsonl"
    objective = problems.small_objective()
    (first,) = measure(objective, ["loss"], records=file)
    line = json.loads(file.read_text())
    file.write_text(json.dumps({**line, "value": 7.0}) + "\n")  # a file is never believed for the loss
    assert measure(objective, ["loss"], records=file)[0].value == first.value
    assert [e.value for e in records.read(file).estimates] == [7.0, first.value]
    measure(objective, ["loss"], records=file)
    assert len(file.read_text().splitlines()) == 2


def test_records_of_other_parameters_are_not_taken(tmp_path):
    file = tmp_path / "measures.jsonl"
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
    data = [(torch.eye(4), torch.eye(4))]

    def norm(parameters):
        objective = Objective(model, nn.MSELoss(), data, parameters=parameters)
        [estimate] = measure(objective, ["gradient-norm"], records=file)
        return estimate.value, spent(objective)[0] > 0

    selections = [
        ["0.*"],
        ["2.*"],
        None,
        lambda name, _: name.startswith("0."),
        lambda name, _: name[0] == "2",
    ]
    first = [norm(selection) for selection in selections]
    assert all(computed for _, computed in first)
    assert first[0][0] == first[3][0] != first[1][0] == first[4][0]
    assert [norm(selection) for selection in selections] == [(value, False) for value, _ in first]
    assert [e.provenance.parameters for e in records.read(file).estimates][:3] == ["0.*", "2.*", None]
