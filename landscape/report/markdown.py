"""A report as Markdown, for a pull request or a model card: all of it except the pictures."""

from landscape.report.content import Block, Commands, Report
from landscape.tables import Grid
from landscape.tables.escaping import for_markdown, visible


def markdown(report: Report) -> str:
    """The report with its tables, sentences and commands; a section of pictures alone is left out."""
    parts = [f"# {for_markdown(report.title)}", for_markdown(report.summary)]
    for section in report.sections:
        blocks = [text for block in section.blocks if (text := _block(block))]
        if blocks:
            parts += [f"## {for_markdown(section.title)}", *blocks]
    return "\n\n".join(parts) + "\n"


def _block(block: Block) -> str:
    if isinstance(block, Grid):
        return block.markdown()
    if isinstance(block, Commands):
        # Indented, because no text in it can end such a block.
        return "\n".join(f"    {visible(line)}" for line in block.lines)
    return for_markdown(block) if isinstance(block, str) else ""
