"""The numbers of a table in every form: percent in what people read, fractions in what programs read."""

import csv
import io
import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from records_made import run
from scipy import stats

from landscape.comparison import compare
from landscape.comparison.forms import Rendering, rendered
from landscape.errors import UsageError
from landscape.tables.escaping import for_html
from landscape.tables.typesetting import bracketed

ACCURACIES = {
    "sgd": ((0.90, 0.91, 0.93), 0.01),
    "sam": ((0.95, 0.94, 0.97), 0.02),
    "asam": ((0.92, 0.93), None),
}


def accuracies(rows=ACCURACIES, **fields):
    return [
        run(value, seed=seed, optimizer=optimizer, measure="accuracy", error=error, **fields)
        for optimizer, (values, error) in rows.items()
        for seed, value in enumerate(values)
    ]


def test_the_text_of_a_table_of_accuracies_is_in_percent():
    assert compare(accuracies()).text().splitlines() == [
        "optimizer        accuracy (%)",
        "SGD                91.3 ± 1.5",
        "SAM                95.3 ± 1.5",
        "ASAM       92.50 ± 0.71 (n=2)",
        "",
        "Δ from SGD      accuracy (%)",
        "SAM         4.0 [1.5, 6.5] ↑",
        "ASAM               2 ? (n=2)",
        "",
        "mean ± standard deviation over runs, n = 2 to 3; digits train, 200 examples",
        "difference from SGD, paired by seed, 95 % t interval: ↑ higher (the interval",
        "  excludes 0), ? equal at all 2 seeds: no verdict",
    ]


def test_verbose_text_adds_every_verdict_the_leads_and_what_chance_and_sampling_do():
    table = compare(accuracies())
    assert table.text(verbose=True).removeprefix(table.text()).splitlines() == [
        "",
        "accuracy (%): SAM minus SGD 4.0 [1.5, 6.5], n = 3: higher",
        "accuracy (%): ASAM minus SGD 2, n = 2: equal at all 2 seeds: no verdict",
        "of 2 intervals, about 0.1 exclude 0 by chance alone",
        "accuracy (%): SAM is highest; ASAM is next: 2 seeds are too few, take 3 or more",
        "standard error of the means from sampling alone, at most: accuracy (%) 1.2",
    ]


def test_the_differences_are_in_percent_in_markdown_and_latex_too():
    table = compare(accuracies())
    assert "| SAM | 4.0 [1.5, 6.5] ↑ |" in table.markdown()
    assert "% accuracy (%): SAM minus SGD 4.0 [1.5, 6.5], n = 3: higher" in table.latex()
    assert r"SAM & $95.3 \pm 1.5$\rlap{$^{\uparrow}$} \\" in table.latex()


def test_a_clear_lead_has_its_interval_in_percent_and_a_loss_leads_from_below():
    rows = {"sgd": ACCURACIES["sgd"], "sam": ACCURACIES["sam"]}
    text = compare(accuracies(rows)).text(verbose=True)
    assert "accuracy (%): SAM is highest, distinguishable from SGD (4.0 [1.5, 6.5])" in text
    losses = [run(v, seed=s, optimizer=o) for o, (values, _) in rows.items() for s, v in enumerate(values)]
    text = compare(losses).text(verbose=True)
    assert "Tr H: SGD is lowest, distinguishable from SAM (−0.040 [−0.065, −0.015])" in text


def test_csv_has_the_paired_difference_and_its_interval_as_fractions():
    first, second, third = csv.DictReader(io.StringIO(compare(accuracies()).csv()))
    names = ("reference", "difference", "low", "high", "pairs", "verdict")
    assert [first[name] for name in names] == [""] * 6
    expected = stats.ttest_rel(ACCURACIES["sam"][0], ACCURACIES["sgd"][0]).confidence_interval(0.95)
    assert [float(second[name]) for name in names[1:4]] == pytest.approx([0.04, expected.low, expected.high])
    assert (second["reference"], second["pairs"], second["verdict"]) == ("sgd", "3", "higher")
    assert (third["pairs"], third["verdict"]) == ("2", "equal")
    assert {row["converged"] for row in (first, second, third)} == {"True"}
    lines = compare(accuracies()).csv().splitlines()
    assert {line.count(",") for line in lines} == {12}


