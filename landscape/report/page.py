"""A report as one HTML file that needs nothing but a browser, also offline and without JavaScript."""

import itertools
from importlib import resources

from landscape.report.content import Block, Commands, Picture, Report, Section, Turnable
from landscape.tables import Grid
from landscape.tables.escaping import for_html

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>
{style}</style>
</head>
<body>
<h1>{title}</h1>
<p>{summary}</p>
<nav>{contents}</nav>
{sections}
</body>
</html>
"""
# Nothing is loaded from anywhere, whatever the text of a stranger's file may be.
_STATIC = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_TURNABLE = f"{_STATIC} blob:; script-src 'unsafe-inline'; worker-src blob:"


def page(report: Report, *, plotly: str | None = None) -> str:
    """The page; the same report gives the same bytes.

    Args:
        report: The report.
        plotly: The source of plotly, which is put into the page to turn surfaces; without it they are only pictures.
    """
    turnable = plotly and any(
        isinstance(block, Turnable) for each in report.sections for block in each.blocks
    )
    places = [f"section-{number}" for number in range(1, len(report.sections) + 1)]
    links = [
        f'<a href="#{place}">{for_html(section.title)}</a>'
        for place, section in zip(places, report.sections, strict=True)
    ]
    sections = [
        _section(section, place, plotly) for place, section in zip(places, report.sections, strict=True)
    ]
    return _PAGE.format(
        policy=_TURNABLE if turnable else _STATIC,
        title=for_html(report.title),
        style=_file("landscape.report", "page.css"),
        summary=for_html(report.summary),
        contents="\n".join(links),
        sections="\n".join(sections),
    )


def _section(section: Section, place: str, plotly: str | None) -> str:
    parts = []
    for pictures, blocks in itertools.groupby(section.blocks, lambda block: isinstance(block, Picture)):
        text = "\n".join(_block(block, plotly) for block in blocks)
        parts.append(f'<div class="pictures">\n{text}\n</div>' if pictures else text)
    return f'<section id="{place}">\n<h2>{for_html(section.title)}</h2>\n' + "\n".join(parts) + "\n</section>"


def _block(block: Block, plotly: str | None) -> str:
    if isinstance(block, Grid):
        notes = "".join(f"<p>{for_html(note)}</p>" for note in block.notes)
        return f"{_box(block.html())}{notes}"
    if isinstance(block, Commands):
        lines = "\n".join(map(for_html, block.lines))
        return _box(f"<pre>{lines}</pre>")
    if isinstance(block, Picture):
        name, wide = for_html(block.name), ' class="wide"' if block.wide else ""
        sheet = f'<div class="sheet" role="img" aria-label="{name}">{block.svg}</div>'
        return f"<figure{wide}>{sheet}<figcaption>{for_html(block.caption)}</figcaption></figure>"
    if isinstance(block, Turnable):
        return _turnable(block, plotly) if plotly else ""
    return f"<p>{for_html(block)}</p>"


def _box(content: str) -> str:
    """A box of its own that scrolls sideways, so that the page never does; the keyboard reaches it."""
    return f'<div class="box" tabindex="0">{content}</div>'


def _turnable(block: Turnable, plotly: str) -> str:
    script = _file("landscape.plotting", "interactive.js")
    # Shown by the script itself, so that nothing empty is left without JavaScript.
    return (
        '<div id="turn" hidden><button id="scale" type="button"></button><div id="plot"></div></div>\n'
        f'<script type="application/json" id="numbers">{block.numbers}</script>\n'
        f'<script>{plotly}</script>\n<script>document.getElementById("turn").hidden = false;\n{script}</script>'
    )


def _file(package: str, name: str) -> str:
    return resources.files(package).joinpath(name).read_text(encoding="utf-8")
