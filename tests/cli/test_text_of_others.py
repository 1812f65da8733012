"""What a stranger's files say reaches the terminal as text, never as a command to it."""

import io
import json
import sys
import warnings

import click
import pytest
from landscape.cli.progress import Bar
from landscape.cli.terminal import PlainStream, plain_output
from records_made import run

from landscape import records

ESCAPE = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e\rθ"


def harmless(text):
    return all(c.isprintable() or c in "\n\t" for c in text)


@pytest.fixture
def foreign(tmp_path):
    """Records whose every name acts on a terminal."""
    for seed, optimizer in enumerate((ESCAPE, "sam")):
        made = run(1.0, seed=seed, optimizer=optimizer, measure="loss", unit=ESCAPE, data=ESCAPE, base=ESCAPE)
        records.append(tmp_path / f"m{seed}.jsonl", made)


@pytest.mark.parametrize("form", ["table", "json", "csv", "md", "latex"])
def test_compare_shows_the_names_of_a_strangers_records(landscape, foreign, form):
    result = landscape(
        "compare", "m0.jsonl", "m1.jsonl", "--no-measure-missing", "--format", form, "-o", f"t.{form}"
    )
    assert result.code == 0, result.err
    assert harmless(result.out)
    assert harmless(result.err)
    assert r"\u001b]0;owned" in result.out.replace("textbackslash{}", "").replace(r"\\u", r"\u").replace(
        "{]}", "]"
    )
    if form == "json":
        assert ESCAPE in {cell["optimizer"] for cell in json.loads(result.out)["cells"]}


@pytest.mark.parametrize(
    "arguments",
    [
        ["compare", "m0.jsonl", "--baseline", "x"],
        ["compare", "m0.jsonl", "-M", "x"],
        ["compare", "m0.jsonl", "--by", "x"],
        ["compare", f"{ESCAPE}"],
        ["plot", f"{ESCAPE}.npz"],
        ["measure", f"{ESCAPE}.pt"],
        ["measure", "x", "-M", ESCAPE],
        ["surface", "x", "--plane", ESCAPE],
        [ESCAPE],
    ],
)
def test_errors_that_quote_a_stranger_are_one_line_of_text(landscape, foreign, arguments):
    result = landscape(*arguments, *(["--no-measure-missing"] if arguments[0] == "compare" else []))
    assert result.code in (2, 3)
    assert harmless(result.error)


def test_warnings_and_whatever_else_prints_pass_the_same_door(capsys):
    with plain_output():
        click.echo(ESCAPE)
        print(ESCAPE)
        print(ESCAPE, file=sys.stderr)
        sys.stderr.writelines([ESCAPE, "\n"])
        with warnings.catch_warnings():
            warnings.showwarning = lambda *arguments, **_: print(*arguments, file=sys.stderr)
            warnings.warn(ESCAPE, stacklevel=1)
    seen = capsys.readouterr()
    assert harmless(seen.out)
    assert harmless(seen.err)
    assert seen.out.count("θ") == 2
    assert not isinstance(sys.stdout, PlainStream)


def test_bytes_find_no_way_past_the_door():
    stream = PlainStream(io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))
    with pytest.raises(TypeError):
        stream.write(b"\x1b")
    assert not hasattr(stream, "buffer")


def test_what_the_terminal_cannot_write_is_escaped():
    below = io.BytesIO()
    stream = PlainStream(io.TextIOWrapper(below, encoding="ascii"))
    stream.write("θ \udcff\n")
    stream.flush()
    assert below.getvalue() == rb"\u03b8 \udcff" + b"\n"


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


def test_the_bar_moves_the_cursor_and_its_words_do_not(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "stderr", Terminal())
    shown = sys.stderr
    with plain_output(), Bar(f"measure {ESCAPE}[bold]", quiet=False) as bar:
        bar.tell(f"[red]{ESCAPE}", 0.5)
        bar._live.refresh()
        click.echo(f"meanwhile {ESCAPE}", err=True)
        print(f"meanwhile {ESCAPE}", file=sys.stderr)
    text = shown.getvalue()
    assert "\x1b[" in text  # its own
    assert "[bold]" in text
    assert "[red]" in text
    assert r"\u001b]0;owned" in text
    for piece in ("\x1b]0;", "\x07", "\x9b", "\u202e"):
        assert piece not in text
