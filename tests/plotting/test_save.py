"""Saved figures have the exact size, embedded fonts and the same bytes each time."""

import os
import re
import struct
import subprocess
import sys

import matplotlib
import numpy as np
import pytest

from landscape.errors import UsageError
from landscape.plotting import VENUES, caption, contour, panels, save_figure
from landscape.plotting.history import Curve, history_panels
from landscape.plotting.style import paper


@pytest.fixture(scope="module")
def surfaces(bowl):
    return [bowl(), bowl(scale=4.0, holes=True)]


@pytest.fixture(scope="module")
def figure(surfaces):
    """Two panels of a column; laying them out takes a second."""
    return panels(surfaces, ["SGD", "SAM"])


@pytest.mark.parametrize("venue", ["icml", "jmlr"])
def test_pdf_page_is_exactly_as_wide_as_the_venue_says(surfaces, tmp_path, venue):
    figure = panels(surfaces[:1], venue=venue, width="text")
    # A user who asks for tight boxes everywhere must not get another page here.
    with matplotlib.rc_context({"savefig.bbox": "tight", "pdf.fonttype": 3}):
        save_figure(figure, tmp_path / "f.pdf")
    content = (tmp_path / "f.pdf").read_bytes()
    box = re.search(rb"/MediaBox \[ ?0 0 ([\d.]+) ([\d.]+)", content)
    width, height = (float(side) / 72 for side in box.groups())
    assert width == pytest.approx(VENUES[venue].text, abs=1e-6)
    assert height == pytest.approx(figure.get_size_inches()[1], abs=1e-6)


def test_pdf_embeds_truetype_fonts_only(figure, tmp_path):
    save_figure(figure, tmp_path / "f.pdf")
    content = (tmp_path / "f.pdf").read_bytes()
    kinds = set(re.findall(rb"/Subtype /(Type0|Type1|Type3|TrueType|CIDFontType\d)", content))
    assert kinds == {b"Type0", b"CIDFontType2"}
    assert content.count(b"/FontFile2") == content.count(b"/Type /FontDescriptor") > 0
    assert b"STIXGeneral" in content


def test_bands_of_a_pdf_are_an_image_and_lines_are_not(figure, tmp_path):
    save_figure(figure, tmp_path / "f.pdf")
    assert (tmp_path / "f.pdf").read_bytes().count(b"/Subtype /Image") >= 2


def test_png_has_the_size_of_the_page(surfaces, tmp_path):
    figure = panels(surfaces, venue="icml")
    save_figure(figure, tmp_path / "f.png")
    width, height = struct.unpack(">II", (tmp_path / "f.png").read_bytes()[16:24])
    assert width == round(3.25 * 300)
    assert height == pytest.approx(figure.get_size_inches()[1] * 300, abs=1)


def test_svg_has_the_size_of_the_page_and_needs_no_font(surfaces, tmp_path):
    save_figure(panels(surfaces, venue="icml"), tmp_path / "f.svg")
    content = (tmp_path / "f.svg").read_text()
    assert 'width="234pt"' in content
    assert "<text" not in content


_DRAW = """
import sys
from landscape.plotting import caption, panels, save_figure
from landscape.records.surface import Surface
surfaces = [Surface.load(path) for path in sys.argv[2:]]
figure = panels(surfaces, ["SGD", "SAM"])
for kind in ("pdf", "svg", "png"):
    save_figure(figure, f"{sys.argv[1]}/f.{kind}", caption=caption(*surfaces))
sys.exit(sum(name in sys.modules for name in ("torch", "matplotlib.pyplot")))
"""


@pytest.mark.thorough
def test_two_processes_write_the_same_bytes_without_torch_or_pyplot(surfaces, tmp_path):
    inputs = []
    for index, surface in enumerate(surfaces):
        inputs.append(str(tmp_path / f"{index}.npz"))
        surface.save(inputs[-1])
    for seed in ("1", "2"):
        (tmp_path / seed).mkdir()
        environment = {**os.environ, "PYTHONHASHSEED": seed, "TZ": f"UTC+{seed}"}
        command = [sys.executable, "-c", _DRAW, str(tmp_path / seed), *inputs]
        assert subprocess.run(command, env=environment, check=False).returncode == 0
    names = sorted(path.name for path in (tmp_path / "1").iterdir())
    assert names == ["f.pdf", "f.png", "f.svg", "f.tex", "f.txt"]
    for name in names:
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes(), name


def test_same_figure_saved_twice_has_the_same_bytes(figure, tmp_path):
    for name in ("a.pdf", "b.png", "c.pdf"):
        save_figure(figure, tmp_path / name)
    assert (tmp_path / "a.pdf").read_bytes() == (tmp_path / "c.pdf").read_bytes()


def test_settings_at_the_time_of_saving_change_nothing(tmp_path):
    """The ticks of a logarithmic axis are placed, and more of them made, when the figure is saved."""
    loss = np.geomspace(1e5, 1e7, 20)
    curves = [Curve(label="sgd", split="train", x=np.arange(20.0), y=loss)]
    figures = [history_panels({"loss": curves, "again": curves}) for _ in range(3)]
    with paper():
        save_figure(figures[0], tmp_path / "inside.png")
    save_figure(figures[1], tmp_path / "outside.png")
    with matplotlib.rc_context(
        {"ytick.labelsize": 30, "font.family": "DejaVu Sans", "savefig.bbox": "tight"}
    ):
        save_figure(figures[2], tmp_path / "settings.png")
    assert [label.get_text() for label in figures[1].axes[0].get_yticklabels()].count("") == 0
    inside, *others = [(tmp_path / f"{name}.png").read_bytes() for name in ("inside", "outside", "settings")]
    assert others == [inside, inside]


def test_caption_is_written_beside_the_figure(surfaces, tmp_path):
    written = save_figure(contour(surfaces[0]).figure, tmp_path / "f.pdf", caption=caption(surfaces[0]))
    assert [path.name for path in written] == ["f.pdf", "f.txt", "f.tex"]
    assert (tmp_path / "f.txt").read_text().startswith("Loss of resnet20 on cifar10")
    assert (tmp_path / "f.tex").read_text().startswith(r"\caption{Loss of resnet20")


@pytest.mark.parametrize("name", ["f.jpg", "f", "f.npz"])
def test_unknown_format_is_refused_and_nothing_is_written(figure, tmp_path, name):
    with pytest.raises(UsageError, match=r"end it in \.pdf, \.svg or \.png"):
        save_figure(figure, tmp_path / name, caption="…")
    assert not list(tmp_path.iterdir())


def test_rcparams_are_not_changed_by_saving(figure, tmp_path):
    before = dict(matplotlib.rcParams)
    save_figure(figure, tmp_path / "f.pdf")
    assert dict(matplotlib.rcParams) == before
