"""A correlation study on a terminal, as Markdown, LaTeX, CSV and JSON."""

import csv
import io
import math

from landscape.comparison.as_text import folded
from landscape.comparison.predictors import TARGETS, Predictor, Study
from landscape.comparison.rank_correlation import FEWEST
from landscape.records.json_lines import plain
from landscape.tables.escaping import for_csv, for_latex, for_markdown, visible
from landscape.tables.typesetting import aligned


def verdict_words(predictor: Predictor) -> str:
    """What a correlation says in words."""
    found = predictor.overall
    if found.tau != found.tau:
        return "constant or not finite: no order"
    if found.n < FEWEST:
        return f"{found.n} runs are too few, take {FEWEST} or more"
    if found.low != found.low:
        return "the same order in every pair" if found.tau > 0 else "the reverse order in every pair"
    if found.low > 0:
        return "higher where the target is higher"
    return "lower where the target is higher" if found.high < 0 else "no order told apart from chance"


def study_notes(study: Study) -> list[str]:
    """What the numbers are, and what stands against them."""
    low, high = study.spread
    kind = {"t": "Fisher's scale", "bootstrap": "bootstrap"}[study.method]
    found = [
        f"τ: Kendall's τ-b against {study.target} ({TARGETS[study.target].summary}, {low:.3g} to {high:.3g}) over "
        f"{study.runs} runs; 95 % intervals, {kind}",
        "ψ: mean τ over runs that differ in one field of the recipe alone (Jiang et al. 2020)",
    ]
    if study.recipes < study.runs:
        found.append(
            f"the {study.runs} runs are of {study.recipes} recipes: runs that differ in their seed alone are not "
            "independent, and the intervals are narrower than they should be"
        )
    count = len(study.predictors)
    found.append(f"of {count} intervals, about {0.05 * count:.1f} exclude 0 by chance alone")
    return found


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}".replace("-", "−")


def _lines(study: Study) -> list[list[str]]:
    lines = []
    for p in study.predictors:
        o = p.overall
        interval = "–" if math.isnan(o.low) else f"[{_number(o.low)}, {_number(o.high)}]"
        lines.append([visible(p.name), str(o.n), _number(o.tau), interval, _number(p.psi), verdict_words(p)])
    return lines


def study_text(study: Study) -> str:
    """For a terminal of 80 columns."""
    lines = [line[:5] for line in _lines(study)]
    table = aligned([["measure", "n", "τ", "95 % interval", "ψ"], *lines])
    words = [f"{p.name}: {verdict_words(p)}{_by_field(p)}" for p in study.predictors]
    return "\n\n".join([table, folded(study_notes(study)), folded(words)])


def _by_field(predictor: Predictor) -> str:
    if not predictor.granulated:
        return ""
    return f" (ψ by {', '.join(f'{name} {_number(tau)}' for name, tau in predictor.granulated.items())})"


def study_markdown(study: Study) -> str:
    """A pipe table and the notes."""
    lines = [[*map(for_markdown, line)] for line in _lines(study)]
    rows = [["measure", "n", "τ", "95 % interval", "ψ", "verdict"], ["---"] * 6, *lines]
    notes = map(for_markdown, study_notes(study))
    return "\n\n".join(["\n".join("| " + " | ".join(row) + " |" for row in rows), *notes])


def study_latex(study: Study) -> str:
    """A booktabs tabular; bold where the interval excludes zero."""
    body = []
    for p, line in zip(study.predictors, _lines(study), strict=True):
        clear = p.overall.low > 0 or p.overall.high < 0
        numbers = [cell.replace("−", "-").replace("–", "--") for cell in line[1:5]]
        tau, interval, psi = (f"${x}$" if x != "--" else x for x in (numbers[1], numbers[2], numbers[3]))
        tau = rf"$\mathbf{{{numbers[1]}}}$" if clear else tau
        body.append(" & ".join([for_latex(line[0]), numbers[0], tau, interval, psi]) + r" \\")
    return "\n".join(
        [
            r"% needs \usepackage{booktabs}; bold: the 95 % interval excludes 0",
            *(f"% {visible(note)}" for note in study_notes(study)),
            r"\begin{tabular}{lrrrr}",
            r"\toprule",
            r"measure & $n$ & $\tau$ & 95\,\% interval & $\Psi$ \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
        ]
    )


def study_csv(study: Study) -> str:
    """One line a measure, unrounded."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["measure", "target", "n", "tau", "low", "high", "psi"])
    for p in study.predictors:
        o = p.overall
        writer.writerow([for_csv(p.name), study.target, o.n, *map(repr, (o.tau, o.low, o.high, p.psi))])
    return out.getvalue()


def study_dict(study: Study) -> dict[str, object]:
    """Everything in JSON's types."""
    return {
        "target": study.target,
        "runs": study.runs,
        "recipes": study.recipes,
        "interval": {"level": 0.95, "method": study.method},
        "predictors": [
            {
                "measure": p.name,
                "n": p.overall.n,
                "tau": plain(p.overall.tau),
                "low": plain(p.overall.low),
                "high": plain(p.overall.high),
                "granulated": plain(p.granulated),
                "psi": plain(p.psi),
                "verdict": verdict_words(p),
            }
            for p in study.predictors
        ],
        "notes": study_notes(study),
    }
