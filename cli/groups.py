"""Checkpoints that the user has put into rows, opened once so that nothing is measured before all of them fit."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from landscape import records
from landscape.comparison.alike import ROW
from landscape.comparison.groups import Member, refuse_shared, unpaired
from landscape.comparison.runs import MeasuredRun, RunSet
from landscape.errors import InputError
from landscape.records import MEASURES, RunFolder
from landscape.records.run_folder import CHECKPOINT

from . import options

if TYPE_CHECKING:
    from landscape.checkpoints import Contents


def member_runs(
    members: Sequence[Member], source: options.Source, *, any_network: bool, to_measure: bool
) -> RunSet:
    """The checkpoints as runs, each with its records and with its row and seed for a recipe.

    Args:
        members: The checkpoints.
        source: The flags that say what they belong to.
        any_network: Whether rows may be of different networks.
        to_measure: Whether they will be measured, for which model and data have to be known.

    Raises:
        InputError: A file cannot be used, two are the same checkpoint, networks differ, or what is needed to measure
            them is not known.
    """
    from landscape.checkpoints.opening import content_sum

    remarks = []
    opened: list[tuple[Member, Contents]] = []
    by_content: dict[str, Member] = {}
    for member in members:
        around = RunFolder(member.path if member.path.is_dir() else member.path.parent)
        is_run = member.path.is_dir() or member.path.name == CHECKPOINT
        unfinished = around.unfinished() if is_run else None
        if unfinished is not None:
            remarks.append(f"{member.path} is left out: {unfinished}")
            continue
        contents = source.contents(member.path)
        # Not the hash of the file: torch.save writes the name of the file into it.
        refuse_shared(by_content.setdefault(content_sum(contents.state, {}), member), member)
        first = next((pair for pair in opened if pair[0].row == member.row or not any_network), None)
        if first is not None:
            _refuse_another_network(*first, member, contents)
        if (
            to_measure
            and contents.recipe is None
            and source.task is None
            and None in (source.model, source.data)
        ):
            source.open(str(member.path))  # says what is needed
        opened.append((member, contents))
    if not opened:
        raise InputError(f"no run is finished: {remarks[0]}")
    with_recipes = all(contents.recipe is not None for _, contents in opened)
    runs = [_run(member, contents, with_recipe=with_recipes) for member, contents in opened]
    return RunSet(tuple(runs), (*remarks, *unpaired([member for member, _ in opened])), unreadable=0)


def with_recipes(run_set: RunSet, source: options.Source) -> RunSet:
    """The same runs, with the recipes in those checkpoints that have no recipe beside them.

    Raises:
        InputError: A checkpoint has no recipe at all, so that it is in no row.
    """
    runs = []
    for run in run_set.runs:
        recipe = run.recipe
        if recipe is None and not run.estimates and run.checkpoint is not None:
            try:
                recipe = source.contents(run.checkpoint).recipe
            except InputError:  # what cannot be opened is left out when it is measured
                recipe = {}
            if recipe is None:
                raise InputError(
                    f"{run.checkpoint} does not say how it was trained (it was not made by `landscape train`); say "
                    "which checkpoints are a row: --group 'SGD=own/sgd-*' --group 'SAM=own/sam-*'"
                )
        runs.append(replace(run, recipe=recipe or None))
    return replace(run_set, runs=tuple(runs))


def _run(member: Member, contents: "Contents", *, with_recipe: bool) -> MeasuredRun:
    file = contents.path.parent / MEASURES
    known = records.read(file).estimates if file.is_file() else ()
    recipe = dict(contents.recipe or {}) if with_recipe else {}
    return MeasuredRun(
        path=member.path,
        checkpoint=member.path,
        file=file,
        estimates=tuple(e for e in known if e.provenance.checkpoint == contents.identity),
        history=RunFolder(contents.path.parent).read_history() if contents.recipe else (),
        recipe={**recipe, **member.fields, ROW: member.row, "seed": member.seed},
        digest=contents.identity,
    )


def _refuse_another_network(first: Member, before: "Contents", member: Member, contents: "Contents") -> None:
    """Raises :class:`InputError` if two checkpoints differ in the shapes of their tensors."""
    # Not the names: wrappers put words in front of them.
    shapes = [sorted(tuple(tensor.shape) for tensor in each.state.values()) for each in (before, contents)]
    if shapes[0] != shapes[1]:
        sizes = [
            f"{len(each.state)} tensors with {sum(tensor.numel() for tensor in each.state.values()):,} numbers"
            for each in (before, contents)
        ]
        raise InputError(
            f"{first.path} (row '{first.row}') and {member.path} (row '{member.row}') are of different networks "
            f"({sizes[0]}, and {sizes[1]}); give checkpoints of one network"
        )
