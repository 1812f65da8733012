"""The plan before measuring, batch sizes, and what is said when memory or a second derivative is lacking."""

import json
import re

import pytest
import torch
from landscape.cli.measure_plan import between
from torch import nn

from landscape.models.mlp import MLP

DIR = "runs/sgd-0"
FLAGS = ("--limit", "100", "--device", "cpu")


def test_a_dry_run_says_cost_time_and_memory_and_measures_nothing(landscape, runs, snapshot):
    before = snapshot()
    names = ["-M", "loss", "-M", "dominant-eigenvalue", "-M", "hessian-trace"]
    result = landscape("measure", DIR, *FLAGS, *names, "--dry-run", "-q")
    assert result.code == 0
    assert snapshot() == before
    lines = result.out.splitlines()
    assert lines[0].split() == ["measure", "gradients", "at", "most", "time", "at", "most"]
    rows = {line.split()[0]: re.split(r"\s{2,}", line)[1:3] for line in lines[1:4]}
    assert rows["loss"] == ["0.333", "0.333"]
    assert rows["dominant-eigenvalue"] == ["14–54", "402"]
    assert float(rows["hessian-trace"][0]) < float(rows["hessian-trace"][1])
    assert max(map(len, lines)) <= 80
    notes = " ".join(result.out.split())
    assert re.search(r"one gradient over all data: \S+ s, from one product on the first batch", notes)
    assert re.search(r"memory, at its peak .*: \S+ (KiB|MiB) in all \(loss .*\); \S+ GiB free", notes)
    assert re.search(r"the graph of a batch takes \S+ KiB", notes)


def test_a_range_has_its_unit_once():
    assert between("2 s", "2 s") == "2 s"
    assert between("2 s", "9 s") == "2–9 s"
    assert between("9 s", "1 min 5 s") == "9 s–1 min 5 s"


def test_the_plan_of_every_measure_is_not_below_what_it_then_costs(landscape, runs):
    """At most is at most: with a budget that is used up, and where nothing iterates."""
    names = [
        "surrogate-gap",
        "dominant-eigenvalue:tolerance=1e-9,max_iterations=3",
        "spectral-density:probes=1,steps=3",
    ]
    flags = [part for name in names for part in ("-M", name)]
    planned = landscape("measure", DIR, *FLAGS, *flags, "--dry-run", "-q").out.splitlines()[1:4]
    assert landscape("measure", DIR, *FLAGS, *flags, "-q").code == 0
    for line, text in zip(planned, (runs / "sgd-0/measures.jsonl").read_text().splitlines(), strict=True):
        cost = json.loads(text)["cost"]
        spent = cost["gradients"] + 2 * cost["products"] + cost["evaluations"] / 3
        assert float(re.split(r"\s{2,}", line)[2]) >= spent * 0.99, line


def test_the_quickest_pieces_give_the_same_numbers(landscape, runs):
    names = ("-M", "gradient-norm", "-M", "gradient-noise", "-q", "--format", "jsonl", "--no-resume")
    plain, quickest = (
        [json.loads(line) for line in landscape("measure", DIR, *FLAGS, *names, *more).out.splitlines()]
        for more in ((), ("-b", "auto"))
    )
    for a, b in zip(plain, quickest, strict=True):
        assert b["value"] == pytest.approx(a["value"], rel=1e-5)
        # The sum over the data is rounded piece by piece, and which pieces are quickest differs from run to run.
        assert b["provenance"].pop("loss_value") == pytest.approx(a["provenance"].pop("loss_value"), rel=1e-6)
        assert b["provenance"] == a["provenance"]


@pytest.mark.parametrize(
    ("size", "said"), [("some", "'some' is neither a whole number nor auto"), ("0", "0 is not in")]
)
def test_another_batch_size_is_refused(landscape, runs, size, said):
    result = landscape("measure", DIR, "-b", size)
    assert result.code == 2
    assert said in result.error


def limited(most):
    """A forward pass that runs out of memory above a batch size, but not on the zeros of the check of shapes."""
    whole = MLP.forward

    def forward(self, x):
        if len(x) > most and x.any():
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return whole(self, x)

    return forward


def test_out_of_memory_at_one_example_is_code_5_and_one_line(landscape, runs, monkeypatch, snapshot):
    before = snapshot()
    monkeypatch.setattr(MLP, "forward", limited(0))
    result = landscape("measure", DIR, *FLAGS)
    assert result.code == 5
    assert "Error: out of memory with a single example; MLP has 610 free parameters" in result.err
    assert "--recompute" in result.err
    assert "--shard-weights" in result.err
    assert "Traceback" not in result.err
    assert snapshot() == before


def test_out_of_memory_above_that_is_a_note_and_the_same_number(landscape, runs, monkeypatch):
    asked = ("measure", DIR, *FLAGS, "-M", "gradient-norm", "--format", "jsonl", "--no-resume")
    whole = json.loads(landscape(*asked).out)
    monkeypatch.setattr(MLP, "forward", limited(30))
    result = landscape(*asked)
    assert result.code == 0
    assert "Note: out of memory at 100 examples; going on with at most 50 at once" in result.err
    assert json.loads(result.out)["value"] == pytest.approx(whole["value"], rel=1e-5)


def test_a_model_that_is_random_or_not_twice_differentiable_is_code_3(landscape, runs, monkeypatch):
    whole = MLP.forward
    monkeypatch.setattr(MLP, "forward", lambda self, x: nn.functional.dropout(whole(self, x)))
    result = landscape("measure", DIR, *FLAGS, "-q", "-M", "gradient-norm")
    assert result.code == 3
    assert "the model is random: two evaluations of the first batch" in result.error

    def aligned(self, x):
        scores = whole(self, x)
        lengths = torch.full((len(x),), 1), torch.ones(len(x), dtype=torch.long)
        targets = torch.ones(len(x), 1, dtype=torch.long)
        losses = nn.functional.ctc_loss(scores.log_softmax(1)[None], targets, *lengths, reduction="none")
        return torch.stack([losses, *scores[:, 1:].unbind(1)], dim=1)

    monkeypatch.setattr(MLP, "forward", aligned)
    result = landscape("measure", DIR, *FLAGS, "-q", "-M", "dominant-eigenvalue")
    assert result.code == 3
    assert "MLP has no second derivative: " in result.error
    assert "_ctc_loss_backward" in result.error


def test_an_option_that_is_not_allowed_is_refused_before_the_first_measure(landscape, runs, snapshot):
    before = snapshot()
    result = landscape("measure", DIR, "-M", "loss", "-M", "surrogate-gap:rho=0")
    assert result.code == 2
    assert "surrogate-gap: rho=0.0 is not allowed: rho must be a finite number above 0" in result.error
    assert snapshot() == before
