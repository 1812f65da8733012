"""An optimizer has one colour in every figure, and series are told apart by the colour-blind and in print."""

import itertools

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from landscape.plotting.series import COLOURS, Series, colour_of

# Machado, Oliveira and Fernandes 2009, severity 1.
VISION = {
    "normal": np.eye(3),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]
    ),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
}


def lab(colour, seen):
    """CIELAB of a colour as somebody sees it."""
    srgb = np.array(to_rgb(colour))
    linear = np.clip(seen @ np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4), 0, 1)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    ratio = np.array(to_xyz) @ linear / (0.9505, 1.0, 1.089)
    x, y, z = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize(("vision", "least"), [("normal", 20), ("deuteranopia", 12), ("protanopia", 12)])
def test_colours_are_apart_for_everybody(vision, least):
    seen = [lab(colour, VISION[vision]) for colour in COLOURS.values()]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > least


def test_an_optimizer_has_one_colour_however_it_is_written_and_whatever_else_is_drawn():
    for writings in (
        ("sam", "SAM", "sam:rho=0.1", "SAM (ρ = 0.1)", "sam-3"),
        ("cr-sam", "CR-SAM", "cr-sam:rho=1"),
    ):
        assert len({colour_of(text) for text in writings}) == 1
    alone, among = Series(["gsam:rho=0.1"]), Series(["sgd", "my-net", "sam", "gsam:rho=0.1", "asam"])
    assert alone["gsam:rho=0.1"] == among["gsam:rho=0.1"]
    assert alone["gsam:rho=0.1"].colour == COLOURS["gsam"].lower()
    assert colour_of("my-net") == colour_of("my-net") != COLOURS["sgd"]
    assert colour_of("my-net", "black") == "black"


def test_settings_of_one_optimizer_are_shades_with_markers_of_their_own():
    names = [f"sam:rho={k}" for k in range(6)]
    looks = [Series(names)[name] for name in names]
    assert len({look.colour for look in looks}) == len({look.marker for look in looks}) == 6
    lightness = [lab(look.colour, np.eye(3))[0] for look in looks]
    assert lightness == sorted(lightness)
    assert lightness[-1] < 85


def test_no_two_series_look_alike():
    names = [f"network {k}" for k in range(9)] + [f"net{k}" for k in range(30)] + list(COLOURS)
    looks = Series(names)
    assert len({(looks[name].colour, looks[name].marker) for name in names}) == len(names)


def test_a_legend_has_names_as_papers_write_them():
    looks = Series(["gsam:rho=0.1", "my-net"])
    for keys in (looks.lines(), looks.dots(), looks.keys()):
        assert [key.get_label() for key in keys] == ["GSAM (ρ = 0.1)", "my-net"]
