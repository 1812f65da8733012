"""The study of predictors: networks are trained to one loss, measured once, and judged by what is known of orders."""

import dataclasses
import importlib
import math
import sys
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "figures" / "reproductions"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    found = importlib.import_module("predictors")
    monkeypatch.setattr(found, "MEASURES", {"path-norm": "path norm", "epochs": "epochs"})
    monkeypatch.setattr(found, "LOSS", 0.3)
    yield found
    for name in [name for name, of in sys.modules.items() if str(FOLDER) in str(getattr(of, "__file__", ""))]:
        del sys.modules[name]


@pytest.fixture
def work(script, tmp_path):
    setup = dataclasses.replace(
        script.DIGITS,
        fields={**script.DIGITS.fields, "epochs": 12},
        more={"width": "16", "depth": "1", "lr": "0.00001 0.03", "train": 300},
    )
    return importlib.import_module("study").Work(
        script.STUDY, setup, "digits", range(1), tmp_path, device="cpu"
    )


def test_networks_that_reach_the_loss_are_measured_and_the_others_are_counted(script, work, monkeypatch):
    found = script.compute(work)["networks"]
    assert found["left out"] == [2]  # those of the lower rate
    assert set(found["lr"]) == {0.03}
    assert sorted(found["optimizer"]) == ["SAM", "SGD"]
    assert max(found["loss"]) <= 0.3 < min(found["test loss"]) + 0.2
    assert min(found["path-norm"]) > 0
    # Again: nothing is trained, and a measure that is new is added.
    monkeypatch.setattr(script, "training", None)
    monkeypatch.setitem(script.MEASURES, "gradient-norm", "‖∇L‖")
    again = script.compute(work)["networks"]
    assert {name: again[name] for name in found} == found
    assert min(again["gradient-norm"]) > 0


def record(columns):
    count = len(columns["lr"])
    rest = {"depth": [1] * count, "batch": [16] * count, "decay": [0] * count, "optimizer": ["SGD"] * count}
    return {"setup": "digits", "results": {"networks": {"left out": [3], **rest, **columns}}}


def test_what_follows_the_rate_alone_has_no_order_without_it(script):
    """The gap falls with the rate; the first measure is the rate, the second is the gap without its rate's part."""
    random = np.random.default_rng(0)
    rates = np.repeat([1.0, 2.0, 3.0], 12)
    widths = np.tile([8, 16, 32, 64], 9)
    noise = random.normal(size=36)
    made = record(
        {
            "lr": rates.tolist(),
            "width": widths.tolist(),
            "loss": [0.0] * 36,
            "test loss": list(noise - 3 * rates),
            "path-norm": list(-rates + 1e-3 * random.normal(size=36)),
            "epochs": list(noise),
        }
    )
    found = script.correlations(made)
    assert found["path-norm"]["all"].tau > 0.5
    assert abs(found["path-norm"]["lr"].tau) < 0.3
    assert found["epochs"]["lr"].low > 0.5
    path, epochs = script.claims(made)
    assert epochs.judgement == "holds"
    assert "Ψ" in path.ours
    lines = script.table(made).splitlines()
    assert lines[0].startswith("36 networks, 3 more did not reach the loss; gap ")
    assert len(lines) == 6
    assert all(line.count("|") == lines[2].count("|") for line in lines[3:])


def test_nothing_is_shown_of_no_networks(script):
    made = record({name: [] for name in ("lr", "width", "loss", "test loss", "path-norm", "epochs")})
    assert [claim.judgement for claim in script.claims(made)] == ["not shown"] * 2
    assert "| – |" in script.table(made)


def test_holms_correction_is_that_of_the_definition(script):
    assert script.holm([0.01, 0.04, 0.03, math.nan]) == pytest.approx([0.04, 0.09, 0.09, 1.0])
    assert script.holm([]) == []
