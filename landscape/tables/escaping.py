"""Escaping of text from files for terminals, LaTeX, HTML, Markdown, spreadsheets and matplotlib.

Names, units, recipes and labels may come from a stranger's file, and each medium would act on some characters of them.
They are escaped here and nowhere else, so that the text stays readable.
"""

import html
import re
import unicodedata

# Controls, format characters that reorder or hide text, lone surrogates, private use, line and paragraph separators.
_HIDDEN = frozenset(("Cc", "Cf", "Cs", "Co", "Zl", "Zp"))
# Joiners are format characters too, but Persian and Indic scripts and emoji need them, and they hide nothing.
_JOINERS = "\u200c\u200d"
_LAYOUT = "\n\t"


def visible(text: object) -> str:
    r"""The text on one line, with an escape for every character that a terminal would act on or not show.

    The escapes are those of JSON, such as ``\u001b``, so that escaped JSON is still JSON.
    """
    return _escaped(str(text), _JOINERS)


def for_terminal(text: str) -> str:
    """The same as :func:`visible`, but line breaks and tabs stay."""
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
    """Text that LaTeX prints literally, also at the start of a table row."""
    plain = _SPECIAL.sub(lambda match: _LATEX[match[0]], visible(text))
    # Two hyphens would become a dash, which garbles the options of a command.
    return re.sub("-(?=-)", "-{}", plain)


_LATEX = {
    **{character: "\\" + character for character in "&%$#_{}"},
    # After the end of a row, these would be read as its options.
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
    # What our own headings, names and notes have; pdflatex stops at these characters.
    "λ_max": r"$\lambda_{\max}$",
    "‖∇L‖": r"$\|\nabla L\|$",
    **{
        "‖": r"$\|$",
        "∇": r"$\nabla$",
        "±": r"$\pm$",
        "≈": r"$\approx$",
        "†": r"$\dagger$",
        "–": r"\textendash{}",
    },
    **{"↑": r"$\uparrow$", "↓": r"$\downarrow$", "Δ": r"$\Delta$", "₁": "$_1$", "₂": "$_2$"},
    **{
        letter: rf"$\{name}$"
        for letter, name in zip(
            "αβγδεζηθικλμνξπρστυφχψω",
            "alpha beta gamma delta varepsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau upsilon "
            "varphi chi psi omega".split(),
            strict=True,
        )
    },
}
_SPECIAL = re.compile("|".join(map(re.escape, sorted(_LATEX, key=len, reverse=True))))


def for_html(text: object) -> str:
    """Text that HTML, XML and plotly's labels show literally."""
    return html.escape(visible(text))


def for_markdown(text: object) -> str:
    """Text of one cell of a pipe table, or of one sentence, in which no cell, link, image or HTML element begins."""
    return re.sub(r"([\\`*|]|\](?=[(\[:]))", r"\\\1", html.escape(visible(text), quote=False))


def for_csv(value: object) -> str:
    """A cell that no spreadsheet reads as a formula. Text that begins like one gets an apostrophe, numbers do not.

    Reference:
        OWASP, "CSV Injection".
    """
    text = str(value)
    if not text.lstrip().startswith(_FORMULA) and not text.startswith(("\t", "\r", "\n")):
        return visible(text)
    return visible(text) if _NUMBER.fullmatch(text) else "'" + visible(text)


# Full-width signs begin a formula in a spreadsheet set to Chinese or Japanese.
_FORMULA = tuple("=+-@＝＋－＠")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-]?inf|nan")


def for_mathtext(text: object) -> str:
    """Text that matplotlib draws literally, without formulas, cut to the length that a page has room for."""
    plain = visible(text)
    drawn = plain if len(plain) <= _LONGEST_DRAWN else f"{plain[:_LONGEST_DRAWN]}…"
    return drawn.replace("$", r"\$")


_LONGEST_DRAWN = 200  # laying out thousands of characters would take minutes