def test_json_has_the_differences_and_leads_with_their_errors():
    table = compare(accuracies()).as_dict()
    [first, second] = table["differences"]
    values = np.subtract(ACCURACIES["sam"][0], ACCURACIES["sgd"][0])
    assert first["optimizer"] == "sam"
    assert first["difference"] == pytest.approx(values.mean())
    assert first["std"] == pytest.approx(values.std(ddof=1))
    assert first["monte_carlo_error"] == pytest.approx(math.hypot(0.01, 0.02) / math.sqrt(3))
    assert (second["optimizer"], second["n"], second["verdict"]) == ("asam", 2, "equal")
    [lead] = table["leads"]
    assert (lead["optimizer"], lead["runner_up"], lead["clear"], lead["n"]) == ("sam", "asam", False, 2)
    assert table["interval"] == {"level": 0.95, "method": "t"}
    assert [cell["converged"] for cell in table["cells"]] == [True, True, True]


def test_runs_that_are_not_finite_are_named_and_outliers_too_if_verbose():
    values = (0.90, 0.92, math.inf)
    text = " ".join(compare(accuracies({"sgd": (values, None)})).text().split())
    assert "accuracy (%) is not finite in SGD seed 2; the other 2: 91.0 ± 1.4" in text
    table = compare(accuracies({"sgd": ((0.97, 0.971, 0.10, 0.969, 0.972), None)}))
    assert "SGD seed 2 is an outlier in accuracy (%): 10 (Grubbs's test" in table.text(verbose=True)
    assert "outlier" not in table.text()


def test_where_no_run_is_finite_there_are_no_others():
    text = " ".join(compare(accuracies({"sgd": ((math.nan,), None)})).text().split())
    assert text.endswith("accuracy (%) is not finite in SGD seed 0")


def test_too_few_seeds_are_said_without_verbose():
    def text(count, method):
        rows = {"sgd": (np.linspace(0.8, 0.9, count), None), "sam": (np.linspace(0.7, 0.75, count), None)}
        return " ".join(compare(accuracies(rows), method=method).text().split())

    assert "? 2 seeds are too few, take 3 or more" in text(2, "t")
    assert "too few" not in text(3, "t")
    assert "95 % bootstrap (BCa) interval: ? 7 seeds are too few, take 8 or more" in text(7, "bootstrap")
    assert "too few" not in text(8, "bootstrap")


MEASURES = (
    "accuracy loss gradient-norm surrogate-gap dominant-eigenvalue hessian-trace normalized-trace".split()
)


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        ((-1.2, -2.0, -0.4), "−1.2 [−2.0, −0.4]"),
        ((0.65, 0.04, 1.31), "0.65 [0.04, 1.31]"),  # with one digit it would begin at zero
        ((-0.0004, -0.013, 0.012), "0.000 [−0.013, 0.012]"),
        ((1.0, 1e-9, 2.0), "1.0000 [0.0000, 2.0000]"),
        ((-430.0, -870.0, 10.0), "−430 [−870, 10]"),
    ],
)
def test_an_interval_has_the_digits_that_show_whether_it_excludes_zero(interval, text):
    assert bracketed(*interval) == text


