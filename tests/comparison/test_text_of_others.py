"""Names, units and settings from records stay on one row of each output format and are escaped there."""

import csv
import io
import json
import re

import pytest
from pdflatex import needs_latex, typeset, widths
from records_made import run

from landscape.comparison import compare
from landscape.comparison.forms import FORMS, rendered
from landscape.comparison.predictors import predictors
from landscape.registry.venues import VENUES

NAME = "=1+1\x1b[2J\n| **x** \\input{/etc/passwd} & %"


def table():
    records = [
        run(v + s / 10, seed=s, optimizer=o, measure=m, lr=lr, data=NAME, settings={"rho\x1b": "\n\x9b"})
        for o, v, lr in ((NAME, 1.0, "\x1b]0;"), ("-sam", 2.0, "\n"))
        for s in (0, 1, 2)
        for m in ("hessian-trace", "@m\x1b" + "m" * 90)
    ]
    return compare(records, remarks=("\x1b[31m left out",))


def study():
    records = [
        run(v, seed=s, optimizer=o, measure=NAME)
        for o in ("sgd", "sam")
        for s, v in enumerate((1.0, 3.0, 2.0, 5.0))
    ]
    outcomes = [
        run(r.value / 10, seed=k % 4, optimizer=o, measure="accuracy", split=split)
        for k, (r, o) in enumerate(zip(records, ["sgd"] * 4 + ["sam"] * 4, strict=True))
        for split in ("train", "test")
    ]
    return predictors(records, "generalization-gap", outcomes, method="t")


@pytest.mark.parametrize("form", ["table", "md", "latex", "csv"])
@pytest.mark.parametrize("made", [table, study])
def test_no_form_has_a_character_that_a_terminal_acts_on(made, form):
    text = rendered(made(), form)
    assert all(c.isprintable() or c == "\n" for c in text)
    assert r"u001b" in text


def test_a_line_break_in_a_name_begins_no_line():
    for form in ("md", "latex"):
        lines = rendered(table(), form).splitlines()
        assert not [line for line in lines if line.lstrip().startswith(("| **x**", r"\input"))]


def test_latex_has_no_command_of_a_stranger_outside_comments():
    for text in (rendered(table(), "latex"), rendered(study(), "latex")):
        body = [line for line in text.splitlines() if not line.startswith("%")]
        assert not re.search(r"\\input|(?<!\\)%", "\n".join(body))
        for block in "\n".join(body).split(r"\toprule")[1:]:
            rows = [line for line in block.splitlines() if line.endswith(r"\\")]
            assert len({len(re.findall(r"(?<!\\)&", line)) for line in rows}) == 1


@needs_latex
def test_latex_of_a_stranger_compiles_within_the_page(tmp_path):
    log = typeset([rendered(table(), "latex"), rendered(study(), "latex")], "neurips", tmp_path)
    assert "Overfull" not in log
    assert max(widths(log)) <= VENUES["neurips"].text * 72.27


def test_cells_of_csv_begin_no_formula():
    for text in (rendered(table(), "csv"), rendered(study(), "csv")):
        for row in csv.reader(io.StringIO(text)):
            for cell in row:
                assert not cell.startswith(("=", "+", "@", "\t", "\r"))
                if cell.startswith("-"):
                    float(cell)
    assert "'-sam" in rendered(table(), "csv")


def test_rows_of_markdown_have_one_count_of_cells():
    for text in (rendered(table(), "md"), rendered(study(), "md")):
        rows = [line for line in text.splitlines() if line.startswith("|")]
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows[:3]}) == 1
        assert "**x**" not in text


def test_json_keeps_the_names_themselves():
    assert {cell["optimizer"] for cell in json.loads(rendered(table(), "json"))["cells"]} == {NAME, "-sam"}


@pytest.mark.parametrize("form", list(FORMS))
def test_every_form_can_be_written_whatever_half_characters_a_record_has(form):
    records = [run(1.0, seed=s, optimizer="\ud800", measure="m\udfff") for s in (0, 1, 2)]
    assert rendered(compare(records), form).encode()
