"""A tracker in a loop: it changes nothing, keeps its budget, and says what each optimizer's threshold is."""

import copy
import json
import random
import re
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from tracked_cases import data, same

import landscape
from landscape import records
from landscape.errors import InputError, Remark, UsageError
from landscape.measures import measure
from landscape.optim import SAM
from landscape.records.run_folder import RunFolder
from landscape.tracking import geometry
from landscape.tracking.optimizer_state import next_update

STEPS = 50
EVERYTHING = [
    "loss", "accuracy", "gradient-norm", "dominant-eigenvalue", "top-eigenvalues:k=2", "critical-sharpness",
    "directional-sharpness", "preconditioned-sharpness", "noise-scale", "hessian-trace:max_probes=8",
]  # fmt: skip


def probes():
    x, y = data()
    return [(x[:20], y[:20]), (x[20:40], y[20:40])]


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 12), nn.BatchNorm1d(12), nn.Tanh(), nn.Dropout(0.2), nn.Linear(12, 3))


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=1e-3),
    "nesterov": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, amsgrad=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.005, momentum=0.5, centered=True),
}


def trained(build, tracked, steps=STEPS, **options):
    """A loop with dropout, batch norm, a scheduler and random numbers of all kinds."""
    model = network().train()
    optimizer = build(model.parameters())
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 20, 0.5)
    x, y = data()
    tracker = landscape.Tracker(model, "cross-entropy", probes(), **options) if tracked else None
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    for _ in range(steps):
        chosen = torch.randperm(60)[:10]
        optimizer.zero_grad()
        nn.functional.cross_entropy(
            model(x[chosen] + random.random() + np.random.rand()), y[chosen]
        ).backward()
        optimizer.step()
        if tracker is not None:
            tracker.step(optimizer)
        scheduler.step()
    left = {
        "weights": model.state_dict(),
        "gradients": [p.grad for p in model.parameters()],
        "optimizer": optimizer.state_dict(),
        "modes": [m.training for m in model.modules()],
        "random": (torch.get_rng_state(), str(np.random.get_state()), random.getstate()),
    }
    return left, tracker, model, optimizer


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_loop_with_a_tracker_leaves_the_bytes_of_one_without(name, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error", Remark)
        warnings.filterwarnings("ignore", "noise-scale is undefined")  # near a minimum, the gradient is noise
        alone = trained(OPTIMIZERS[name], tracked=False)[0]
        left, tracker, *_ = trained(
            OPTIMIZERS[name], tracked=True, measures=EVERYTHING, every=20, output=tmp_path
        )
    assert same(left, alone)
    assert [step for step, _ in tracker.history] == [20, 40]
    assert all(set(found) == set(EVERYTHING) for _, found in tracker.history)


def test_the_numbers_are_those_of_the_network_at_that_step():
    _, tracker, model, _ = trained(
        OPTIMIZERS["adam"], True, measures=["loss", "gradient-norm", "dominant-eigenvalue"], every=STEPS
    )
    (step, found) = tracker.history[-1]
    objective = landscape.Objective(copy.deepcopy(model).eval(), "cross-entropy", probes())
    assert step == STEPS
    for estimate in measure(objective, list(found)):
        expected = estimate.value
        assert found[estimate.measure].value == pytest.approx(expected, rel=5e-3)


def test_lines_are_those_of_measure_with_their_step_and_a_run_is_continued(tmp_path):
    _, tracker, model, _ = trained(OPTIMIZERS["sgd"], True, measures=["loss"], every=10, output=tmp_path)
    file = tmp_path / "measures-history.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["step"] for line in lines] == [10, 20, 30, 40, 50]
    assert [records.from_json(json.dumps(line)).value for line in lines] == [
        found["loss"].value for _, found in tracker.history
    ]
    with pytest.raises(UsageError, match="another run is tracked there"):
        landscape.Tracker(model, "cross-entropy", probes(), output=tmp_path)
    again = landscape.Tracker(
        model, "cross-entropy", probes(), measures=["loss"], every=10, output=tmp_path, steps_done=30
    )
    for _ in range(10):
        again.step()
    assert [json.loads(line)["step"] for line in file.read_text().splitlines()] == [10, 20, 30, 40]


@pytest.mark.parametrize(
    ("name", "threshold"),
    [
        ("sgd", 2 / 0.1),
        ("momentum", 3.8 / 0.05),
        ("nesterov", 3.8 / 2.8 / 0.05),
        ("adam", 38 / 0.01),
        ("adamw", 38 / 0.01),
        ("rmsprop", 3 / 0.005),
    ],
)
def test_thresholds_are_those_of_the_papers(name, threshold):
    _, tracker, *_ = trained(OPTIMIZERS[name], True, 6, measures=["preconditioned-sharpness"], every=5)
    found = tracker.history[0][1]["preconditioned-sharpness"]
    assert found.details["threshold"] == pytest.approx(threshold)
    assert found.details["share_of_threshold"] == pytest.approx(found.value / threshold)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_above_its_threshold_a_quadratic_diverges_and_below_it_does_not(name):
    """P is frozen, as in the papers' argument: the optimizer's own P, scaled so that the share is 0.98 or 1.02."""
    matrix = torch.diag(torch.tensor([4.0, 2.0, 1.0, 0.5], dtype=torch.float64))
    for share, grows in ((0.98, False), (1.02, True)):
        beta, rate, most = {
            "sgd": (0.0, 0.1, 2.0), "momentum": (0.9, 0.05, 3.8), "nesterov": (0.9, 0.05, 3.8 / 2.8),
            "adam": (0.9, 0.01, 38.0), "adamw": (0.9, 0.01, 38.0), "rmsprop": (0.5, 0.005, 3.0),
        }[name]  # fmt: skip
        scaled = matrix * (share * most / rate / 4.0)
        point, held = torch.ones(4, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)
        for _ in range(3000):
            gradient = scaled @ point
            if name in ("adam", "adamw"):
                held = beta * held + (1 - beta) * gradient
                point = point - rate * held
            else:
                held = beta * held + gradient
                point = point - rate * (gradient + beta * held if name == "nesterov" else held)
        assert bool(point.norm() < 1e3) is not grows


def test_the_next_update_is_the_one_that_comes():
    model, (x, y) = network().double().eval(), data()
    for build in OPTIMIZERS.values():
        twin = copy.deepcopy(model)
        optimizer = build(twin.parameters())
        for last in (False, False, True):
            optimizer.zero_grad()
            nn.functional.cross_entropy(twin(x[:20].double()), y[:20]).backward()
            if last:
                gradients = {name: p.grad for name, p in twin.named_parameters()}
                before = copy.deepcopy(optimizer.state_dict())
                delta = next_update(optimizer, twin, list(gradients), gradients)
                assert same(optimizer.state_dict(), before)
                old = torch.cat([p.detach().flatten() for p in twin.parameters()])
            optimizer.step()
        new = torch.cat([p.detach().flatten() for p in twin.parameters()])
        torch.testing.assert_close(old - optimizer.param_groups[0]["lr"] * delta, new, rtol=1e-12, atol=1e-13)


def test_a_sam_is_known_by_its_base():
    model = network().eval()
    base = torch.optim.SGD(model.parameters(), lr=0.1)
    tracker = landscape.Tracker(
        model, "cross-entropy", probes(), measures=["preconditioned-sharpness", "critical-sharpness"], every=1
    )
    found = tracker.step(SAM(base, rho=0.05))
    assert found["preconditioned-sharpness"].details["threshold"] == pytest.approx(20)
    assert found["critical-sharpness"].details["direction"] == "update"


def test_one_more_eigenvalue_is_tracked_where_the_last_nears_the_threshold():
    model = network().eval()
    objective = landscape.Objective(model, "cross-entropy", probes())
    (top,) = measure(objective, ["top-eigenvalues:k=2"])
    second = abs(top.details["eigenvalues"][1])
    for rate, expected in ((2 / second, [2, 3]), (0.1 / second, [2, 2])):
        optimizer = torch.optim.SGD(model.parameters(), lr=rate)
        tracker = landscape.Tracker(
            model, "cross-entropy", probes(), measures=["top-eigenvalues:k=2"], every=1
        )
        counts = [
            len(tracker.step(optimizer)["top-eigenvalues:k=2"].details["eigenvalues"]) for _ in range(2)
        ]
        assert counts == expected


def test_a_warm_start_saves_products():
    model = network().double().eval()
    tracker = landscape.Tracker(model, "cross-entropy", probes(), measures=["dominant-eigenvalue"], every=1)
    cold, warm = (tracker.step()["dominant-eigenvalue"].details["iterations"] for _ in range(2))
    assert warm <= cold / 2


@pytest.mark.parametrize("budget", [0.02, 0.05, 0.1])
def test_a_budget_is_kept(monkeypatch, budget):
    """By a clock on which a step takes a second, and a measurement ten or forty."""
    now = [0.0]
    monkeypatch.setattr(geometry.time, "perf_counter", lambda: now[0])
    tracker = landscape.Tracker(
        network().eval(), "cross-entropy", probes(), measures=["loss"], every=5, budget=budget
    )
    taken = iter([10.0, 40.0] * 1000)
    of = tracker._objective.of

    def slow(model, **options):
        now[0] += next(taken)
        return of(model, **options)

    monkeypatch.setattr(tracker._objective, "of", slow)
    for step in range(8000):
        now[0] += 1.0
        tracker.step()
        spent = now[0] - (step + 1)
        # The first measurement cannot be planned, and a later one may take four times what was expected.
        assert len(tracker.history) < 3 or spent / now[0] <= budget + 30 / now[0]
    assert len(tracker.history) > 8000 * budget / 40
    assert f"budget {budget:.0%}" in tracker.finish()


def failing(change, steps=6, **options):
    """What is said, and how often, where something is changed after two steps; the loop goes on."""
    model = network().train()
    given, optimizer = probes(), torch.optim.Adam(model.parameters(), lr=0.01)
    tracker = landscape.Tracker(model, "cross-entropy", given, every=1, **{"measures": ["loss"], **options})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for step in range(steps):
            if step == 2:
                change(model, given)
            tracker.step(optimizer)
    return [str(w.message) for w in caught if w.category is Remark], tracker


def nan_weights(model, given):
    with torch.no_grad():
        model[0].weight.fill_(torch.nan)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda model, given: given[0][0].add_(1), "probe batches were written to"),
        (lambda model, given: model[0].requires_grad_(False), "free parameters"),
        (lambda model, given: model.add_module("more", nn.Linear(3, 3)), "free parameters"),
        (nan_weights, "not finite|NaN"),
    ],
    ids=["probes", "frozen", "added", "nan"],
)
def test_what_fails_is_said_once_and_stops_nothing(change, words):
    said, tracker = failing(change)
    assert len(said) == 1
    assert re.search(words, said[0])
    assert "from step 3 on" in said[0]
    assert len(tracker.history) == 2


