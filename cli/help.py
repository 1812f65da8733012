"""The layout of ``--help``: two commands that can be pasted, then the description, then the flags."""

import inspect
from typing import Any

import click

from .terminal import note, switch_notes


class ExamplesFirst(click.Command):
    """A command whose help begins with the examples of its docstring, the paragraph marked ``\\b``."""

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes examples, usage, text and flags."""
        paragraphs = inspect.cleandoc(self.help or "").split("\n\n")
        examples = [text for text in paragraphs if text.startswith("\b")]
        for text in examples:
            formatter.write(text.removeprefix("\b").strip("\n") + "\n\n")
        self.format_usage(ctx, formatter)
        for text in paragraphs:
            if text not in examples:
                formatter.write_paragraph()
                with formatter.indentation():
                    formatter.write_text(text)
        self.format_options(ctx, formatter)
        self.format_epilog(ctx, formatter)

    def invoke(self, ctx: click.Context) -> Any:
        """Says at once that the command has begun: the imports of what it needs take seconds."""
        if not isinstance(self, click.Group):
            switch_notes(off=bool(ctx.params.get("quiet")))
            note(f"{ctx.command_path}: starting…")
        return super().invoke(ctx)


class GroupWithExamples(ExamplesFirst, click.Group):
    """The same for a group of commands."""
