"""The notes of a table, and the width and validity of each output format."""

import json
import math
import re

import pytest
from pdflatex import needs_latex, typeset, widths
from records_made import run

from landscape.comparison import compare
from landscape.comparison.columns import PRESETS
from landscape.errors import InputError
from landscape.registry.names import split_of
from landscape.registry.venues import VENUES


def rows(values, **fields):
    return [run(v, seed=s, optimizer=o, **fields) for o, of in values.items() for s, v in enumerate(of)]


VALUES = {"sgd": (3.0, 3.1, 2.9, 3.05), "sam:rho=0.1": (2.0, 2.2, 1.9, 2.1)}


def test_what_else_differs_between_the_rows_is_said():
    records = [*rows({"sgd": VALUES["sgd"]}, lr=0.1), *rows({"sam": VALUES["sgd"]}, lr=0.5)]
    assert "the rows differ in lr too: sgd 0.1, sam 0.5" in compare(records).text()
    assert "rows differ" not in compare(rows(VALUES)).text()


def test_two_fields_make_rows_together():
    records = [run(1.0 + k, lr=lr, optimizer=o) for k, (o, lr) in enumerate([("sgd", 0.1), ("sgd", 0.5)])]
    assert compare(records, ["optimizer", "lr"]).rows == ("sgd lr=0.1", "sgd lr=0.5")
    with pytest.raises(InputError, match=r"row 'sgd' differ in lr \(0.1 and 0.5\)"):
        compare(records)


def test_a_run_that_is_not_a_number_is_named_and_the_mean_without_it_given():
    table = compare(rows({**VALUES, "sam:rho=0.1": (2.0, math.nan, 2.2, 2.1)}))
    text = " ".join(table.text().split())
    assert "Tr H is not finite in SAM (ρ = 0.1) seed 1; the other 3: 2.10 ± 0.10" in text
    assert "not finite in a run" in text
    assert table.leads() == []


def test_zero_variance_is_shown_as_such_and_decides_nothing():
    table = compare(rows({"sgd": (0.5,) * 3, "sam": (0.75,) * 3}, measure="accuracy"))
    assert "75 ± 0" in table.text()
    assert "? equal at all 3 seeds: no verdict" in " ".join(table.text().split())
    assert r"$75 \pm 0$" in table.latex()
    assert r"\mathbf" not in table.latex()


def test_one_seed_has_no_verdict():
    text = " ".join(compare(rows({"sgd": (1.0,), "sam": (2.0,)})).text().split())
    assert "one seed: no verdict" in text


def test_an_outlier_is_named_with_its_rule_and_stays_in_the_mean():
    values = (1.0, 1.01, 0.99, 1.02, 9.0)
    table = compare(rows({"sgd": values}))
    words = " ".join(table.text(verbose=True).split())
    assert "SGD seed 4 is an outlier in Tr H: 9 (Grubbs's test, 1 % level); it is in the mean" in words
    assert table.cells["sgd", "hessian-trace"].mean == pytest.approx(sum(values) / 5)


def test_how_many_intervals_exclude_zero_by_chance_is_said():
    records = [r for k in range(5) for r in rows(VALUES, measure=f"m{k}")]
    assert "of 5 intervals, about 0.2 exclude 0 by chance alone" in compare(records).text(verbose=True)


def test_rows_with_fewer_seeds_say_so_in_their_cells():
    table = compare(rows({"sgd": (1.0, 2.0, 3.0), "sam": (1.0, 2.0)}))
    assert re.search(r"SAM +1\.50 ± 0\.71 \(n=2\)", table.text())
    assert "n = 2 to 3" in table.text()


def test_markdown_has_as_many_cells_in_every_line_of_a_table():
    for block in compare(rows(VALUES)).markdown().split("\n\n"):
        if block.startswith("|"):
            assert len({re.sub(r"\\\|", "", line).count("|") for line in block.splitlines()}) == 1


def test_json_has_every_number_of_every_run_and_the_verdicts():
    found = json.loads(json.dumps(compare(rows(VALUES)).as_dict(), allow_nan=False))
    assert found["cells"][1]["values"] == list(VALUES["sam:rho=0.1"])
    [difference] = found["differences"]
    assert (difference["verdict"], difference["n"], difference["seeds"]) == ("lower", 4, [0, 1, 2, 3])
    assert difference["low"] < difference["difference"] < difference["high"] < 0
    assert found["leads"][0]["clear"]


def test_every_preset_is_of_measures_that_exist_or_of_the_history():
    from landscape.comparison.runs import OF_HISTORY
    from landscape.measures import MEASURES

    for name in PRESETS:
        parts = [split_of(column) for column in PRESETS.build(name)]
        assert all(measure in (OF_HISTORY if part is None else MEASURES) for part, measure in parts)


def preset_table(name):
    measures = [split_of(column)[1] for column in PRESETS.build(name)]
    return compare([r for measure in measures for r in rows(VALUES, measure=measure)])


@pytest.mark.parametrize("name", list(PRESETS))
def test_a_papers_table_is_well_formed_latex(name):
    latex = preset_table(name).latex()
    lines = [line for line in latex.splitlines() if not line.startswith("%")]
    assert all(line.isascii() for line in lines)
    body = [line for line in lines if line.endswith(r"\\")]
    assert len({len(re.findall(r"(?<!\\)&", line)) for line in body}) == 1
    for line in lines:
        bare = line.replace(r"\{", "").replace(r"\}", "")
        assert bare.count("{") == bare.count("}") or line == "}" or r"\parbox" in line
        assert bare.count("$") % 2 == 0
    assert [line for line in lines if "rule" in line] == [r"\toprule", r"\midrule", r"\bottomrule"]
    assert [line.partition("{")[0] for line in lines if line.startswith((r"\caption", r"\label"))] == [
        r"\caption",
        r"\label",
    ]


@needs_latex
def test_papers_tables_compile_within_the_column_of_a_venue(tmp_path):
    wide = [
        "accuracy",
        "loss",
        "gradient-norm",
        "surrogate-gap",
        "dominant-eigenvalue",
        "hessian-trace",
        "sam-share",
    ]
    values = {
        **VALUES,
        "gsam:rho=0.1,alpha=0.4": (1e-9, 2e-9, math.nan, 0.0),
        "my_own&{\\x}": (-5.0, 7e8, 1.0, 2.0),
    }
    many = compare([r for measure in wide for r in rows(values, measure=measure, converged=False)])
    tables = [*(preset_table(name) for name in PRESETS), many]
    for venue in ("neurips", "cvpr"):
        bodies = [table.latex(venue=venue, verbose=verbose) for table in tables for verbose in (False, True)]
        log = typeset(bodies, venue, tmp_path)
        assert "Overfull" not in log
        assert max(widths(log)) <= VENUES[venue].text * 72.27


def test_the_share_of_sam_steps_is_in_percent():
    records = rows({"sgd": (0.25, 0.25)}, measure="sam-share")
    assert "25 ± 0" in compare(records).text()
    assert "25 ± 0" in compare(records).markdown()
    assert "SAM steps (%)" in compare(records).text()
