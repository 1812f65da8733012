"""The sentences under a table: what its numbers are, and what stands against them."""

from landscape.comparison.cell import Cell
from landscape.comparison.intervals import FEWEST
from landscape.comparison.outlying import RULE, outlying
from landscape.comparison.paired import Difference
from landscape.comparison.table import Lead, Table
from landscape.tables.typesetting import rounded


def notes(table: Table) -> list[str]:
    """What the numbers of a table are, and which of them are doubtful."""
    counts = {len(cell.values) for cell in table.cells.values()}
    seeds = f"n = {counts.pop()}" if len(counts) == 1 else f"n = {min(counts)} to {max(counts)}"
    where = f"; {table.measured_on}" if table.measured_on else ""
    found = [f"mean ± standard deviation over runs, {seeds}{where}"]
    sampled = {
        column: max(errors)
        for column in table.columns
        if (errors := [c.monte_carlo for _, c in _of_column(table, column) if c.monte_carlo])
    }
    if sampled:
        shown = ", ".join(
            f"{table.look(column).heading} {table.look(column).factor * error:.2g}"
            for column, error in sampled.items()
        )
        found.append(f"standard error of the means from sampling alone, at most: {shown}")
    if not all(cell.converged for cell in table.cells.values()):
        found.append("† not converged in at least one run")
    return [*found, *not_finite(table), *outliers(table), *table.remarks]


def not_finite(table: Table) -> list[str]:
    """Which runs a mean is lost to, and what it is without them."""
    found = []
    for (row, column), cell in table.cells.items():
        if cell.not_finite:
            seeds = ", ".join(map(str, cell.not_finite))
            left = [v for v in cell.values if abs(v) < float("inf")]
            rest = Cell(tuple(table.look(column).factor * v for v in left))
            others = f"; the other {len(left)}: {rounded(rest.mean, rest.spread)}" if left else ""
            found.append(f"{table.look(column).heading} is not finite in {row} seed {seeds}{others}")
    return found


def outliers(table: Table) -> list[str]:
    """Runs far from the others of their row."""
    found = []
    for (row, column), cell in table.cells.items():
        place = outlying(cell.values)
        if place is not None:
            seed = cell.seeds[place] if cell.seeds else place
            look = table.look(column)
            found.append(
                f"{row} seed {seed} is an outlier in {look.heading}: {look.factor * cell.values[place]:.4g} "
                f"({RULE}); it is in the mean"
            )
    return found


def chance(table: Table) -> str:
    """What to expect of so many intervals if nothing differed."""
    count = len(table.differences())
    kind = {"t": "t", "bootstrap": "bootstrap (BCa)"}[table.method]
    text = f"95 % {kind} intervals; of {count}, about {0.05 * count:.1f} exclude 0 by chance alone"
    few = max((d.interval.n for _, _, d in table.differences()), default=0) < FEWEST[table.method]
    return f"{text}; verdicts need {FEWEST[table.method]} seeds" if few else text


def sentence(table: Table, lead: Lead) -> str:
    """Who leads a column, and what that is worth."""
    look = table.look(lead.column)
    word = {"higher": "highest", "lower": "lowest", None: ""}[look.better]
    start = f"{look.heading}: {lead.row} is {word}"
    if lead.is_clear:
        return f"{start}, told apart from {lead.runner_up} ({bracketed(lead.difference, look.factor)})"
    if lead.verdict.is_decided:
        return f"{start}, but not all runs have converged"
    return f"{start}; {lead.runner_up} is next: {lead.verdict.words}"


def bracketed(difference: Difference, factor: float) -> str:
    """``−1.2 [−2.0, −0.4]``: a difference with its interval."""
    interval = difference.interval
    if interval.low != interval.low or interval.is_degenerate:
        return "–" if interval.mean != interval.mean else signed(factor * interval.mean)
    mean, low, high = (factor * x for x in (interval.mean, interval.low, interval.high))
    digits = max(abs(high - low), 1e-300)
    return f"{signed(mean, digits)} [{signed(low, digits)}, {signed(high, digits)}]"


def signed(value: float, width: float | None = None) -> str:
    """A number with a typographic minus, to two digits of the interval that it stands with."""
    if width is None:
        text = f"{value:.4g}"
    else:
        exponent = int(f"{width:.1e}".partition("e")[2])
        places = 1 - exponent
        small = -4 <= exponent <= 5
        text = f"{round(value, places):.{max(0, places)}f}" if small else f"{value:.3g}"
    return text.replace("-", "−")


def _of_column(table: Table, column: str) -> list[tuple[str, Cell]]:
    return [(row, cell) for (row, name), cell in table.cells.items() if name == column]
