"""What mkdocs does beside its own work: pages at their places in the repository, and what is written by the program.

Links between files of the repository are the same on GitHub and on the site, because every published file keeps its
path. Commands, public names, the schema and the scripts of figures are inserted when the site is built.
"""

import importlib
import inspect
import json
import re
from pathlib import Path
from typing import Any

import click
from landscape.cli.application import COMMANDS, application
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
SCHEMA = "landscape/records/measure.schema.json"
PUBLISHED = (
    *("*.md", "LICENSE", "NOTICE", "docs/**/*.md", "docs/site/*.js", "docs/site/*.css"),
    *("figures/*.md", "figures/*.png", "benchmarks/README.md", "docs/notebooks/*.ipynb", SCHEMA),
)
"""Patterns of the files that are on the site."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The files of the site: those of the theme, and ours with their paths in the repository."""
    paths = [path.relative_to(ROOT) for pattern in PUBLISHED for path in sorted(ROOT.glob(pattern))]
    place = (str(ROOT), config.site_dir, config.use_directory_urls)
    own = [File(path.as_posix(), *place) for path in paths]
    for path in paths:
        if path.suffix == ".ipynb":
            page = path.with_suffix(".md").as_posix()
            own.append(File.generated(config, page, content=_notebook(ROOT / path)))
    return Files([*(file for file in files if file.src_dir != config.docs_dir), *own])


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Replaces ``<!-- commands -->``, ``<!-- schema -->``, ``<!-- names: MODULE -->``; adds scripts to the gallery."""
    markdown = re.sub("<!-- commands -->", lambda _: _commands(), markdown)
    markdown = re.sub("<!-- schema -->", lambda _: _schema(), markdown)
    markdown = re.sub(r"<!-- names: (\S+) -->", lambda match: _names(match[1]), markdown)
    if page.file.src_uri == "figures/README.md":
        markdown = re.sub(
            r"(?<=[.:] )?`python (figures/\w+\.py) --recompute`.*?\n(?=\n|$)",
            _with_script,
            markdown,
            flags=re.DOTALL,
        )
    return markdown


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns the roles of docstrings, such as ``:class:``, into links where the target is on the site."""
    link = r'<autoref optional identifier="\1"><code>\1</code></autoref>'
    html = re.sub(r":(?:attr|class|data|func|meth|mod):<code>~?([\w.]+)</code>", link, html)
    return html.replace("::</p>", ":</p>")


def _notebook(file: Path) -> str:
    """A notebook as Markdown: its cells with what they printed and drew."""
    parts = []
    for cell in json.loads(file.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        parts += map(_output, cell.get("outputs", []))
    return "\n\n".join([*parts, f"[This page as a notebook]({file.name})", ""])


def _output(output: dict[str, Any]) -> str:
    shown = {kind: "".join(text) for kind, text in output.get("data", {}).items()}
    if "image/png" in shown:
        width = output["metadata"].get("image/png", {}).get("width", "")
        return f'<img alt="figure" width="{width}" src="data:image/png;base64,{shown["image/png"].strip()}">'
    if "text/html" in shown:
        return shown["text/html"]
    return f"```text\n{shown.get('text/plain', ''.join(output.get('text', '')))}\n```"


def _commands() -> str:
    """The help of every command, as ``-h`` prints it."""
    parent = click.Context(application, info_name="landscape", **application.context_settings)
    parts = []
    for name in COMMANDS:
        command = application.get_command(parent, name)
        assert command is not None, name
        text = command.get_help(click.Context(command, info_name=name, parent=parent, terminal_width=80))
        parts.append(f"## landscape {name}\n\n```text\n{text}\n```\n")
    return "\n".join(parts)


def _schema() -> str:
    """The fields of a line of ``measures.jsonl``, read from the schema."""
    schema = json.loads((ROOT / SCHEMA).read_text(encoding="utf-8"))
    lines = ["| field | type | required | what |", "|---|---|---|---|"]
    for prefix, node in (
        ("", schema),
        *((f"{name}.", schema["properties"][name]) for name in ("provenance", "cost")),
    ):
        for name, field in node["properties"].items():
            required = "yes" if name in node["required"] else "–"
            lines.append(
                f"| `{prefix}{name}` | {_type(field)} | {required} | {field.get('description', '–')} |"
            )
    return "\n".join(lines)


def _type(field: dict[str, Any]) -> str:
    if "anyOf" in field:
        return " or ".join(map(_type, field["anyOf"]))
    kind = field.get("type", field.get("$ref", "").removeprefix("#/$defs/"))
    if "const" in field or "enum" in field:
        return ", ".join(f"`{value}`" for value in field.get("enum", [field.get("const")]))
    return " or ".join(kind) if isinstance(kind, list) else kind


def _names(module: str) -> str:
    """A directive of mkdocstrings for each public class and function of a package, in the order of their import."""
    namespace = importlib.import_module(module)
    package = module.removesuffix(".table")
    shown = []
    for name in [name for name in dir(namespace) if not name.startswith("_")]:
        value = getattr(namespace, name)
        if (inspect.isclass(value) or inspect.isfunction(value)) and value.__module__.startswith(package):
            # By the module that defines it: a file of the same name, such as measures/loss.py, hides a function.
            shown.append(f"::: {value.__module__}.{name}")
    return "\n\n".join(shown)


def _with_script(match: re.Match[str]) -> str:
    source = (ROOT / match[1]).read_text(encoding="utf-8")
    indented = "\n".join(f"    {line}".rstrip() for line in ["```python", *source.splitlines(), "```"])
    return f'{match[0]}\n??? note "{match[1]}"\n\n{indented}\n'
