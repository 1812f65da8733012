"""The numbers of a table in every form: percent in what people read, fractions in what programs read."""

import csv
import io
import math

import numpy as np
import pytest
from records_made import run
from scipy import stats

from landscape.comparison import compare

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
        "sgd                91.3 ± 1.5",
        "sam                95.3 ± 1.5",
        "asam       92.50 ± 0.71 (n=2)",
        "",
        "mean ± standard deviation over runs, n = 2 to 3; digits train, 200 examples",
        "standard error of the means from sampling alone, at most: accuracy (%) 1.2",
        "",
        "Difference from sgd, paired by seed:",
        "accuracy (%)",
        "  sam   4.0 [1.5, 6.5]  n=3  higher",
        "  asam  2               n=2  equal at all 2 seeds: no verdict",
        "95 % t intervals; of 2, about 0.1 exclude 0 by chance alone",
        "",
        "accuracy (%): sam is highest; asam is next: 2 seeds are too few, take 3 or more",
    ]


def test_the_differences_are_in_percent_in_markdown_and_latex_too():
    table = compare(accuracies())
    assert "| accuracy (%) | sam | 4.0 [1.5, 6.5] | 3 | higher |" in table.markdown()
    assert "% accuracy (%): sam minus sgd 4.0 [1.5, 6.5], n = 3: higher" in table.latex()


def test_a_clear_lead_has_its_interval_in_percent_and_a_loss_leads_from_below():
    rows = {"sgd": ACCURACIES["sgd"], "sam": ACCURACIES["sam"]}
    assert (
        compare(accuracies(rows))
        .text()
        .endswith("accuracy (%): sam is highest, distinguishable from sgd (4.0 [1.5, 6.5])")
    )
    losses = [run(v, seed=s, optimizer=o) for o, (values, _) in rows.items() for s, v in enumerate(values)]
    assert (
        compare(losses)
        .text()
        .endswith("hessian-trace: sgd is lowest, distinguishable from sam (−0.040 [−0.065, −0.015])")
    )


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


def test_runs_that_are_not_finite_and_outliers_are_named_in_percent():
    values = (0.90, 0.92, math.inf)
    text = " ".join(compare(accuracies({"sgd": (values, None)})).text().split())
    assert "accuracy (%) is not finite in sgd seed 2; the other 2: 91.0 ± 1.4" in text
    text = " ".join(compare(accuracies({"sgd": ((0.97, 0.971, 0.10, 0.969, 0.972), None)})).text().split())
    assert "sgd seed 2 is an outlier in accuracy (%): 10 (Grubbs's test" in text


def test_where_no_run_is_finite_there_are_no_others():
    text = " ".join(compare(accuracies({"sgd": ((math.nan,), None)})).text().split())
    assert text.endswith("accuracy (%) is not finite in sgd seed 0")


def test_verdicts_need_three_seeds_or_eight_for_the_bootstrap():
    def text(count, method):
        rows = {"sgd": (np.linspace(0.8, 0.9, count), None), "sam": (np.linspace(0.7, 0.75, count), None)}
        return " ".join(compare(accuracies(rows), method=method).text().split())

    assert "verdicts need 3 seeds" in text(2, "t")
    assert "verdicts need" not in text(3, "t")
    assert "95 % bootstrap (BCa) intervals; of 1" in text(7, "bootstrap")
    assert "verdicts need 8 seeds" in text(7, "bootstrap")
    assert "verdicts need" not in text(8, "bootstrap")


def test_a_line_that_is_too_long_for_the_terminal_has_its_verdict_below():
    rows = {"sgd": ACCURACIES["sgd"], "sam" + "x" * 40: ACCURACIES["sam"]}
    lines = compare(accuracies(rows, converged=False)).text().splitlines()
    assert f"  sam{'x' * 40}  4.0 [1.5, 6.5]  n=3  higher †" in lines
    rows = {"sgd": ACCURACIES["sgd"], "sam" + "x" * 40: ACCURACIES["asam"]}
    lines = compare(accuracies(rows)).text().splitlines()
    place = lines.index(f"  sam{'x' * 40}  2  n=2")
    assert lines[place + 1] == "    equal at all 2 seeds: no verdict"


@pytest.mark.parametrize(("width", "lines"), [(80, 1), (81, 2)])
def test_a_line_of_eighty_columns_stays_whole(width, lines):
    fixed = len("    2  n=2  equal at all 2 seeds: no verdict")
    name = "s" * (width - fixed)
    text = compare(accuracies({"sgd": ACCURACIES["sgd"], name: ACCURACIES["asam"]})).text()
    paragraph = text.split("accuracy (%)\n")[-1].partition("\n95 %")[0]
    assert len(paragraph.splitlines()) == lines
