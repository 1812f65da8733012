"""A table has the means, spreads and sampling errors of its records, and refuses records that are no repetitions."""

import csv
import io
import json
import math
import re
import statistics
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from records_made import run

from landscape.comparison import compare, refuse_unlike
from landscape.errors import InputError
from landscape.tables import rounded

VALUES = (31.5, 35.25, 40.125)


def three(errors=(None, None, None), **fields):
    return [run(v, seed=s, error=e, **fields) for s, (v, e) in enumerate(zip(VALUES, errors, strict=True))]


def test_mean_and_spread_are_numpys_over_the_seeds():
    cell = compare(three()).cells["sgd", "hessian-trace"]
    assert cell.values == VALUES
    assert cell.mean == pytest.approx(np.mean(VALUES), rel=1e-15)
    assert cell.spread == pytest.approx(np.std(VALUES, ddof=1), rel=1e-15)
    assert cell.spread == pytest.approx(statistics.stdev(VALUES), rel=1e-15)


def test_the_sampling_error_of_the_mean_is_apart_from_the_spread():
    table = compare(three(errors=(0.3, 0.4, 1.2)))
    cell = table.cells["sgd", "hessian-trace"]
    assert cell.monte_carlo == pytest.approx(1.3 / 3)
    assert cell.spread == pytest.approx(np.std(VALUES, ddof=1))
    assert "from sampling alone, at most: Tr H 0.43" in " ".join(table.text(verbose=True).split())
    assert compare(three()).cells["sgd", "hessian-trace"].monte_carlo is None


def test_one_seed_has_no_spread():
    table = compare([run(1.25)])
    assert table.cells["sgd", "hessian-trace"].spread is None
    assert "n = 1" in table.text()
    assert "±" not in table.text().splitlines()[1]


def test_rows_and_columns_are_in_the_order_of_the_records():
    table = compare(
        [
            run(1.0, optimizer="sgd", measure="loss"),
            run(2.0, optimizer="asam", measure="accuracy"),
            run(3.0, optimizer="asam", measure="loss"),
        ]
    )
    assert table.rows == ("sgd", "asam")
    assert table.columns == ("loss", "accuracy")
    assert ("sgd", "accuracy") not in table.cells
    assert "–" in table.text()


def test_the_latest_record_of_a_checkpoint_counts():
    table = compare([run(1.0), run(2.0, seed=1), run(5.0)])
    assert table.cells["sgd", "hessian-trace"].values == (5.0, 2.0)


def test_a_measure_with_two_settings_gets_two_columns_named_by_what_differs():
    settings = [{"rho": 0.05, "seed": 0}, {"rho": 0.1, "seed": 0}]
    taken = [
        run(v, seed=s, measure="gap", settings=x)
        for s in (0, 1)
        for v, x in zip((1.0, 2.0), settings, strict=True)
    ]
    table = compare(taken)
    assert table.columns == ("gap:rho=0.05", "gap:rho=0.1")
    assert table.cells["sgd", "gap:rho=0.1"].values == (2.0, 2.0)


def test_any_field_of_the_recipe_can_make_the_rows():
    table = compare([run(1.0, lr=0.1), run(2.0, lr=0.5)], rows="lr")
    assert table.rows == ("0.1", "0.5")
    assert table.heading == "lr"


def test_models_of_several_sizes_can_be_rows_and_nothing_else_can():
    sizes = [run(1.0, model="mlp:width=8", dimension=610), run(2.0, model="mlp:width=9", dimension=700)]
    assert compare(sizes, rows="model").rows == ("mlp:width=8", "mlp:width=9")
    with pytest.raises(InputError, match="differ in dimension"):
        compare(sizes, rows="optimizer")


@pytest.mark.parametrize("field", ["parameters", "frozen"])
def test_numbers_of_some_parameters_are_not_mixed_with_those_of_all(field):
    whole, part = run(1.0), run(2.0, seed=1)
    part = replace(part, provenance=replace(part.provenance, dimension=80, **{field: "head.*"}))
    with pytest.raises(InputError, match=rf"differ in {field} \(None and head\.\*\)"):
        compare([whole, part])
    with pytest.raises(InputError, match=f"differ in {field}"):  # of one run as well
        compare(
            [
                whole,
                replace(part, provenance=replace(part.provenance, checkpoint=whole.provenance.checkpoint)),
            ]
        )
    says = "free parameters: head.*" if field == "parameters" else "as they require no gradient: head.*"
    assert says in " ".join(compare([part]).text().split())


