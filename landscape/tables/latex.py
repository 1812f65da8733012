r"""A LaTeX float that is no wider than the page: one tabular, one across both columns, or several below one another.

Widths are estimated from the characters, from above, because LaTeX is not asked. Needs booktabs and nothing else.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from landscape.tables.escaping import for_latex, visible

_SIZE = 9.0  # points of the type in the cells; \small would be 10 in a document of 11 points
_GAP = 6.0  # \tabcolsep in points: half of the space between two columns
_POINTS = 72.27  # an inch in TeX's points
_NAMES = 0.4  # largest share of the width for the first column; longer names are wrapped
HEADING = 20.0
"""Largest width of a heading in em, so that a second column fits."""
_WORD, _PIECE = 26, 8  # characters of the longest unbroken word, and of the pieces of a longer one
_WORD_FIRST = re.compile(r"^[a-z](?=[a-z]+[ :])")


@dataclass(frozen=True)
class Column:
    """A column in LaTeX source, with the width in em of its widest cell.

    ``group`` is a heading that it shares with the columns beside it that have the same one, or empty.
    """

    head: str
    cells: Sequence[str]
    width: float
    group: str = ""


def ems(text: str, *, bold: bool = False) -> float:
    """Width of a text that LaTeX sets in Computer Modern or Times, in em, estimated from above."""
    power = re.sub(r"e([+−-]?)(\d+)$", r"×10\1\2", text)
    return (1.15 if bold else 1.0) * sum(map(_em, re.sub(" ([±=]) ", r"\1", power)))


def _em(character: str) -> float:
    return next(
        (width for characters, width in _WIDTHS if character in characters),
        0.59 if character.islower() else 0.83,
    )


_WIDTHS = (
    ("0123456789", 0.52),
    (".,;:", 0.29),
    (" ijlt'!|()[]{}-", 0.41),
    ("acersz", 0.53),
    ("mw%∇", 0.87),
    ("MW", 1.05),
    ("±×≈<>−+", 1.25),  # with the space around a sign
    ("=", 1.46),
)


def breakable(text: object) -> str:
    """Escaped text whose long words can be broken anywhere."""
    cut = []
    for word in str(text).split(" "):
        size = len(word) if len(word) <= _WORD else _PIECE
        cut.append([word[k : k + size] for k in range(0, len(word), size or 1)])
    return " ".join(r"\hspace{0pt}".join(map(for_latex, pieces)) for pieces in cut)


def heading(text: str) -> str:
    """Escaped text of a heading, cut where it is wider than :data:`HEADING`."""
    plain = kept = visible(text)
    while ems(kept) > HEADING:
        kept = kept[:-1]
    return for_latex(kept if kept == plain else f"{kept[:-1]}…")


def table_float(
    names: Column,
    columns: Sequence[Column],
    *,
    column: float,
    text: float,
    caption: str,
    notes: Iterable[str] = (),
    comments: Iterable[str] = (),
) -> str:
    """A ``table``, or a ``table*`` across both columns, with its caption, label and notes.

    Args:
        names: The first column, which every tabular repeats.
        columns: The others.
        column: Width of the venue's column in inches.
        text: Width of the venue's text in inches.
        caption: LaTeX source.
        notes: Plain sentences below the table.
        comments: Plain sentences for comments of the source.
    """
    across = _natural([names, *columns]) > column * _POINTS and column < text
    room = (text if across else column) * _POINTS
    environment = "table*" if across else "table"
    fits = _natural([names, *columns]) <= room
    narrow = names.width if fits else min(names.width, _NAMES * room / _SIZE)
    kind = "l" if narrow == names.width else f"p{{{narrow * _SIZE:.0f}pt}}"
    names = Column(names.head, names.cells, narrow)
    stacked = [_tabular(names, block, kind) for block in _blocks(names, columns, room)]
    # A sentence begins with a capital unless it begins with a symbol.
    sentences = [_WORD_FIRST.sub(lambda match: match[0].upper(), f"{breakable(note)}.") for note in notes]
    lines = [
        r"% needs \usepackage{booktabs}",
        *(f"% {visible(comment)}" for comment in comments),
        rf"\begin{{{environment}}}[t]",
        r"\centering",
        rf"\caption{{{caption}}}",
        r"\label{tab:comparison}",
        r"\par\smallskip",
        rf"\fontsize{{{_SIZE:g}}}{{11}}\selectfont\setlength{{\tabcolsep}}{{{_GAP:g}pt}}",
        "\n\\par\\medskip\n".join(stacked),
    ]
    if sentences:
        lines += [r"\par\smallskip", r"\parbox{\linewidth}{\fontsize{8}{9.5}\selectfont\raggedright"]
        lines += [*sentences, "}"]
    return "\n".join([*lines, rf"\end{{{environment}}}"])


def _natural(columns: Sequence[Column]) -> float:
    """Width of a tabular in points."""
    return sum(each.width * _SIZE + 2 * _GAP for each in columns)


def _blocks(names: Column, columns: Sequence[Column], room: float) -> list[list[Column]]:
    """The columns cut into tabulars of at most ``room`` points, each with at least one column."""
    cut: list[list[Column]] = []
    for each in columns:
        if cut and _natural([names, *cut[-1], each]) <= room:
            cut[-1].append(each)
        else:
            cut.append([each])
    size = -(-len(columns) // max(1, len(cut)))
    even = [list(columns[k : k + size]) for k in range(0, len(columns), size or 1)]
    return even if all(_natural([names, *block]) <= room for block in even) else cut


def _tabular(names: Column, columns: Sequence[Column], kind: str) -> str:
    rows = zip(*(each.cells for each in (names, *columns)), strict=True)
    lines = [
        rf"\begin{{tabular}}{{{kind}{'r' * len(columns)}}}",
        r"\toprule",
        *_group_heads(columns),
        " & ".join(each.head for each in (names, *columns)) + r" \\",
        r"\midrule",
        *(" & ".join(row) + r" \\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines)


def _group_heads(columns: Sequence[Column]) -> list[str]:
    """A line of the groups' headings, and the rules below them; no lines without groups."""
    groups: list[list[int]] = []
    for k, each in enumerate(columns):
        if groups and columns[groups[-1][0]].group == each.group:
            groups[-1].append(k)
        else:
            groups.append([k])
    if not any(each.group for each in columns):
        return []
    heads = [rf"\multicolumn{{{len(g)}}}{{c}}{{{columns[g[0]].group}}}" for g in groups]
    # The first of these columns is the second of the tabular.
    rules = [rf"\cmidrule(lr){{{g[0] + 2}-{g[-1] + 2}}}" for g in groups if columns[g[0]].group]
    return [" & ".join(["", *heads]).strip() + r" \\", " ".join(rules)]
