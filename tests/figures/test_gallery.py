"""The figures of the gallery are drawn of the committed numbers, and show what their README says."""

import importlib
import re
import sys
from pathlib import Path

import numpy as np
import pytest

FIGURES = Path(__file__).parents[2] / "figures"
NAMES = sorted(path.stem for path in FIGURES.glob("*.py") if path.stem != "gallery")


@pytest.fixture
def gallery(monkeypatch):
    monkeypatch.syspath_prepend(str(FIGURES))
    yield importlib.import_module
    for name in (*NAMES, "gallery"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_is_drawn_of_kilobytes_and_in_the_readme(gallery, name):
    script, numbers = gallery(name), gallery("gallery").load(name)
    assert name == script.NAME
    assert (FIGURES / "data" / f"{name}.json").stat().st_size < 40_000
    assert (FIGURES / f"{name}.png").is_file()
    assert callable(script.recompute)
    figure = script.draw(numbers)
    assert figure.get_size_inches()[0] in (5.5, 3.25)
    readme = (FIGURES / "README.md").read_text(encoding="utf-8")
    assert f"]({name}.png)" in readme
    assert f"python figures/{name}.py --recompute" in readme


def test_every_image_of_the_readme_is_there():
    for image in re.findall(r"\]\(([^)]+\.png)\)", (FIGURES / "README.md").read_text(encoding="utf-8")):
        assert (FIGURES / image).is_file(), image


def test_the_perturbed_loss_orders_three_minima_otherwise_than_their_sharpness(gallery):
    first, second, third = gallery("gallery").load("gsam_three_minima")["minima"]
    assert first["eigenvalue"] > second["eigenvalue"] > third["eigenvalue"]
    assert first["gap"] > second["gap"] > third["gap"]
    assert first["perturbed"] < second["perturbed"] > third["perturbed"]


def test_the_gap_is_half_the_eigenvalue_times_the_radius_squared(gallery):
    found = gallery("gallery").load("gsam_gap_eigenvalue")
    points = [point for points in found.values() for point in points]
    ratio = np.array([p["highest"] / (p["eigenvalue"] * 0.05**2 / 2) for p in points])
    assert np.all((ratio > 0.8) & (ratio < 1.3))