@pytest.mark.parametrize(
    ("field", "other"), [("data", "moons"), ("split", "test"), ("num_examples", 100), ("dimension", 7)]
)
def test_unlike_records_are_refused_and_the_field_is_named(field, other):
    with pytest.raises(InputError, match=rf"differ in {field} \(.* and {other}\)"):
        refuse_unlike([run(1.0), run(1.0, seed=1, **{field: other})])


def test_two_of_the_values_in_which_records_differ_are_named():
    records = [run(1.0, seed=k, num_examples=100 * k) for k in (1, 2, 3)]
    with pytest.raises(InputError, match=r"num_examples \(100 and 200\)"):
        refuse_unlike(records)


def test_runs_that_differ_in_more_than_the_seed_are_not_averaged():
    with pytest.raises(InputError, match=r"row 'sgd' differ in lr \(0.1 and 0.5\).*--by optimizer,lr"):
        compare([run(1.0), run(2.0, seed=1, lr=0.5)])


def test_two_checkpoints_of_one_run_are_no_repetition():
    with pytest.raises(InputError, match="2 checkpoints of the run with seed 0"):
        compare([run(1.0, checkpoint="epoch 1"), run(2.0, checkpoint="epoch 2")])


def test_nothing_to_compare_and_a_field_that_is_not_there_are_said():
    with pytest.raises(InputError, match="nothing to compare"):
        compare([])
    with pytest.raises(InputError, match=r"no recipe field 'width' \(fields: model, data, optimizer"):
        compare([run(1.0)], rows="width")
    elsewhere = run(1.0)
    elsewhere = replace(elsewhere, provenance=replace(elsewhere.provenance, recipe=None))
    with pytest.raises(InputError, match="not written by `landscape train`; name the rows with --group"):
        compare([elsewhere])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_stays_what_it_is_in_every_format(bad):
    table = compare(
        [run(1.0), run(bad, seed=1), run(1.0, optimizer="sam"), run(2.0, optimizer="sam", seed=1)]
    )
    cell = table.cells["sgd", "hessian-trace"]
    assert cell.mean == bad or math.isnan(cell.mean) == math.isnan(bad)
    assert math.isnan(cell.spread)
    shown = {"nan": "NaN", "inf": "inf", "-inf": "−inf"}[str(bad)]
    assert shown in table.text()
    assert shown in table.markdown()
    latex = {"nan": r"$\mathrm{NaN}$", "inf": r"$\infty$", "-inf": r"$-\infty$"}[str(bad)]
    assert latex in table.latex()
    cells = json.loads(json.dumps(table.as_dict(), allow_nan=False))["cells"]
    assert cells[0]["mean"] == {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(bad)]
    assert str(next(csv.DictReader(io.StringIO(table.csv())))["mean"]) == str(bad)


def test_what_did_not_converge_is_marked_and_explained_wherever_it_is_shown():
    table = compare([run(1.0), run(2.0, seed=1, converged=False), run(3.0, optimizer="sam", converged=True)])
    assert re.search(r"1\.50 ± 0\.71†", table.text())
    assert "† not converged" in table.text()
    assert "†" in table.markdown()
    assert r"^{\dagger}$" in table.latex()
    assert table.cells["sam", "hessian-trace"].converged


def test_csv_comes_back_as_the_same_numbers():
    table = compare([*three(errors=(0.1, 0.2, 0.3)), run(7.0, optimizer='od,"d')])
    rows = list(csv.DictReader(io.StringIO(table.csv())))
    assert [row["optimizer"] for row in rows] == ["sgd", 'od,"d']
    cell = table.cells["sgd", "hessian-trace"]
    assert float(rows[0]["mean"]) == cell.mean
    assert float(rows[0]["std"]) == cell.spread
    assert float(rows[0]["monte_carlo_error"]) == cell.monte_carlo
    assert (rows[0]["n"], rows[1]["n"], rows[1]["std"]) == ("3", "1", "")


def test_json_says_the_same_as_the_cells():
    table = compare(three(errors=(0.1, 0.2, 0.3)))
    [cell] = json.loads(json.dumps(table.as_dict()))["cells"]
    held = table.cells["sgd", "hessian-trace"]
    assert cell["optimizer"] == "sgd"
    assert (cell["mean"], cell["std"], cell["monte_carlo_error"]) == (
        held.mean,
        held.spread,
        held.monte_carlo,
    )


def test_markdown_is_a_pipe_table_with_as_many_cells_in_each_line():
    lines = compare([run(1.0, measure="loss"), run(2.0, measure="accuracy")]).markdown().splitlines()
    assert lines[1] == "| --- | --- | --- |"
    assert {line.count("|") for line in lines[:3]} == {4}


