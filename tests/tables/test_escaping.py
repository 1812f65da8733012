"""Text from files is escaped for each medium and stays readable."""

import csv
import html.parser
import io
import json

import matplotlib.pyplot as plt
import pytest

from landscape.tables.escaping import (
    for_csv,
    for_html,
    for_latex,
    for_markdown,
    for_mathtext,
    for_terminal,
    visible,
)

READABLE = "θ ‖w‖ é 模型 ∇²L ± 0.1 – naïve — “a” 👩\u200d🔬 می\u200cخواهم a\u00a0b"


def test_what_can_be_read_stays():
    assert visible(READABLE) == for_terminal(READABLE) == READABLE


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", r"\u001b[2J"),
        ("\x9b31m", r"\u009b31m"),
        ("a\rb", r"a\u000db"),
        ("a\x08b\x7f", r"a\u0008b\u007f"),
        ("\u202egpj.exe", r"\u202egpj.exe"),
        ("\u2066a\u2069\u200e", r"\u2066a\u2069\u200e"),
        ("a\u200bb\ufeff", r"a\u200bb\ufeff"),
        ("a\u2028b\u2029", r"a\u2028b\u2029"),
        ("\udcff", r"\udcff"),
        ("\U000e0041", r"\udb40\udc41"),
        ("\ue000", r"\ue000"),
    ],
)
def test_what_a_terminal_would_act_on_or_hide_becomes_an_escape(text, shown):
    assert visible(text) == for_terminal(text) == shown


def test_lines_stay_in_text_of_several_and_are_escaped_in_one():
    assert for_terminal("a\n\tb") == "a\n\tb"
    assert visible("a\n\tb") == r"a\u000a\u0009b"


def test_json_stays_json():
    text = json.dumps({"name": "\x9b31m\u202e\U000e0041θ"}, ensure_ascii=False)
    assert json.loads(for_terminal(text)) == json.loads(text)


def test_latex_reads_no_command_option_comment_or_alignment():
    assert for_latex(r"\input{/etc/passwd}") == r"\textbackslash{}input\{/etc/passwd\}"
    assert for_latex("a&b%c$d#e_f^g~h") == r"a\&b\%c\$d\#e\_f\textasciicircum{}g\textasciitilde{}h"
    assert for_latex("[2cm]*") == "{[}2cm{]}{*}"
    assert for_latex("a--b---c") == "a-{}-b-{}-{}-c"
    assert "\n" not in for_latex("a\n\n\\par")


def test_latex_has_the_symbols_of_our_own_headings_and_notes_as_mathematics():
    assert for_latex("λ_max, ‖∇L‖, SAM (ρ = 0.1)") == r"$\lambda_{\max}$, $\|\nabla L\|$, SAM ($\rho$ = 0.1)"
    assert for_latex("β₁ ± 1 – † ≈ ↑") == r"$\beta$$_1$ $\pm$ 1 \textendash{} $\dagger$ $\approx$ $\uparrow$"
    assert for_latex("x_max") == r"x\_max"


def test_html_shows_the_text_and_nothing_else():
    text = """<script>alert(1)</script><a href="javascript:x" title='y'>&amp;"""
    seen = []

    class Reader(html.parser.HTMLParser):
        def handle_starttag(self, tag, attrs):
            raise AssertionError(tag)

        def handle_data(self, data):
            seen.append(data)

    Reader().feed(for_html(text))
    assert "".join(seen) == text
    assert '"' not in for_html(text)
    assert "'" not in for_html(text)


def test_markdown_has_no_cell_link_picture_or_html_of_a_stranger():
    assert for_markdown("a|b") == r"a\|b"
    assert for_markdown("![x](http://e/x.png)") == r"![x\](http://e/x.png)"
    assert for_markdown("[x]: http://e") == r"[x\]: http://e"
    assert for_markdown("<img src=x>") == "&lt;img src=x&gt;"
    assert for_markdown("**sam**`") == r"\*\*sam\*\*\`"
    assert for_markdown("a\n\n# b") == r"a\\u000a\\u000a# b"
    assert for_markdown("−1.2 [−2.0, −0.4]") == "−1.2 [−2.0, −0.4]"


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", " =1", "＝1", "-", "+inf_", "-x"],
)
def test_a_cell_that_begins_a_formula_is_text(text):
    assert for_csv(text).startswith("'")
    line = io.StringIO()
    csv.writer(line).writerow([for_csv(text)])
    assert next(csv.reader(io.StringIO(line.getvalue()))) == [for_csv(text)]


@pytest.mark.parametrize("number", [-1.5, 1e-300, -2e300, 3, -7, float("inf"), float("-inf"), float("nan")])
def test_a_number_in_a_cell_stays_the_same_number(number):
    assert for_csv(number) == for_csv(repr(number)) == repr(number)


def test_other_cells_stay():
    for text in ("sam:rho=0.1", "", "a b", "θ", "1.5"):
        assert for_csv(text) == text


def test_a_name_that_no_page_has_room_for_is_cut():
    assert for_mathtext("a" * 200) == "a" * 200
    assert for_mathtext("$" * 100_000) == r"\$" * 200 + "…"


@pytest.mark.parametrize(
    "text",
    ["$x$", r"$\frac{$", "a$b", r"\$x\$", "$$", r"$\notacommand$ $", "costs $5 and $6", r"\\$a$", "\x1b$a$"],
)
def test_a_dollar_sign_is_drawn_as_one(text):
    figure, ax = plt.subplots()
    drawn = ax.set_title(for_mathtext(text))
    ax.set_xlabel(for_mathtext(text) + r" $\theta^2$")  # a formula of our own beside it
    figure.canvas.draw()
    shown, as_formula = drawn._preprocess_math(drawn.get_text())
    plt.close(figure)
    assert (shown, as_formula) == (visible(text), False)
