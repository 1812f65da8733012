"""The notes of a table, and the width and validity of each output format."""

import json
import math
import re
import shutil
import subprocess

import pytest
from records_made import run

from landscape.comparison import compare
from landscape.comparison.columns import PRESETS
from landscape.errors import InputError
from landscape.registry.names import split_of


def rows(values, **fields):
    return [run(v, seed=s, optimizer=o, **fields) for o, of in values.items() for s, v in enumerate(of)]


VALUES = {"sgd": (3.0, 3.1, 2.9, 3.05), "sam:rho=0.1": (2.0, 2.2, 1.9, 2.1)}


def test_what_else_differs_between_the_rows_is_said():
    records = [*rows({"sgd": VALUES["sgd"]}, lr=0.1), *rows({"sam": VALUES["sgd"]}, lr=0.5)]
    assert "the rows differ in lr too: sgd 0.1, sam 0.5" in compare(records).text()
    assert "differ" not in compare(rows(VALUES)).text()


def test_two_fields_make_rows_together():
    records = [run(1.0 + k, lr=lr, optimizer=o) for k, (o, lr) in enumerate([("sgd", 0.1), ("sgd", 0.5)])]
    assert compare(records, ["optimizer", "lr"]).rows == ("sgd lr=0.1", "sgd lr=0.5")
    with pytest.raises(InputError, match=r"row 'sgd' differ in lr \(0.1 and 0.5\)"):
        compare(records)


def test_a_run_that_is_not_a_number_is_named_and_the_mean_without_it_given():
    table = compare(rows({**VALUES, "sam:rho=0.1": (2.0, math.nan, 2.2, 2.1)}))
    text = " ".join(table.text().split())
    assert "hessian-trace is not finite in sam:rho=0.1 seed 1; the other 3: 2.10 ± 0.10" in text
    assert "not finite in a run" in text
    assert table.leads() == []


def test_zero_variance_is_shown_as_such_and_decides_nothing():
    table = compare(rows({"sgd": (0.5,) * 3, "sam": (0.75,) * 3}, measure="accuracy"))
    assert "75 ± 0" in table.text()
    assert "equal at all 3 seeds: no verdict" in table.text()
    assert r"$75 \pm 0$" in table.latex()
    assert r"\mathbf" not in table.latex()


def test_one_seed_has_no_verdict():
    text = " ".join(compare(rows({"sgd": (1.0,), "sam": (2.0,)})).text().split())
    assert "one seed: no verdict" in text
    assert "verdicts need 3 seeds" in text


def test_an_outlier_is_named_with_its_rule_and_stays_in_the_mean():
    values = (1.0, 1.01, 0.99, 1.02, 9.0)
    table = compare(rows({"sgd": values}))
    words = " ".join(table.text().split())
    assert (
        "sgd seed 4 is an outlier in hessian-trace: 9 (Grubbs's test, 1 % level); it is in the mean" in words
    )
    assert table.cells["sgd", "hessian-trace"].mean == pytest.approx(sum(values) / 5)


def test_how_many_intervals_exclude_zero_by_chance_is_said():
    records = [r for k in range(5) for r in rows(VALUES, measure=f"m{k}")]
    assert "of 5, about 0.2 exclude 0 by chance alone" in compare(records).text()


def test_rows_with_fewer_seeds_say_so_in_their_cells():
    table = compare(rows({"sgd": (1.0, 2.0, 3.0), "sam": (1.0, 2.0)}))
    assert re.search(r"sam +1\.50 ± 0\.71 \(n=2\)", table.text())
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
        preset = PRESETS.build(name)
        parts = [split_of(column) for column in preset.columns]
        assert [measure for _, measure in parts] == list(preset.looks)
        assert all(measure in (OF_HISTORY if part is None else MEASURES) for part, measure in parts)


def preset_table(name):
    preset = PRESETS.build(name)
    records = [r for measure in preset.looks for r in rows(VALUES, measure=measure)]
    return compare(records, looks=preset.looks)


@pytest.mark.parametrize("name", list(PRESETS))
def test_a_papers_table_is_well_formed_latex(name):
    latex = preset_table(name).latex()
    lines = [line for line in latex.splitlines() if not line.startswith("%")]
    assert all(line.isascii() for line in lines)
    body = [line for line in lines if line.endswith(r"\\")]
    assert len({len(re.findall(r"(?<!\\)&", line)) for line in body}) == 1
    for line in lines:
        bare = line.replace(r"\{", "").replace(r"\}", "")
        assert bare.count("{") == bare.count("}")
        assert bare.count("$") % 2 == 0
    assert [line for line in lines if "rule" in line] == [r"\toprule", r"\midrule", r"\bottomrule"]
    assert latex.index("booktabs") < latex.index(r"\begin{tabular}")


@pytest.mark.skipif(
    not (shutil.which("pdflatex") or shutil.which("tectonic")), reason="there is no LaTeX here"
)
@pytest.mark.parametrize("name", list(PRESETS))
def test_a_papers_table_compiles(name, tmp_path):
    head = "\\documentclass{article}\n\\usepackage{booktabs}\n\\begin{document}\n"
    (tmp_path / "t.tex").write_text(head + preset_table(name).latex() + "\n\\end{document}\n")
    program = [shutil.which("tectonic")] if shutil.which("tectonic") else ["pdflatex", "-halt-on-error"]
    subprocess.run([*program, "t.tex"], cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "t.pdf").stat().st_size > 1000


def test_the_share_of_sam_steps_is_in_percent_with_and_without_a_preset():
    records = rows({"sgd": (0.25, 0.25)}, measure="sam-share")
    assert "25 ± 0" in compare(records).text()
    for form in (compare(records, looks=PRESETS.build("ae-sam").looks).text(), compare(records).markdown()):
        assert "25 ± 0" in form
    accuracies = rows({"sgd": (0.75, 0.75)}, measure="accuracy")
    for name in PRESETS:
        assert "75 ± 0" in compare(accuracies, looks=PRESETS.build(name).looks).text()