@pytest.mark.parametrize("count", [2, 3, 8])
def test_no_line_is_wider_than_a_terminal_and_every_difference_has_one_mark(count):
    rng = np.random.default_rng(0)
    optimizers = ("sgd", "sam:rho=0.1", "gsam:rho=0.1,alpha=0.4", *"asam cr-sam looksam:k=5 gnp gam".split())
    records = [
        run(rng.normal(5, 1), seed=s, optimizer=o, measure=m, base="sgd", converged=False)
        for o in optimizers[:count]
        for s in range(3)
        for m in MEASURES
    ]
    text = compare(records).text()
    assert max(map(len, text.splitlines())) <= 80
    table, _, notes = text.rpartition("\n\n")
    assert len(re.findall(r"\]† [↓↑≈]( |$)", table, re.MULTILINE)) == (count - 1) * len(MEASURES)
    assert "L loss, ‖∇L‖ gradient-norm, h surrogate-gap, λ_max dominant-eigenvalue" in notes
    assert "† not converged" in notes


def test_columns_of_two_splits_say_which_and_of_one_do_not():
    records = [
        run(0.9 + s / 100, seed=s, optimizer=o, measure=m) for o in ("sgd", "sam") for s in range(3)
        for m in ("accuracy", "hessian-trace")
    ]  # fmt: skip
    table = compare(records)
    assert list(table.headings.values()) == ["accuracy (%)", "Tr H"]
    columns = ("test:accuracy", "train:hessian-trace", "train:surrogate-gap:rho=0.2")
    cells = {(row, column): table.cells[row, "accuracy"] for row in table.rows for column in columns}
    mixed = replace(table, columns=columns, cells=cells)
    assert list(mixed.headings.values()) == ["accuracy (%, test)", "Tr H (train)", "h (ρ = 0.2, train)"]
    latex = mixed.latex()
    assert r"& \multicolumn{1}{c}{test} & \multicolumn{2}{c}{train} \\" in latex
    assert r"\cmidrule(lr){2-2} \cmidrule(lr){3-4}" in latex
    assert r"optimizer & accuracy (\%) & $\mathrm{Tr}\,H$ & $h$ ($\rho$ = 0.2) \\" in latex


def test_labels_name_rows_where_they_are_read_and_not_where_programs_read_them():
    table = compare(accuracies())
    rendering = Rendering(labels=("sgd=SGD baseline", "sam=S & M"))
    assert "SGD baseline" in rendered(table, "table", rendering)
    assert "Δ from SGD baseline" in rendered(table, "md", rendering)
    assert r"S \& M & $" in rendered(table, "latex", rendering)
    for form in ("json", "jsonl", "csv"):
        assert rendered(table, form, rendering) == rendered(table, form)
    with pytest.raises(
        UsageError, match="--label adam=A is not ROW=NAME with one of the rows: sgd, sam, asam"
    ):
        rendered(table, "table", Rendering(labels=("adam=A",)))


def test_an_unknown_venue_is_refused_with_the_known_ones():
    with pytest.raises(UsageError, match="unknown venue 'nips'; known: neurips, icml"):
        compare(accuracies()).latex(venue="nips")


def test_the_label_of_a_row_with_an_equals_sign_is_found():
    rows = {"sam": ACCURACIES["sam"], "sam:rho=0.1": ACCURACIES["sgd"]}
    named = Rendering(labels=("sam:rho=0.1=A = B",)).named(compare(accuracies(rows)))
    assert [named.label(row) for row in named.rows] == ["SAM", "A = B"]


def test_json_lines_have_every_cell_and_difference():
    table = compare(accuracies())
    lines = [json.loads(line) for line in rendered(table, "jsonl").splitlines()]
    assert [line.pop("kind") for line in lines] == ["cell"] * 3 + ["difference"] * 2
    whole = table.as_dict()
    assert lines == [*whole["cells"], *whole["differences"]]
    assert json.loads(rendered(table, "json")) == json.loads(json.dumps(whole))


def test_a_notebook_shows_cells_differences_and_notes():
    table = compare(
        [run(v, seed=s, optimizer=o) for s, (o, v) in enumerate([("sgd", 2.0), ("sam", 1.0)] * 2)]
    )
    html = table._repr_html_()
    assert html.count("<table>") == len(table.grids())
    assert all(f"<p>{for_html(note)}</p>" in html for note in table.notes())
