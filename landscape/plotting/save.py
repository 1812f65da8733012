"""Figures as files of exactly their size, with embedded fonts; the same figure gives the same bytes."""

import io
import re
from pathlib import Path

from matplotlib.figure import Figure

from landscape.errors import UsageError
from landscape.plotting.caption import tex
from landscape.plotting.style import paper
from landscape.records.storage import write_whole
from landscape.tables.escaping import for_terminal

# What would differ between two runs, or between two versions that draw the same figure.
_METADATA: dict[str, dict[str, None]] = {
    "pdf": {"Creator": None, "Producer": None, "CreationDate": None},
    "svg": {"Creator": None, "Date": None},
    "png": {"Software": None},
}
_DPI = {"pdf": 600, "svg": 600, "png": 300}  # in vector files, of the parts that are images


def save_figure(
    figure: Figure, path: str | Path, *, caption: str | None = None, dpi: int | None = None
) -> tuple[Path, ...]:
    r"""Writes a figure at exactly its size, completely or not at all.

    Args:
        figure: The figure.
        path: The file, ending in ``.pdf`` (Type-42 fonts), ``.svg`` (text as outlines) or ``.png``.
        caption: Text of a caption, written beside the figure as ``.txt`` and, escaped, as ``\caption`` in ``.tex``.
        dpi: Dots per inch of a picture, and of the images inside a vector file; by default 300 and 600.

    Returns:
        The files written.

    Raises:
        UsageError: The suffix is another one.
    """
    path = Path(path)
    kind = path.suffix.lower().removeprefix(".")
    if kind not in _METADATA:
        raise UsageError(f"{path}: '{path.suffix}' is not a picture format; end it in .pdf, .svg or .png")
    write_whole(path, _content(figure, kind, dpi))  # only a complete figure replaces the file
    if caption is None:
        return (path,)
    write_whole(path.with_suffix(".txt"), f"{for_terminal(caption)}\n".encode())
    write_whole(path.with_suffix(".tex"), f"\\caption{{{tex(caption)}}}\n".encode())
    return path, path.with_suffix(".txt"), path.with_suffix(".tex")


def svg_element(figure: Figure, prefix: str, *, dpi: int = 150) -> str:
    """A figure as an ``svg`` element for a page, with ``prefix`` before its identifiers: a page has many figures."""
    text = _content(figure, "svg", dpi).decode()
    text = re.sub(r"<!--.*?-->", "", text[text.index("<svg") :], flags=re.DOTALL)
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}-", text)


def _content(figure: Figure, kind: str, dpi: int | None) -> bytes:
    buffer = io.BytesIO()
    with paper():  # ticks are counted and made anew when a figure is saved, by the settings of that moment
        figure.savefig(buffer, format=kind, dpi=dpi or _DPI[kind], metadata=_METADATA[kind])
    return buffer.getvalue()
