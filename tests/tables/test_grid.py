"""A grid of cells in every output format: aligned, escaped, with uncertainties and marks."""

import csv
import io
import json
import re

import pytest

from landscape.tables import Grid, Number, json_text, rounded
from landscape.tables.typesetting import aligned

STRANGE = "=1+1\x1b[2J | \\input{x} & %"

GRID = Grid(
    ["run", "loss", "steps"],
    [
        ["sam-0", Number(rounded(0.2123, 0.03), bold=True), 120],
        [STRANGE, Number("(1.5 ± 0.2)e-9", converged=False, n=2), None],
    ],
    notes=["mean ± standard error", f"of {STRANGE}"],
)


def test_text_is_aligned_with_numbers_to_the_right_and_notes_below():
    table, notes = GRID.text().split("\n\n")
    lines = table.splitlines()
    assert lines[0].split() == ["run", "loss", "steps"]
    assert [line.rindex(mark) for line, mark in zip(lines, ("s", "0", "–"), strict=True)] == [
        len(lines[0]) - 1
    ] * 3
    assert "  0.212 ± 0.030  " in lines[1]
    assert lines[2].startswith(r"=1+1\u001b[2J | \input{x} & %  (1.5 ± 0.2)e-9† (n=2)  ")
    assert notes.splitlines() == ["mean ± standard error", r"of =1+1\u001b[2J | \input{x} & %"]


def test_a_table_without_notes_is_the_aligned_cells():
    assert Grid(["a", "b"], [["x", "1"], ["yy", "20"]]).text() == aligned(
        [["a", "b"], ["x", "1"], ["yy", "20"]]
    )


@pytest.mark.parametrize("columns", [1, 3, 12])
def test_a_table_wider_than_the_terminal_is_cut_and_loses_nothing(columns):
    heads = [f"measure-number-{k}" for k in range(columns)]
    grid = Grid(
        ["row", *heads],
        [[f"row{r}", *(f"{r}.{k}" for k in range(columns))] for r in range(9)],
        ["note " * 40],
    )
    assert (grid.width > 80) == (columns == 12)
    text = grid.transposed().text(width=80)
    assert max(map(len, text.splitlines())) <= 80
    assert all(text.count(head) >= 1 for head in heads)
    assert all(re.search(rf"(?<![\d.]){r}\.{k}(?!\d)", text) for r in range(9) for k in range(columns))


def test_markdown_has_bold_numbers_and_one_count_of_cells():
    table, *notes = GRID.markdown().split("\n\n")
    lines = table.splitlines()
    assert lines[1] == "| --- | --- | --- |"
    assert "**0.212 ± 0.030**" in lines[2]
    assert "(1.5 ± 0.2)e-9† (n=2)" in lines[3]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {4}
    assert len(notes) == 2


def test_latex_sets_numbers_as_mathematics_and_marks_without_width():
    lines = GRID.latex("About.", comments=[f"of {STRANGE}"]).splitlines()
    assert lines[0] == r"% needs \usepackage{booktabs}"
    assert lines[1].startswith("% of =1+1")
    assert r"sam-0 & $\mathbf{0.212 \pm 0.030}$ & 120 \\" in lines
    assert [
        line
        for line in lines
        if line.endswith(r"& $(1.5 \pm 0.2) \times 10^{-9}$$^{\dagger}$\,($n{=}2$) & -- \\")
    ]
    assert not [line for line in lines if r"\input" in line and not line.startswith("%")]
    assert Number("1.5", converged=False, mark="↓").latex() == r"$1.5$\rlap{$^{\dagger\downarrow}$}"


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("1.234e-07", r"$1.234 \times 10^{-7}$"),
        ("(1.50 ± 0.71)e9", r"$(1.50 \pm 0.71) \times 10^{9}$"),
        ("5e+20", r"$5 \times 10^{20}$"),
        ("NaN", r"$\mathrm{NaN}$"),
        ("-inf", r"$-\infty$"),
        ("[−0.1, 0.3]", "$[-0.1, 0.3]$"),
        ("–", "--"),
    ],
)
def test_numbers_in_latex(text, latex):
    assert Number(text).latex() == latex


def test_csv_has_every_digit_and_begins_no_formula():
    text = Grid(["a", "b", "c", "d"], [[-1 / 3, 7, None, STRANGE], [float("-inf"), True, "-x", "-2.5"]]).csv()
    rows = list(csv.reader(io.StringIO(text)))
    assert float(rows[1][0]) == -1 / 3
    assert rows[1][1:3] == ["7", ""]
    assert rows[1][3].startswith("'=1+1")
    assert rows[2] == ["-inf", "True", "'-x", "-2.5"]


def test_json_can_be_printed_whatever_half_characters_it_holds():
    value = {"name": "\ud800\x1b", "numbers": [1, 2.5]}
    assert json.loads(json_text(value)) == value
    assert json_text(value).encode()
