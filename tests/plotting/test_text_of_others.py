"""Names from files appear literally in figures, captions and pages, whatever TeX or HTML would make of them."""

import dataclasses
import json
import re
import xml.etree.ElementTree as ElementTree

import matplotlib
import numpy as np
import pytest
from records_made import run

from landscape.plotting import save_figure
from landscape.plotting.figure_options import FigureOptions
from landscape.plotting.interactive import save_page
from landscape.plotting.kinds import KINDS, draw_figure
from landscape.plotting.sources import Run
from landscape.records.landmarks import Landmarks

NAME = "$\\frac{$ \x1b[31m\x00 <b>%\\input{x}$$"
SHOWN = r"$\frac{$ \u001b[31m\u0000 <b>%\input{x}$$"

GRID = np.linspace(-1, 9, 30)
DENSITY = {"grid": GRID.tolist(), "density": np.exp(-(GRID**2)).tolist(), "density_error": [0.01] * 30}
NORMAL = np.linspace(-2, 2, 21)
BLOCKS = {
    "blocks": [NAME],
    "grid": GRID.tolist(),
    "densities": [DENSITY["density"]],
    "density_errors": None,
    "distances": [[0.0]],
}
NOISE = {"qq": {"theoretical": NORMAL.tolist(), "ordered": (3 + NORMAL).tolist()}, "normality_p": 0.25}


def record(measure, details=None, **fields):
    return run(
        0.5,
        measure=measure,
        unit=NAME,
        optimizer=NAME,
        model=NAME,
        data=NAME,
        details=details or {},
        **fields,
    )


@pytest.fixture
def sources(bowl, tmp_path):
    labels = [NAME, NAME]
    surface = bowl(loss=NAME, label=NAME, source=NAME, command=NAME)
    meta = {**surface.meta, "plane": {**surface.meta["plane"], "labels": labels, "kind": NAME}}
    ends = Landmarks(np.array([[0.9, 0.9], [0.0, 0.0]]), np.zeros(2), (NAME, NAME + "2"))
    plane = dataclasses.replace(surface, meta=meta, markers=ends, trajectory=ends)
    line = dataclasses.replace(
        plane,
        y=np.zeros(1),
        loss=plane.loss[:1],
        computed=plane.computed[:1],
        test_loss=plane.loss[:1] + 1,
        markers=dataclasses.replace(ends, coordinates=np.array([[0.9], [0.0]])),
        trajectory=None,
    )
    epochs = tuple({"epoch": float(k), f"train_{NAME}": 1 / k, f"test_{NAME}": 2 / k} for k in (1, 2, 3))
    compared = tuple(record(m, seed=s, split=NAME) for s in (0, 1) for m in (NAME, "loss"))
    return {
        "filled": [plane, plane],
        "contour": [plane],
        "relief": [plane, plane],
        "difference": [plane, plane],
        "line": [line],
        "basins": [plane],
        "history": [Run(tmp_path, NAME, epochs), Run(tmp_path, NAME + "2", epochs)],
        "timeline": [Run(tmp_path, NAME, epochs)],
        "dots": [Run(tmp_path, NAME, records=compared)],
        "spectrum": [Run(tmp_path, NAME, records=(record("spectral-density", DENSITY),))] * 2,
        "quantiles": [Run(tmp_path, NAME, records=(record("gradient-noise", NOISE),))],
        "blocks": [Run(tmp_path, NAME, records=(record("block-spectra", BLOCKS),))],
    }


MEASURES = {"spectrum": ("spectral-density",), "quantiles": ("gradient-noise",), "blocks": ("block-spectra",)}


@pytest.mark.parametrize("kind", KINDS)
def test_a_strangers_names_are_drawn_as_they_are(sources, kind, tmp_path, recwarn):
    given = sources[kind]
    wish = FigureOptions(names=[NAME] * len(given), measures=MEASURES.get(kind, ()), command=NAME)
    drawing = draw_figure(given, wish, kind)
    texts = [text for text in drawing.figure.findobj(matplotlib.text.Text) if "frac" in text.get_text()]
    assert texts
    for text in texts:
        shown, as_formula = text._preprocess_math(text.get_text())
        assert SHOWN in shown
        assert not as_formula
    for suffix in ("svg", "pdf", "png"):
        save_figure(drawing.figure, tmp_path / f"f.{suffix}", caption=drawing.caption)
    ElementTree.parse(tmp_path / "f.svg")
    for suffix in ("txt", "tex"):
        assert "\x1b" not in (tmp_path / f"f.{suffix}").read_text()
    assert r"\input" not in (tmp_path / "f.tex").read_text()
    assert not [warning for warning in recwarn if "missing from" in str(warning.message)]


def test_our_own_powers_of_ten_are_still_formulas(bowl):
    drawing = draw_figure([bowl(scale=1e6)], FigureOptions(), "filled")
    texts = [text.get_text() for text in drawing.figure.findobj(matplotlib.text.Text)]
    assert any("10^{" in text and text.startswith("$") for text in texts)


def test_a_page_shows_names_and_runs_nothing_of_them(sources, tmp_path):
    page = save_page(
        sources["filled"], [NAME, "<img src=x onerror=alert(1)>"], tmp_path / "p.html"
    ).read_text()
    own = page.split("<script>")[0]
    for piece in ("<b>%", "<img", "\x1b", "\x00"):
        assert piece not in own
    panel = json.loads(own.split('id="numbers">')[1].split("</script>")[0])["panels"][0]
    assert set(re.findall(r"<[^>]*>", json.dumps(panel))) == {"<br>"}
    assert "&lt;img src=x onerror=alert(1)&gt;" in own
