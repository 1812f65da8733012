"""``landscape watch``: the curves of runs that are going on, in a terminal and as a page; imports no torch."""

import html
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from landscape.errors import InputError
from landscape.tables.escaping import visible

from . import options
from .chart import chart
from .help import ExamplesFirst
from .terminal import clear_note, close_door, drawing_stream, switch_notes

if TYPE_CHECKING:
    from landscape.plotting.sources import Run

_COLOURS = ("cyan", "magenta", "yellow", "green", "blue", "red")
_USUAL = ("loss", "accuracy", "dominant-eigenvalue")
_MOST = 4  # charts that a terminal has room for
_PIPED = 80  # columns where there is no terminal


@click.command(name="watch", cls=ExamplesFirst)
@click.argument("runs", nargs=-1, required=True, metavar="RUN…", type=click.Path(path_type=Path))
@options.measures(
    help="Quantities to draw; by default loss, accuracy and the eigenvalue, or the first measures."
)
@click.option(
    "--every", type=click.FloatRange(min=0.2), default=2.0, show_default=True, help="Seconds between looks."
)
@click.option(
    "--html",
    "page",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also a page that reloads itself.",
)
def command(runs: tuple[Path, ...], measure: tuple[str, ...], every: float, page: Path | None) -> None:
    """Draws the curves of runs that are going on, every few seconds, until they have ended.

    \b
      landscape watch runs/sam-0
      landscape watch runs -M loss,dominant-eigenvalue --html runs.html

    A run is the folder of ``landscape train``, a folder of such folders, or that of a landscape.Tracker, which is over
    when its finish() was called. Ctrl-C ends the watching, and no run. In a pipe the curves are printed once.
    """
    if not sys.stdout.isatty():
        found = _read(runs)
        Console(file=sys.stdout, width=_PIPED, color_system=None).print(_picture(found, measure, _PIPED))
        _write_page(page, found, measure, 0 if _ended(runs) else every)
        return
    clear_note()
    off = switch_notes(off=True)
    console = Console(file=drawing_stream())
    try:
        with Live(console=console, auto_refresh=False) as live:
            close_door()  # rich replaces stdout and stderr
            while True:
                over, found = _ended(runs), _read(runs)  # in this order, so that the last epoch is not missed
                live.update(_picture(found, measure, console.width), refresh=True)
                _write_page(page, found, measure, 0 if over else every)
                if over:
                    return
                time.sleep(every)
    except KeyboardInterrupt:
        return
    finally:
        switch_notes(off=off)


def _read(runs: tuple[Path, ...]) -> "list[Run]":
    from landscape.plotting.sources import Run, read_source

    found = []
    for path in runs:
        for source in read_source(path):
            if not isinstance(source, Run):
                raise InputError(f"{path} is a surface, which does not change; landscape plot draws it")
            found.append(source)
    return found


def _ended(runs: tuple[Path, ...]) -> bool:
    """Whether every run says that it is over."""
    from landscape.records import run_folders
    from landscape.records.run_folder import HISTORY, MEASURES_HISTORY, RECIPE

    folders = [
        each
        for path in runs
        if path.is_dir()
        for each in run_folders(path, files=(RECIPE, HISTORY, MEASURES_HISTORY))
    ]
    return bool(folders) and all(each.ended() for each in folders)


def _quantities(runs: "list[Run]", asked: tuple[str, ...]) -> list[str]:
    from landscape.plotting.run_curves import quantities

    known = quantities(runs)
    usual = [name for name in _USUAL if name in known]
    usual += [name for name in known if name.partition(":")[0] in _USUAL and name not in usual]
    return list(asked or usual or known)[: None if asked else _MOST]


def _picture(runs: "list[Run]", asked: tuple[str, ...], width: int) -> Group:
    from landscape.plotting.page import is_log
    from landscape.plotting.run_curves import axis_label, curves

    names = _quantities(runs, asked)
    if not names:
        return Group(Text("no run has a complete epoch or a measure yet"))
    label, parts = axis_label(runs), list[Text]()
    for name in names:
        heading, drawn = curves(runs, name)
        title = Text(visible(heading), style="bold")
        for number, curve in enumerate(drawn):
            words = " ".join(filter(None, (curve.label, curve.split, "threshold" * curve.is_threshold)))
            title.append(f"  {visible(words)} {curve.y[-1]:.4g}", style=_COLOURS[number % len(_COLOURS)])
        title.truncate(width, overflow="ellipsis")
        parts.append(title)
        log = is_log(np.concatenate([curve.y for curve in drawn]))
        for line in chart([(c.x, c.y) for c in drawn], width=width, height=7, label=label, log=log):
            text = Text()
            for cell in line:
                text.append(
                    cell.text, style="" if cell.curve is None else _COLOURS[cell.curve % len(_COLOURS)]
                )
            parts.append(text)
    return Group(*parts)


def _write_page(page: Path | None, runs: "list[Run]", asked: tuple[str, ...], every: float) -> None:
    """One page with the figure, whole on disk at any time; it reloads itself while the runs go on."""
    if page is None:
        return
    from landscape.plotting.figure_options import FigureOptions
    from landscape.plotting.kinds import draw_figure
    from landscape.plotting.save import svg_element
    from landscape.records.storage import write_whole

    names = _quantities(runs, asked)
    figure, words = "", "no run has a complete epoch or a measure yet"
    if names:
        drawing = draw_figure(runs, FigureOptions(measures=tuple(names)), "history")
        figure, words = svg_element(drawing.figure, "curves"), drawing.caption
    reload = f'<meta http-equiv="refresh" content="{max(1, round(every))}">' if every else ""
    style = "body{font:16px sans-serif;max-width:60em;margin:auto;padding:1em} svg{width:100%;height:auto}"
    head = f'<meta charset="utf-8">{reload}<title>landscape watch</title><style>{style}</style>'
    body = f"{figure}<p>{html.escape(words)}</p>"
    text = f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>\n'
    write_whole(page, text.encode())
