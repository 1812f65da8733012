"""What a report consists of, before it is rendered: sections of sentences, tables, commands and pictures.

Text is plain everywhere; each rendering escapes it for its medium.
"""

from dataclasses import dataclass

from landscape.tables import Grid


@dataclass(frozen=True)
class Commands:
    """Lines for a shell."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class Picture:
    """A figure as an ``svg`` element, with its name and its caption; a wide one has panels beside each other."""

    svg: str
    name: str
    caption: str
    wide: bool = False


@dataclass(frozen=True)
class Turnable:
    """Surfaces for :data:`landscape.plotting.interactive`, as the JSON of ``page_numbers``."""

    numbers: str


Block = str | Grid | Commands | Picture | Turnable


@dataclass(frozen=True)
class Section:
    """A title and what stands below it."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Report:
    """A title, a summary in one line, and the sections."""

    title: str
    summary: str
    sections: tuple[Section, ...]
