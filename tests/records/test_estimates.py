"""Estimates read by name, and shown in a notebook."""

import pytest
from records_made import estimate, run

from landscape.records import Estimates


@pytest.fixture
def found():
    return Estimates(
        [
            run(1.5, measure="hessian-trace"),
            run(2.0, measure="surrogate-gap", settings={"rho": 0.1, "mode": "exact"}),
            run(3.0, measure="surrogate-gap", settings={"rho": 0.05, "mode": "exact"}),
        ]
    )


def test_it_is_a_list_that_is_also_read_by_name(found):
    assert found["hessian-trace"] is found[0]
    assert found["surrogate-gap:rho=0.1"] is found[1]
    assert found["surrogate-gap:rho=5e-2,mode=exact"] is found[2]
    assert [e.value for e in found[1:]] == [2.0, 3.0]
    assert isinstance(found, list)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("hesian", "there are hessian-trace, surrogate-gap"),
        ("surrogate-gap", "2 estimates are of it"),
        ("surrogate-gap:rho=7", "there are"),
        ("hessian-trace:rho=0.1", "there are"),
    ],
)
def test_a_name_that_is_none_or_several_is_a_key_error(found, key, words):
    with pytest.raises(KeyError, match=words):
        found[key]


def test_a_notebook_shows_a_table_in_which_nothing_of_a_stranger_acts(found):
    strange = run(1.0, measure="<script>", unit="a&b")
    html = Estimates([*found, strange, estimate()])._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert "a&amp;b" in html
    assert html.count("<tr>") == 6
