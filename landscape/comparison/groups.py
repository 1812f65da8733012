"""Checkpoints that the user names as the rows of a table: patterns of files, or a table of them.

Nothing is known of how they were trained, so the user says which of them repeat one another, and the names of the
files or a column of the table say with which seed.
"""

import csv
import glob
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from landscape.comparison.alike import ROW
from landscape.errors import InputError, UsageError
from landscape.records.reading import read_text
from landscape.records.run_folder import WEIGHT_SUFFIXES
from landscape.registry.nearest import did_you_mean
from landscape.tables.escaping import for_csv

COLUMNS = ("checkpoint", ROW, "seed")
"""The columns that a table of checkpoints must have."""

Seed = int | str | None


@dataclass(frozen=True)
class Member:
    """One checkpoint of a row.

    Attributes:
        path: The file or folder, as the user would name it.
        row: The label of its row.
        seed: What it has in common with checkpoints of other rows; ``None`` if its name holds no number.
        fields: The other columns of the table.
    """

    path: Path
    row: str
    seed: Seed = None
    fields: Mapping[str, str] = field(default_factory=dict)


def from_groups(texts: Sequence[str], seed_from: str | None = None) -> tuple[Member, ...]:
    """The checkpoints of ``"SGD=own/sgd-*"``, ``"SAM=a.pt,b.pt"``, …, in the order of the groups and of their seeds.

    Args:
        texts: A label, and paths or patterns of them after the equals sign.
        seed_from: A regular expression whose first group is the seed in a path. By default the seed is the number
            in which the paths of a row differ; if there are several, the one after the word seed.

    Raises:
        UsageError: A group has no label or no pattern, labels repeat, or seeds cannot be read from the paths.
        InputError: Nothing matches a pattern.
    """
    pattern = None if seed_from is None else _expression(seed_from)
    members: list[Member] = []
    for text in texts:
        row, paths = _group(text)
        if any(member.row == row for member in members):
            raise UsageError(
                f"two groups are called '{row}'; give the files of a row together: --group '{row}=A*,B*'"
            )
        seeds = _by_expression(row, paths, pattern) if pattern else _by_number(row, paths)
        group = [Member(path, row, seed) for path, seed in zip(paths, seeds, strict=True)]
        members += sorted(group, key=lambda member: (isinstance(member.seed, str), member.seed or 0))
    _check(members)
    return tuple(members)


def from_table(file: Path) -> tuple[Member, ...]:
    """The checkpoints of a CSV file with the columns checkpoint, row and seed, and any others, in its order.

    Paths are relative to the folder of the file, or else to the current one.

    Raises:
        InputError: A column, a cell or a file is missing, a cell is a formula, or a seed repeats within a row.
    """
    members = []
    for number, cells in _lines(file):
        where = f"{file}, line {number}"
        for name, text in cells.items():
            # As spreadsheets read it: a table that was saved with its formulas holds no values.
            if for_csv(text).startswith("'") and not text.startswith("'"):
                raise InputError(
                    f"{where}: {name} is '{text}', which is a formula; save the table with its values"
                )
            if name in COLUMNS and not text:
                raise InputError(f"{where}: {name} is empty; every line needs {', '.join(COLUMNS)}")
        path = Path(cells["checkpoint"]).expanduser()
        beside = file.parent / path
        if not beside.exists() and not path.exists():
            places = (
                "" if path.is_absolute() else f", neither in {file.parent.absolute()} nor in {Path.cwd()}"
            )
            raise InputError(f"{where}: {path} does not exist{places}")
        fields = {name: text for name, text in cells.items() if name not in COLUMNS}
        seed = _number(cells["seed"])
        members.append(Member(beside if beside.exists() else path, cells[ROW], seed, fields))
    if not members:
        raise InputError(f"{file} has no line below the header; add one for each checkpoint")
    _check(members)
    return tuple(members)


