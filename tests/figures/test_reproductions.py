"""The reproductions: their rule, their records and RESULTS.md, and each study once at the size of a thimble."""

import ast
import dataclasses
import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import landscape.training

FOLDER = Path(__file__).parents[2] / "figures" / "reproductions"
MODULES = sorted(path.stem for path in FOLDER.glob("*.py"))
STUDIES = [name for name in MODULES if "STUDY = " in (FOLDER / f"{name}.py").read_text(encoding="utf-8")]

SMALL = [name for name in STUDIES if name != "sam_forgetting"]  # of texts; tested in test_sam_forgetting.py


@pytest.fixture
def load(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    yield importlib.import_module
    for name in MODULES:
        sys.modules.pop(name, None)


def test_results_are_what_the_records_give(load):
    results = load("results")
    assert results.RESULTS.read_text(encoding="utf-8") == results.text(), (
        "python figures/reproductions/results.py writes RESULTS.md anew"
    )


def test_every_study_is_in_the_results_with_at_least_three_seeds(load):
    results, study = load("results"), load("study")
    assert sorted(results.STUDIES) == STUDIES
    for name in STUDIES:
        records = study.records_of(load(name).STUDY)
        assert records, name
        for record in records:
            assert len(record["seeds"]) >= 3
            assert all(claim.judgement for claim in load(name).STUDY.claims(record))
    assert all(path.stat().st_size < 90_000 for path in study.RECORDS.glob("*.json"))


@pytest.mark.parametrize("name", MODULES)
def test_a_study_imports_public_names_only(name):
    """From the package or from one of its rooms, as a reader's own script would."""
    tree = ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8"))
    imported = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    own = [node for node in imported if (node.module or "").startswith("landscape")]
    assert all(len(node.module.split(".")) <= 2 for node in own), [node.module for node in own]
    assert not [alias.name for node in own for alias in node.names if alias.name.startswith("_")]


@pytest.mark.parametrize(
    "name", [SMALL[0], *(pytest.param(name, marks=pytest.mark.thorough) for name in SMALL[1:])]
)
def test_a_study_recomputes_and_resumes(load, name, tmp_path):
    study, given = load("study"), load(name).STUDY
    setup = next(iter(given.setups.values()))
    fields = {**setup.fields, "epochs": 2, "batch_size": 16}
    if "model" in fields:
        fields["model"] = "mlp:width=4"
    small = dataclasses.replace(setup, fields=fields, limit=40, draws=24, more={"samples": 60})
    work = study.Work(given, small, "moons:samples=60", range(2), tmp_path, device="cpu")
    record = study._numbers(study.execute(work))
    claims = given.claims(record)
    assert claims
    assert all(claim.text and claim.paper and claim.ours for claim in claims)
    if given.columns:
        assert study.table(given, record).count("\n") >= 1 + len(record["results"])
    again = study._numbers(study.execute(work))
    assert str(again["results"]) == str(record["results"])


def test_runs_are_planned_for_a_cluster_and_those_of_others_are_read(load, tmp_path, monkeypatch, capsys):
    study, given = load("study"), load("cr_sam_table").STUDY
    setup = dataclasses.replace(
        given.setups["digits"], fields={"model": "mlp:width=4", "epochs": 1}, limit=40
    )
    work = study.Work(given, setup, "moons:samples=60", range(2), tmp_path / "theirs", device="cpu")
    jobs = study.planned(work)
    assert [job.folder.name for job in jobs[:2]] == ["SGD-0", "SGD-1"]
    assert len(jobs) == 2 * (len(given.arms["cpu"]) + 1)
    assert not (tmp_path / "theirs").exists()
    said = study.estimate(jobs[:2])
    assert "ms a step, 1 epochs" in said
    assert "2 runs, 0 finished" in said
    (tmp_path / "mine").mkdir()
    reader = dataclasses.replace(work, folder=tmp_path / "mine", source=tmp_path / "theirs")
    with pytest.raises(SystemExit, match=r"no finished run of this study in .*SGD-0, .*SGD-1"):
        given.compute(reader)
    for job in jobs:
        landscape.training.train(job.recipe, output=job.folder)
    assert str(given.compute(reader)) == str(
        given.compute(dataclasses.replace(work, folder=tmp_path / "theirs"))
    )
    assert sorted(file.suffix for file in (tmp_path / "mine").iterdir()) == [".json"] * len(jobs)
    with pytest.raises(SystemExit, match="predictors trains in a loop of its own"):
        study.planned(dataclasses.replace(work, study=load("predictors").STUDY))


def test_an_order_holds_where_the_paired_interval_says_so(load):
    claims = load("claims")
    low, high = [1.0, 1.1, 0.9], [2.0, 2.2, 1.9]
    assert claims.ordered("t", "p", ("a", low), ("b", high)).judgement == "holds"
    assert claims.ordered("t", "p", ("b", high), ("a", low)).judgement == "does not hold"
    assert claims.ordered("t", "p", ("a", low), ("c", [1.0, 0.9, 1.1])).judgement == "not shown"
    assert claims.ordered("t", "p", ("a", low[:2]), ("b", high[:2])).judgement == "not shown"
    assert claims.ordered("t", "p", ("a", low), ("a", low)).judgement == "not shown"
    # Paired: the seed moves both alike by more than they differ.
    first, second = [1.0, 5.0, 9.0], [1.2, 5.18, 9.22]
    found = claims.ordered("t", "p", ("first", first), ("second", second))
    assert found.judgement == "holds"
    assert "first − second: −0.200 [" in found.ours


def test_a_sign_and_a_target_are_judged_by_the_interval(load):
    claims = load("claims")
    up = [1.0, 1.2, 0.9]
    assert claims.signed("t", "p", "n", up, "positive").judgement == "holds"
    assert claims.signed("t", "p", "n", up, "negative").judgement == "does not hold"
    assert claims.signed("t", "p", "n", [1.0, -1.0, 0.1], "positive").judgement == "not shown"
    assert claims.signed("t", "p", "n", [1.0, float("nan"), 1.0], "positive").judgement == "not shown"
    for values, judgement in (
        ([49, 50, 51], "holds"),
        ([60, 61, 62], "does not hold"),
        ([53, 55, 57], "not shown"),
    ):
        assert claims.close_to("t", "p", "n", values, target=50, within=5).judgement == judgement


@pytest.mark.parametrize(
    ("value", "text"),
    [(19.97, "20.0"), (-0.0312, "−0.0312"), (32674.4, "32674"), (2e-4, "2.00e−04"), (1e-17, "0.00")],
)
def test_numbers_have_three_digits(load, value, text):
    assert load("claims").digits(value) == text


def test_a_value_at_equal_loss_lies_between_its_neighbours_in_the_logarithm(load):
    at_loss = load("gsam_minima")._at_loss
    assert at_loss([1.0, 0.1, 0.01], [10.0, 20.0, 30.0], 10**-1.5) == pytest.approx(25.0)
    assert at_loss([1.0, 0.1, 0.01], [10.0, 20.0, 30.0], 0.01) == pytest.approx(30.0)
    assert at_loss([0.1, 0.2], [10.0, 20.0], 1.0) == 10.0


def test_a_peak_is_looked_for_in_the_other_seeds(load):
    peaks = load("cr_sam_training")._peaks
    hill = np.array([[1.0, 3.0, 1.5], [1.1, 3.2, 1.4], [0.9, 2.9, 1.6]])
    assert [row.judgement for row in peaks(hill, "x")] == ["holds", "holds"]
    noise = np.array([[1.0, 5.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 4.0]])
    assert [row.judgement for row in peaks(noise, "x")] == ["not shown", "not shown"]


def test_the_control_has_the_length_of_one_and_the_direction_of_the_other(load):
    script = load("adaptive_gsam")
    gradient = torch.tensor([3.0, -1.0, 0.5])

    def made(kind, **options):
        weights = torch.nn.Parameter(torch.tensor([0.2, -2.0, 0.0]))
        optimizer = kind(torch.optim.SGD([weights], lr=0.1), rho=0.5, alpha=0.04, **options)
        optimizer.step(
            lambda: (optimizer.zero_grad(), (gradient * weights).sum().backward(), weights.sum())[2]
        )
        return optimizer

    adaptive, control = made(script.Noted, gamma=0.1), made(script.Matched, gamma=0.1)
    expected = 0.5 * float(((torch.tensor([0.2, 2.0, 0.0]) + 0.1) * gradient / gradient.norm()).norm())
    assert adaptive.lengths == control.lengths == [pytest.approx(expected)]
    with torch.no_grad():
        found = control.displacement(gradient)
    assert torch.allclose(found / found.norm(), gradient / gradient.norm())


def test_a_part_has_as_many_of_each_class_and_the_same_ones_every_time(load, tmp_path):
    setups = load("setups")
    targets = torch.arange(10).repeat(20)
    chosen = setups._balanced(targets, 50, 10)
    assert chosen == setups._balanced(targets, 50, 10) == sorted(set(chosen))
    assert torch.bincount(targets[chosen]).tolist() == [5] * 10


def test_a_command_that_cannot_be_meant_is_one_line(load):
    with pytest.raises(SystemExit, match=r"--data cifar100: there is no small setup .* --size paper"):
        load("setups").kind_of("cifar100")


@pytest.mark.parametrize("name", STUDIES)
def test_the_paper_size_is_a_recipe_that_can_be_asked_for(load, name, tmp_path):
    study, given = load("study"), load(name).STUDY
    if given.paper is None or "model" not in given.paper.fields:
        pytest.skip("a loop of its own, or no other size")
    data = given.paper.data.replace("DIR", str(tmp_path))
    work = study.Work(given, given.paper, data, range(3), tmp_path)
    for optimizer in work.arms.values():
        recipe = work.recipe(optimizer, 0)
        assert (recipe.model, recipe.epochs) == ("resnet18", 200)
    assert f"--size paper --data {given.paper.data}" in study.command(given, given.paper, 3)
