"""The interactive page is one HTML file with the numbers of the surfaces, and loads nothing from elsewhere."""

import json
import re

import numpy as np
import pytest

from landscape.errors import UsageError
from landscape.plotting.interactive import page_numbers, save_page
from landscape.records.landmarks import Landmarks


@pytest.fixture
def with_path(bowl):
    import dataclasses

    path = Landmarks(np.array([[2.0, 0.0], [0.05, 0.05], [0.0, 0.0]]), np.zeros(3), ("far", "near", "end"))
    return dataclasses.replace(bowl(holes=True), trajectory=path)


def test_the_page_loads_nothing_from_anywhere(with_path, tmp_path):
    text = save_page([with_path, with_path], ["SGD", "</script><b>"], tmp_path / "x.html").read_text()
    tags = re.findall(
        r"<(?:script|link|img|iframe)\b[^>]*>", text.split("<script>")[0] + text.rsplit("</script>", 2)[-1]
    )
    assert tags == ['<link rel="icon" href="data:,">', '<script type="application/json" id="numbers">']
    assert not re.search(r"@import|url\(\s*['\"]?http", text.split("<script>")[0])
    assert text.count("</script>") == 3
    assert "</script><b>" not in text


def test_the_page_has_the_losses_with_null_where_there_is_none(with_path):
    numbers = json.loads(page_numbers([with_path], ["a"]))
    [panel] = numbers["panels"]
    shown = np.array(panel["loss"], dtype=np.float64)
    finite = np.isfinite(with_path.loss)
    assert np.array_equal(shown[finite], with_path.loss[finite])
    assert np.isnan(shown[~finite]).all()
    assert numbers["logarithmic"] is True
    [path] = panel["paths"]
    assert path["loss"][0] is None
    # On the drawn surface, which is linear between points: the mean of the four around.
    assert path["loss"][1] == pytest.approx(float(with_path.loss[10:12, 10:12].mean()))
    assert path["loss"][2] == pytest.approx(0.01)


def test_the_script_uses_only_elements_that_the_page_has(bowl, tmp_path):
    head, _, script = (
        save_page([bowl()], [], tmp_path / "x.html").read_text(encoding="utf-8").rpartition("<script>")
    )
    used = set(re.findall(r'getElementById\("(\w+)"\)', script))
    assert used == {"numbers", "plot", "scale"}
    assert all(f'id="{name}"' in head for name in used)


def test_the_same_surfaces_give_the_same_bytes(bowl, tmp_path):
    pages = [save_page([bowl()], [], tmp_path / name).read_bytes() for name in ("a.html", "b.html")]
    assert pages[0] == pages[1]


def test_lines_and_runs_have_no_page(tmp_path):
    with pytest.raises(UsageError, match=r"\.html is for surfaces on a plane"):
        save_page([], [], tmp_path / "x.html")
    assert not (tmp_path / "x.html").exists()