def seeds_in_words(members: Sequence[Member]) -> str:
    """The seeds read from the file names, for the reader to check."""
    rows: dict[str, list[str]] = {}
    for member in members:
        rows.setdefault(member.row, []).append("none" if member.seed is None else str(member.seed))
    example = next((m for m in members if m.seed is not None), None)
    if example is None:
        return "Seeds: the names of the files hold no number that could be one"
    by_row = "; ".join(f"{row} {', '.join(seeds)}" for row, seeds in rows.items())
    return f"Seeds, from the names ({example.path.name} → {example.seed}): {by_row}"


def _check(members: Sequence[Member]) -> None:
    """Refuses two checkpoints with one seed in a row, and one path in two places."""
    seen: dict[tuple[str, Seed], Member] = {}
    paths: dict[Path, Member] = {}
    for member in members:
        other = seen.setdefault((member.row, member.seed), member)
        if other is not member and other.path.resolve() != member.path.resolve():
            seed = "no seed" if member.seed is None else f"seed {member.seed}"
            raise UsageError(
                f"row '{member.row}' has two checkpoints with {seed}: {other.path} and {member.path}; leave one out, "
                "or say how to read the seed: --seed-from 'seed(\\d+)'"
            )
        refuse_shared(paths.setdefault(member.path.resolve(), member), member)


def unpaired(members: Sequence[Member]) -> list[str]:
    """A remark on the seeds that some rows lack, as their differences are of fewer seeds then."""
    seeds: dict[str, list[Seed]] = {}
    for member in members:
        seeds.setdefault(member.row, []).append(member.seed)
    everywhere = dict.fromkeys(member.seed for member in members)
    lacking = {row: [str(seed) for seed in everywhere if seed not in each] for row, each in seeds.items()}
    words = [f"{row} lacks seed {', '.join(absent)}" for row, absent in lacking.items() if absent]
    return [f"{'; '.join(words)}: differences are over the seeds that both rows have"] if words else []


def refuse_shared(first: Member, second: Member) -> None:
    """Raises :class:`InputError` if two members share their weights."""
    if first is second:
        return
    places = " and ".join(f"'{m.row}' seed {m.seed} ({m.path})" for m in (first, second))
    raise InputError(f"{places} are the same checkpoint; a checkpoint counts once, so leave one of them out")


def _group(text: str) -> tuple[str, list[Path]]:
    """The label and the paths of one group. A label and a path may hold an equals sign, as in epoch=3.ckpt."""
    places = [match.start() for match in re.finditer("=", text)]
    splits = [(text[:place].strip(), text[place + 1 :].strip()) for place in places]
    splits = [(row, patterns) for row, patterns in splits if row and patterns]
    if not splits:
        raise UsageError(f"--group '{text}' is not LABEL=PATTERN, such as --group 'SGD=own/sgd-*.pt'")
    for row, patterns in splits:
        paths = [path for pattern in _listed(patterns) for path in _matches(pattern)]
        if paths and all(_matches(pattern) for pattern in _listed(patterns)):
            return row, list(dict.fromkeys(paths))
    row, patterns = splits[0]
    pattern = next(p for p in _listed(patterns) if not _matches(p))
    raise InputError(f"--group '{row}': nothing matches {pattern}{_what_is_there(pattern)}")


def _listed(patterns: str) -> list[str]:
    """Patterns between commas, unless a file has this very name."""
    if Path(patterns).expanduser().exists():
        return [patterns]
    return [part.strip() for part in patterns.split(",") if part.strip()]


def _matches(pattern: str) -> list[Path]:
    """The files and folders of a pattern; of several kinds, those that may hold weights."""
    expanded = str(Path(pattern).expanduser())
    if Path(expanded).exists():  # brackets in the name of a file are no pattern
        return [Path(expanded)]
    paths = [Path(name) for name in sorted(glob.glob(expanded, recursive=True))]
    weights = [path for path in paths if path.is_dir() or path.suffix in WEIGHT_SUFFIXES]
    return weights or paths