def test_a_measure_that_is_impossible_is_left_out_and_the_others_go_on():
    said, tracker = failing(lambda *_: None, measures=["loss", "preconditioned-sharpness"])
    assert [list(found) for _, found in tracker.history] == [["loss"]] * 6
    assert len(said) == 1
    assert "Adam has no state yet" in said[0]


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"every": 0}, UsageError, "every=0 must be at least 1"),
        ({"budget": 1.5}, UsageError, "a share of the time"),
        ({"measures": []}, UsageError, "names nothing"),
        ({"measures": ["hesian-trace"]}, UsageError, "did you mean 'hessian-trace'"),
    ],
)
def test_wrong_arguments_are_refused_at_once(options, kind, words):
    with pytest.raises(kind, match=words):
        landscape.Tracker(network(), "cross-entropy", probes(), **options)


def test_probes_that_do_not_fit_are_refused_at_once():
    with pytest.raises(InputError):
        landscape.Tracker(network(), "cross-entropy", [(torch.randn(3, 5), torch.zeros(3).long())])


def test_what_is_undefined_is_said_once():
    single = probes()[:1]  # of one batch there is no noise scale
    tracker = landscape.Tracker(network(), "cross-entropy", single, every=1, measures=["noise-scale"])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            tracker.step()
    [said] = [str(w.message) for w in caught if w.category is Remark]
    assert said.startswith("noise-scale is undefined at step 1: ")
    assert len(tracker.history) == 3


