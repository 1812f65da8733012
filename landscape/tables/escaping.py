"""Text that somebody else wrote, made plain for each medium that would take parts of it for instructions.

Names, units, recipes, labels and messages come from files. What a terminal, LaTeX, HTML, Markdown, a spreadsheet or
matplotlib would act on is replaced here, and only here: by something that shows what the text holds.
"""

import html
import re
import unicodedata

# Controls, what reorders or hides text, lone surrogates, private use, and what ends a line or a paragraph.
_HIDDEN = frozenset(("Cc", "Cf", "Cs", "Co", "Zl", "Zp"))
# Joiners shape letters in Persian and Indic scripts and hold emoji together; they move and hide nothing.
_JOINERS = "\u200c\u200d"
_LAYOUT = "\n\t"


def visible(text: object) -> str:
    r"""The text on one line, with an escape for every character that a terminal would act on or not show.

    The escapes are those of JSON, such as ``\u001b``, so that JSON stays JSON. All that can be read stays.
    """
    return _escaped(str(text), _JOINERS)


def for_terminal(text: str) -> str:
    """The same for text of several lines, whose line breaks and tabs stay."""
    return _escaped(text, _JOINERS + _LAYOUT)


def _escaped(text: str, kept: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        character
        if character in kept or unicodedata.category(character) not in _HIDDEN
        else _code_units(character)
        for character in text
    )


def _code_units(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[k : k + 4]}" for k in range(0, len(units), 4))


def for_latex(text: object) -> str:
    """Text that LaTeX prints as it is, also at the start of a row of a table."""
    plain = "".join(_LATEX.get(character, character) for character in visible(text))
    # Two hyphens would become a dash, and an option of a command something else.
    return re.sub("-(?=-)", "-{}", plain)


_LATEX = {
    **{character: "\\" + character for character in "&%$#_{}"},
    # After the end of a row, these would be its options.
    **{character: f"{{{character}}}" for character in "[]*"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "×": r"$\times$",
    "−": "$-$",
    "…": r"\dots{}",
    "<": "$<$",
    ">": "$>$",
    "|": "$|$",
}


def for_html(text: object) -> str:
    """Text that HTML, XML and plotly's labels show as it is."""
    return html.escape(visible(text))


def for_markdown(text: object) -> str:
    """Text of one cell of a pipe table, or of one sentence: no cell, no link, no picture, no HTML begins in it."""
    return re.sub(r"([\\`*|]|\](?=[(\[:]))", r"\\\1", html.escape(visible(text), quote=False))


def for_csv(value: object) -> str:
    """A cell that no spreadsheet takes for a formula: one that is no number gets an apostrophe where it needs one.

    Reference:
        OWASP, "CSV Injection".
    """
    text = str(value)
    if not text.lstrip().startswith(_FORMULA) and not text.startswith(("\t", "\r", "\n")):
        return visible(text)
    return visible(text) if _NUMBER.fullmatch(text) else "'" + visible(text)


# The wide forms of the same signs begin a formula in a spreadsheet set to Chinese or Japanese.
_FORMULA = tuple("=+-@＝＋－＠")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-]?inf|nan")


def for_mathtext(text: object) -> str:
    """Text that matplotlib draws as it is: a dollar sign is one, and no formula begins.

    What no page has room for is cut: laying out thousands of characters would take minutes.
    """
    plain = visible(text)
    drawn = plain if len(plain) <= _LONGEST_DRAWN else f"{plain[:_LONGEST_DRAWN]}…"
    return drawn.replace("$", r"\$")


_LONGEST_DRAWN = 200