def _what_is_there(pattern: str) -> str:
    """The content of the nearest folder of a pattern that exists, for a message."""
    folder = Path(pattern).expanduser().parent
    while not folder.is_dir():
        folder = folder.parent
    names = sorted(child.name for child in folder.iterdir())
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"; {folder} holds {', '.join(names[:5]) or 'nothing'}{more}"


def _expression(text: str) -> re.Pattern[str]:
    try:
        pattern = re.compile(text)
    except re.error as failure:
        raise UsageError(f"--seed-from '{text}' is no regular expression: {failure}") from None
    if not pattern.groups:
        raise UsageError(
            f"--seed-from '{text}' has no group; put the seed in brackets: --seed-from 'seed-(\\d+)'"
        )
    return pattern


def _by_expression(row: str, paths: Sequence[Path], pattern: re.Pattern[str]) -> list[Seed]:
    matches = {path: pattern.search(path.as_posix()) for path in paths}
    for path, match in matches.items():
        if match is None or match[1] is None:
            raise UsageError(f"--seed-from '{pattern.pattern}' does not match {path} of row '{row}'")
    return [_number(match[1]) for match in matches.values() if match is not None]


def _by_number(row: str, paths: Sequence[Path]) -> list[Seed]:
    """The number in which the paths differ; with several, the one after the word seed."""
    texts = [
        path.with_suffix("").as_posix() if path.suffix in WEIGHT_SUFFIXES else path.as_posix()
        for path in paths
    ]
    named = [re.findall(r"seed[-_=]?(\d+)", text, re.IGNORECASE) for text in texts]
    if all(named) and len({numbers[-1] for numbers in named}) == len(paths):
        return [int(numbers[-1]) for numbers in named]
    numbers = [re.findall(r"\d+", text) for text in texts]
    if len(paths) == 1:
        last = re.findall(r"\d+", Path(texts[0]).name)
        return [int(last[-1]) if last else None]
    same_words = len({re.sub(r"\d+", "#", text) for text in texts}) == 1
    columns = dict.fromkeys(zip(*numbers, strict=True)) if same_words else {}
    differing = [column for column in columns if len(set(column)) > 1]
    if len(differing) == 1:
        return [int(number) for number in differing[0]]
    names = f"{paths[0]} and {paths[-1]}"
    reason = f"differ in {len(differing)} numbers" if differing else "differ in more than a number"
    raise UsageError(
        f"the names of row '{row}' {reason} ({names}), so that the seed is not clear; say how to read it: "
        "--seed-from 'seed-(\\d+)'"
    )


def _number(text: str) -> Seed:
    return int(text) if re.fullmatch(r"\d{1,18}", text) else text


def _lines(file: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The lines of a CSV file with their numbers: the text of each cell by the name of its column."""
    if not file.is_file():
        raise InputError(f"{file} does not exist; it is a CSV file with the columns {', '.join(COLUMNS)}")
    reader = csv.reader(io.StringIO(read_text(file).removeprefix("\ufeff"), newline=""))
    try:
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except csv.Error as failure:
        raise InputError(f"{file}, line {reader.line_num} is not a line of CSV: {failure}") from failure
    filled = [(number, row) for number, row in rows if any(row)]
    head = filled[0][1] if filled else []
    for name in COLUMNS:
        if name not in head:
            known = ", ".join(head) or "none"
            raise InputError(
                f"{file} has no column {name}{did_you_mean(name, head)}; its columns are: {known}"
            )
    if len(set(head)) < len(head):
        raise InputError(f"{file} has two columns of one name: {', '.join(head)}; rename one")
    for number, row in filled[1:]:
        if len(row) != len(head):
            raise InputError(f"{file}, line {number} has {len(row)} cells, and the header has {len(head)}")
        yield number, dict(zip(head, row, strict=True))
