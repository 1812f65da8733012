"""The flags of how figures look, as a user types them."""

import struct

import pytest
from command_line import landscape as landscape


@pytest.fixture
def surface(bowl, tmp_path):
    bowl(holes=True).save(tmp_path / "s.npz")
    return "s.npz"


def test_flags_say_how_a_picture_looks_and_the_caption_repeats_them(landscape, surface, tmp_path):
    flags = ("--cmap", "magma", "--vmax", "5", "--linear", "--dpi", "100", "--size", "3x2.5")
    pictures = []
    for name in ("a.png", "b.png"):
        assert landscape("plot", surface, *flags, "-o", name).code == 0
        pictures.append((tmp_path / name).read_bytes())
    assert pictures[0] == pictures[1]
    assert struct.unpack(">II", pictures[0][16:24]) == (300, 250)
    text = (tmp_path / "a.txt").read_text()
    assert "Clipped and dotted: values above 5." in text
    assert f"Drawn by `landscape plot s.npz {' '.join(flags)} -o a.png`." in text
    assert "Hatched: 21 points" in text


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--size", "3"), "--size 3 is not two numbers such as 3.25x2.5"),
        (("--view", "30;60"), "--view 30;60 is not two numbers such as 35,-60"),
        (
            ("--cmap", "jet"),
            "--cmap jet: equal steps would look unequal, because its lightness does not go in one direction",
        ),
        (("--cmap", "magmaa"), "no such colour map (did you mean 'magma'?)"),
        (("--vmin", "3", "--vmax", "3"), "--vmin 3 is not below --vmax 3"),
        (("--log", "--vmin", "0"), "--log --vmin 0: a logarithmic scale needs limits above 0"),
        (("--dpi", "1"), "--dpi 1 is not between 30 and 1200"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(landscape, surface, tmp_path, flags, says):
    result = landscape("plot", surface, *flags)
    assert result.code == 2
    assert says in result.error
    assert [path.name for path in tmp_path.iterdir()] == ["s.npz"]


@pytest.mark.parametrize(
    "flags",
    [
        ("--cmap", "jet"),
        ("--vmin", "nan"),
        ("--plane", "interpolation", "--view", "30,60"),
        ("-o", "page.html", "--view", "30,60"),
    ],
)
def test_a_surface_is_not_computed_for_a_figure_that_cannot_be_drawn(landscape, flags):
    result = landscape("surface", "absent.pt", "also-absent.pt", *flags)
    assert result.code == 2
    assert flags[-2] in result.error