@pytest.mark.parametrize(
    ("build", "threshold"),
    [
        (lambda p: torch.optim.SGD(p, lr=0.1), 20.0),
        (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), 38.0),
        (torch.optim.Adam, None),  # which divides the Hessian first
        (lambda p: SAM(torch.optim.SGD(p, lr=0.1)), None),  # which has an edge of its own
    ],
)
def test_eigenvalues_have_the_threshold_of_gradient_descent_beside_them(build, threshold):
    names = ["dominant-eigenvalue", "top-eigenvalues:k=2", "dominant-eigenvalue:operator=gauss-newton"]
    model = network()
    tracker = landscape.Tracker(model, "cross-entropy", probes(), measures=names)
    found = [e.details.get("threshold") for e in tracker.measure(build(model.parameters())).values()]
    expected = None if threshold is None else pytest.approx(threshold)
    assert found == [expected, expected, None]


def test_the_folder_says_whether_it_is_over(tmp_path):
    def said():
        return json.loads((tmp_path / "run" / "tracker.json").read_text())

    tracker = landscape.Tracker(network(), "cross-entropy", probes(), every=2, output=tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    assert (said(), folder.ended()) == ({"state": "running"}, False)
    for _ in range(4):
        tracker.step()
    tracker.finish()
    assert folder.ended()
    assert {name: said()[name] for name in ("state", "steps", "measured", "budget")} == {
        "state": "finished", "steps": 4, "measured": 2, "budget": None,
    }  # fmt: skip
    assert said()["share"] == pytest.approx(tracker.share, rel=0.5)
    with (
        pytest.raises(ZeroDivisionError),
        landscape.Tracker(network(), "cross-entropy", probes(), output=tmp_path / "run", steps_done=4),
    ):
        _ = 1 / 0
    assert (said()["state"], folder.ended()) == ("failed", True)
