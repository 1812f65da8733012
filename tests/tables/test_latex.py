"""A LaTeX table is no wider than the page, whatever is in it."""

import re

import pytest
from pdflatex import needs_latex, typeset, widths

from landscape.registry.venues import VENUES
from landscape.tables import Grid, Number
from landscape.tables.escaping import _LATEX, for_latex
from landscape.tables.latex import breakable, ems

NUMBERS = [
    *(
        Number(text)
        for text in ("0.07804 ± 0.00078", "97.05 ± 0.26", "(1.50 ± 0.71)e-9", "1.234e-07", "-12.3")
    ),
    *(Number(text, bold=True) for text in ("0.0138 ± 0.0031", "(1.50 ± 0.71)e9")),
    *(Number("NaN", n=2, converged=False, mark="≈"), Number("inf"), Number("88.8 ± 0.88", n=10)),
]
TEXTS = (
    *(
        "GSAM (ρ = 0.1, α = 0.4)",
        "Hessian-trace regularisation",
        "accuracy (%)",
        "gen. gap (pp)",
        "λ_max",
        "‖∇L‖",
    ),
    *(
        "MWMW",
        "OQDGHKNU",
        "abdeghknopquvxy",
        "mmww",
        "n-step SAM (ascent steps = 3)",
        "my_run&{2}~x",
        "Δ 0.5 < x",
    ),
)


@needs_latex
def test_the_estimated_width_is_not_below_that_of_latex(tmp_path):
    sources = [*map(for_latex, TEXTS), *(number.latex() for number in NUMBERS)]
    texts = [*((text, False) for text in TEXTS), *((str(n).replace("-", "−"), n.bold) for n in NUMBERS)]
    tabulars = [
        rf"\fontsize{{9}}{{11}}\selectfont\begin{{tabular}}{{@{{}}l@{{}}}}{s}\end{{tabular}}" for s in sources
    ]
    actual = widths(typeset(["\n\n".join(tabulars)], "neurips", tmp_path))
    assert len(actual) == len(texts)
    for (text, bold), points in zip(texts, actual, strict=True):
        assert points <= 9 * ems(text, bold=bold) < 1.7 * points + 5, text


def grid(columns, rows, name="SAM", groups=()):
    cells = [
        [f"{name}{r}", *(Number(f"{r}.{k:02} ± 0.{k:02}", mark="↓") for k in range(columns))]
        for r in range(rows)
    ]
    return Grid(["optimizer", *(f"m{k}" for k in range(columns))], cells, ["a note " * 30], groups=groups)


@pytest.mark.parametrize(
    ("venue", "columns", "environment", "tabulars"),
    [
        ("icml", 2, "table", 1),
        ("icml", 6, "table*", 1),
        ("icml", 9, "table*", 2),
        ("neurips", 5, "table", 1),
        ("neurips", 30, "table", 5),
    ],
)
def test_a_table_goes_into_the_column_across_both_or_is_split(venue, columns, environment, tabulars):
    page = VENUES[venue]
    latex = grid(columns, 3).latex("About.", column=page.column, text=page.text)
    assert rf"\begin{{{environment}}}[t]" in latex
    assert latex.endswith(rf"\end{{{environment}}}")
    assert latex.count(r"\begin{tabular}") == tabulars
    heads = re.findall(r"^optimizer & (.*) \\\\$", latex, re.MULTILINE)
    assert [head for line in heads for head in line.split(" & ")] == [f"m{k}" for k in range(columns)]
    sizes = [line.count("&") + 1 for line in heads]
    assert max(sizes) - min(sizes) < tabulars  # about as many in each


@needs_latex
@pytest.mark.parametrize("venue", ["icml", "neurips"])
def test_no_box_is_wider_than_the_page(venue, tmp_path):
    page = VENUES[venue]
    stranger = "a" * 120 + r" \input{x} & % 0 * [ " + " ".join(_LATEX)
    groups = ["", *["train"] * 4, *["test"] * 5]
    grids = [
        grid(2, 2), grid(9, 3, groups=groups), grid(4, 2, name=stranger),
        Grid(["row", stranger, "b"], [["x", None, Number("1e-300")]], [stranger]),
    ]  # fmt: skip
    tables = [
        g.latex(breakable(stranger), column=page.column, text=page.text, comments=[stranger + "\n"])
        for g in grids
    ]
    log = typeset(tables, venue, tmp_path)
    assert "Overfull" not in log
    actual = widths(log)
    assert len(actual) == sum(table.count(r"\begin{tabular}") for table in tables) >= 5
    assert max(actual) <= page.text * 72.27
    assert actual[0] <= page.column * 72.27


def test_columns_of_a_group_share_a_heading_and_a_rule():
    latex = grid(3, 1, groups=["", "train", "train", "test"]).latex("About.")
    assert r"& \multicolumn{2}{c}{train} & \multicolumn{1}{c}{test} \\" in latex
    assert r"\cmidrule(lr){2-3} \cmidrule(lr){4-4}" in latex
    assert r"\cmidrule" not in grid(3, 1).latex("About.")


def test_sentences_begin_with_a_capital_and_symbols_stay():
    latex = Grid(["a"], [["x"]], ["the rows differ", "λ_max is not finite", "h is not finite"]).latex(
        "About."
    )
    notes = [r"The rows differ.", r"$\lambda_{\max}$ is not finite.", "h is not finite."]
    assert "\n".join(notes) in latex
    assert r"\parbox" not in Grid(["a"], [["x"]]).latex("About.")
