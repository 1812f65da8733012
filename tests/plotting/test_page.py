"""The page of a figure."""

from landscape.plotting.page import page
from landscape.plotting.style import paper


def test_a_notebook_shows_a_page_as_wide_as_it_is():
    with paper():
        figure, _ = page(1, venue="icml", width="column")
    data, size = figure._repr_png_()
    assert data.startswith(b"\x89PNG")
    assert size == {"width": round(96 * figure.get_size_inches()[0])}