def many(columns, rows):
    return compare(
        [
            run(
                100 * s + r + 0.123, seed=s, optimizer=f"optimizer{r}:rho=0.05", measure=f"measure-number-{c}"
            )
            for c in range(columns)
            for r in range(rows)
            for s in (0, 1)
        ]
    )


@pytest.mark.parametrize(("columns", "rows"), [(1, 1), (2, 2), (9, 2), (9, 9), (1, 9), (30, 1)])
def test_a_table_of_any_size_fits_a_terminal_of_80_columns_and_shows_every_cell(columns, rows):
    text = many(columns, rows).text()
    assert max(map(len, text.splitlines())) <= 80
    assert text.count("±") == columns * rows + 1
    assert all(f"measure-number-{c}" in text for c in range(columns))


SPECIAL = r"sam_x:rho=5%&{#$}~^\ "


def test_latex_escapes_every_character_that_it_would_take_for_a_command():
    latex = compare([run(1.0, optimizer=SPECIAL)]).latex()
    expected = r"sam\_x:rho=5\%\&\{\#\$\}\textasciitilde{}\textasciicircum{}\textbackslash{} "
    assert f"\n{expected} & " in latex


def test_latex_is_balanced_and_has_as_many_cells_in_each_row_as_columns():
    latex = many(3, 4).latex()
    assert latex.count(r"\begin{tabular}{lrrr}") == latex.count(r"\end{tabular}") == 1
    body = latex.split(r"\midrule")[1].split(r"\bottomrule")[0].strip().splitlines()
    assert len(body) == 4
    assert all(line.count(" & ") == 3 and line.endswith(r"\\") and line.count("$") % 2 == 0 for line in body)
    bare = latex.replace(r"\{", "").replace(r"\}", "")
    assert bare.count("{") == bare.count("}")
    assert not any("±" in line or "†" in line for line in latex.splitlines() if not line.startswith("%"))


def test_latex_writes_powers_of_ten_as_powers():
    assert r"$(1.50 \pm 0.71) \times 10^{-9}$" in compare([run(1e-9), run(2e-9, seed=1)]).latex()
    assert r"$(1.50 \pm 0.71) \times 10^{9}$" in compare([run(1e9), run(2e9, seed=1)]).latex()
    assert r"$1.234 \times 10^{-7}$" in compare([run(1.234e-7)]).latex()


@pytest.mark.parametrize(
    ("value", "doubt", "shown"),
    [
        (35.2345, 2.718, "35.2 ± 2.7"),
        (35.2345, 0.0996, "35.23 ± 0.10"),
        (-0.00123456, 0.0000987, "-0.001235 ± 0.000099"),
        (123456.7, 2345.6, "123500 ± 2300"),
        (7.0, 123.4, "10 ± 120"),
        (1.5e-9, 7.1e-10, "(1.50 ± 0.71)e-9"),
        (-3.21e12, 4.5e9, "(-3.2100 ± 0.0045)e12"),
        (0.0, 3e-7, "(0.0 ± 3.0)e-7"),
        (0.992835, 0.0000541, "0.992835 ± 0.000054"),
        (1.30718, 0.0, "1.307"),
        (1.30718, None, "1.307"),
        (1.30718, math.nan, "1.307"),
        (1.234567891, 1e-12, "1.23456789 ± 1.0e-12"),
        (math.nan, 1.0, "NaN"),
        (math.inf, None, "inf"),
        (-math.inf, 2.0, "-inf"),
        (5e-324, 5e-324, "(4.9 ± 4.9)e-324"),
        (1.7e308, 1e307, "(1.70 ± 0.10)e308"),
    ],
)
def test_the_doubt_has_two_digits_and_the_value_ends_at_the_same_place(value, doubt, shown):
    assert rounded(value, doubt) == shown


@given(value=st.floats(-1e12, 1e12), doubt=st.floats(1e-12, 1e12))
def test_rounding_moves_a_value_by_less_than_a_tenth_of_its_doubt(value, doubt):
    assume(doubt > 1e-9 * abs(value))
    text = rounded(value, doubt)
    numbers, power = re.fullmatch(r"\(?([^()]*)\)?(?:(?<=\))e(-?\d+))?", text).groups()
    a, b = (float(part) * 10.0 ** int(power or 0) for part in numbers.split(" ± "))
    assert abs(a - value) <= 0.0501 * doubt + 1e-15 * abs(value)
    assert abs(b - doubt) <= 0.0501 * doubt
    assert len(text) <= 34  # (-d.dddddddddd ± 0.dddddddddd)edd
