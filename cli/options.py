"""Flags that mean the same in every command, and how their text becomes values."""

import dataclasses
import functools
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from landscape.errors import InputError, UsageError
from landscape.processes import launch
from landscape.records.reading import read_toml
from landscape.records.storage import refuse_special
from landscape.registry.bounds import LARGEST_SEED
from landscape.registry.nearest import did_you_mean
from landscape.registry.venues import VENUES
from landscape.tables import json_text
from landscape.tables.escaping import for_terminal

from .terminal import note

if TYPE_CHECKING:
    from landscape.checkpoints import Checkpoint, Contents
    from landscape.objective import Objective
    from landscape.processes.group import Group

F = TypeVar("F", bound=Callable[..., Any])


BatchSize = tuple[int, Literal["auto"] | None]
"""Batch size and micro-batch."""


def batch_size(ctx: click.Context, parameter: click.Parameter, value: str | None) -> BatchSize | None:
    """The value of ``--batch-size``: a whole number above 0, or ``auto``; ``None`` if it is not set."""
    if value is None:
        return None
    if value == "auto":
        return 128, "auto"
    try:
        number = int(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is neither a whole number nor auto") from None
    return click.IntRange(min=1).convert(number, parameter, ctx), None


def flag(*names: str, help: str, default: object = None, **settings: Any) -> Callable[[F], F]:
    """A flag whose default, if it has one, is part of its help."""
    return click.option(*names, help=help, default=default, show_default=default is not None, **settings)


def _configure(ctx: click.Context, parameter: click.Parameter, value: Path | None) -> None:
    """Takes defaults from a TOML file whose keys are the flags' long names."""
    if value is None:
        return
    flags = {
        option.removeprefix("--"): p
        for p in ctx.command.params
        for option in p.opts
        if option.startswith("--") and p.expose_value
    }
    defaults = {}
    for key, item in read_toml(value).items():
        name = key.replace("_", "-")
        if name not in flags:
            raise UsageError(
                f"{value}: '{key}' is not an option of `landscape {ctx.info_name}`{did_you_mean(name, flags)}; "
                f"see landscape {ctx.info_name} --help"
            )
        defaults[str(flags[name].name)] = _as_typed(f"{value}: {key}", item, flags[name])
    ctx.default_map = defaults  # which click asks only for flags that were not typed


def _as_typed(place: str, item: object, option: click.Parameter) -> object:
    """A value as it would have been typed, so that click judges it as it judges the command line."""
    if isinstance(option, click.Option) and option.is_flag:
        if not isinstance(item, bool):
            raise UsageError(f"{place} = {_brief(item)} is neither true nor false")
        return item
    if option.multiple:
        return [_text(place, entry) for entry in (item if isinstance(item, list) else [item])]
    return _text(place, item)


def _text(place: str, item: object) -> str:
    if isinstance(item, bool) or not isinstance(item, (str, int, float)):
        raise UsageError(f"{place} = {_brief(item)} is neither text nor a number")
    if isinstance(item, str) and "\0" in item:
        raise UsageError(f"{place} = {item!r} holds a NUL character, which no option may")
    return str(item)


def _brief(item: object) -> str:
    text = str(item)
    return text if len(text) < 60 else f"{text[:60]}…"


config = click.option(
    "-c",
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    is_eager=True,
    expose_value=False,
    callback=_configure,
    help="TOML file with these flags.",
)

_MOST_A_CORE = 16  # more is a slip of the hand, and would take the memory of the whole machine


def _few(ctx: click.Context, parameter: click.Parameter, value: int | None) -> int | None:
    cores = os.cpu_count() or 1
    if value is not None and value > _MOST_A_CORE * cores:
        raise click.BadParameter(
            f"{value} processes on {cores} core{'s' * (cores != 1)}, each with the network and the data in its memory; "
            f"at most {_MOST_A_CORE * cores} are started here"
        )
    return value


processes = flag(
    "--processes",
    type=click.IntRange(min=1),
    callback=_few,
    help="Compute in so many processes on this machine, one a GPU, or sharing the cores.",
)
quiet = click.option("-q", "--quiet", is_flag=True, help="No progress on stderr.")
overwrite = flag("--overwrite/--no-overwrite", default=False, help="Replace existing results.")
resume = flag("--resume/--no-resume", default=True, help="Use the results of an earlier run.")
device = flag("--device", default="auto", metavar="auto|cpu|cuda[:i]|mps", help="Where to compute.")
_PRECISIONS = click.Choice(["float32", "float64"])
dtype = flag("--dtype", type=_PRECISIONS, default="float32", help="Precision.")
seed = flag("--seed", type=click.IntRange(0, LARGEST_SEED), default=0, help="Seed of everything random.")
_VENUES = click.Choice(list(VENUES))
venue = flag("--venue", type=_VENUES, default="neurips", help="The venue whose page the figure is for.")
width = flag("--width", type=click.Choice(["column", "text"]), help="Width of the figure on that page.")
parameters = flag(
    "--parameters",
    metavar="GLOB[,GLOB…]",
    help="Hold all other parameters fixed: 'layer4.*,fc.*'; with ! in front: all but those. * also stands for dots; "
    "what matches no whole name matches after a dot: 'lora_*', 'attn.*'. A tied tensor has any of its names.",
)
recompute = click.option(
    "--recompute",
    is_flag=True,
    help="Keep less in memory for gradients and products: blocks of the network are computed again.",
)
ONE_PROCESS = (
    "--shard-weights divides the weights over processes, and this is one: add --processes N, or start the command with "
    "torchrun or srun"
)
shard_weights = click.option(
    "--shard-weights",
    is_flag=True,
    help="Divide the weights, and all vectors of their size, over the processes (--processes, torchrun, srun).",
)
trust = flag(
    "--trust-checkpoint/--no-trust-checkpoint",
    "trust",
    default=False,
    help="Run code stored in the file; for files of your own.",
)
weights = flag(
    "--weights",
    type=click.Choice(["raw", "ema"]),
    help="The weights that training moves, or their average in the same file; raw by default.",
)
rename = flag(
    "--rename",
    multiple=True,
    metavar="OLD=NEW",
    help="Names of tensors, or what they begin with: backbone=encoder, model.=; repeatable.",
)

limit = flag("--limit", type=click.IntRange(min=1), help="Use a fixed random subset of this size.")
precision = flag("--dtype", type=_PRECISIONS, help="Precision; that of the checkpoint by default.")


def batch_norm(default: str | None = "auto") -> Callable[[F], F]:
    """``--batch-norm``; the default is ``None``, and there is no ``auto``, where records say it."""
    fixed = ["stored", "batch", "recalibrate"]
    return flag(
        "--batch-norm",
        type=click.Choice(["auto", *fixed] if default == "auto" else fixed),
        default=default,
        help="Batch-norm statistics: as stored, of each batch, or recomputed at every point from the training "
        "examples, as on planes through several checkpoints by default.",
    )


def form(*kinds: str) -> Callable[[F], F]:
    """``--format``, one of these kinds; the first by default."""
    return flag("--format", "form", type=click.Choice(kinds), default=kinds[0], help="Output format.")


def measures(*spellings: str, help: str) -> Callable[[F], F]:
    """``-M/--measure``: repeatable, and lists with commas; passed on as a flat tuple of texts without duplicates.

    Args:
        spellings: More spellings, and the name of the parameter.
        help: What the measures are for.
    """
    return click.option(
        *("-M", "--measure", *spellings),
        multiple=True,
        callback=_flat,
        metavar="NAME[:OPTION=VALUE,…],…",
        help=help,
    )


def _flat(ctx: click.Context, parameter: click.Parameter, texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for text in texts for name in listed(text)))


drop = flag(
    "--drop",
    multiple=True,
    callback=_flat,
    metavar="KEY[,KEY…]",
    help="Leave out tensors of the file, by name or pattern: 'head.*'; repeatable.",
)


def json_forms(form: str, value: object) -> str:
    """A value in JSON's types: as one document for ``json``, as a line for each item of a list for ``jsonl``."""
    if form == "json":
        return json_text(value)
    items = value if isinstance(value, list) else [value]
    return for_terminal("\n".join(json.dumps(item, ensure_ascii=False) for item in items))


def split(*parts: str) -> Callable[[F], F]:
    """``--split``, one of these parts of the data; the first by default."""
    return flag("--split", type=click.Choice(parts), default=parts[0], help="Part of the data.")


_model = "Network, if the checkpoint does not say: resnet18, timm:NAME, ./file.py:factory, …"
_data = "Data set, if the checkpoint does not say: cifar10:root=DIR, imagefolder:DIR, …"
_source: list[Callable[[Any], Any]] = [
    flag("-m", "--model", help=_model),
    flag("-d", "--data", help=_data),
    flag("--loss", help="See `landscape list losses`; the recipe's or cross-entropy by default."),
    flag("--task", metavar="FILE.py:FUNCTION", help="Returns dict(model=…, data=…, loss=…)."),
    weights,
    drop,
    rename,
    trust,
]
_subject: list[Callable[[Any], Any]] = [
    *_source[:4],
    split("train", "test", "both"),
    limit,
    flag(
        "-b",
        "--batch-size",
        callback=batch_size,
        default="128",
        metavar="N|auto",
        help="Examples a batch; auto: 128, computed in pieces of the size that is quickest here.",
    ),
    batch_norm(),
    parameters,
    recompute,
    shard_weights,
    flag(
        "--expect-accuracy",
        metavar="PERCENT[±TOLERANCE]",
        help="Exit 3 before any measure if the accuracy differs: 95.1±0.2.",
    ),
    device,
    precision,
    *_source[4:],
]


@dataclass(frozen=True)
class Source:
    """The flags that say where a checkpoint's network, data and loss come from."""

    model: str | None
    data: str | None
    loss: str | None
    task: str | None
    weights: str | None
    drop: tuple[str, ...]
    rename: tuple[str, ...]
    trust: bool

    def open(self, path: str, *, mapped: bool = False) -> "Checkpoint":
        """The checkpoint at a path, with its weights in memory, or ``mapped`` from its file."""
        note(f"opening {click.format_filename(path)}…")
        from landscape.checkpoints import load_checkpoint

        flags = {field.name: getattr(self, field.name) for field in dataclasses.fields(Source)}
        return load_checkpoint(path, mapped=mapped, **flags)

    def contents(self, path: Path) -> "Contents":
        """The contents of the checkpoint at a path, without network and data."""
        from landscape.checkpoints import read_checkpoint

        return read_checkpoint(
            path,
            trust=self.trust,
            weights=self.weights,  # type: ignore[arg-type]
            drop=self.drop,
            rename=self.rename,
        )

    @property
    def names_parts(self) -> bool:
        """Whether flags name the model, data or loss, so that existing records may be of different ones."""
        return any((self.model, self.data, self.loss, self.task, self.weights, self.drop, self.rename))


@dataclass(frozen=True)
class Subject(Source):
    """The flags that say where a checkpoint comes from and what its objective is."""

    split: str
    limit: int | None
    batch_size: BatchSize
    batch_norm: str
    parameters: str | None
    recompute: bool
    shard_weights: bool
    expect_accuracy: str | None
    device: str
    dtype: str | None

    def open(self, path: str, *, mapped: bool = False) -> "Checkpoint":
        """The checkpoint at a path; sharded weights are read from its file as far as they are held here."""
        return super().open(path, mapped=mapped or self.shard_weights)

    def objective(self, checkpoint: "Checkpoint", split: str, *, group: "Group | None" = None) -> "Objective":
        """The objective of an opened checkpoint on a split, divided over the processes of a group."""
        import torch

        if self.shard_weights and (group is None or group.alone):
            raise UsageError(ONE_PROCESS)
        note(f"reading the data of {click.format_filename(checkpoint.contents.path)}…")
        return checkpoint.objective(
            split,
            limit=self.limit,
            batch_size=self.batch_size[0],
            micro_batch=self.batch_size[1],
            batch_norm=self.batch_norm,  # type: ignore[arg-type]
            parameters=None if self.parameters is None else listed(self.parameters),
            recompute=self.recompute,
            shard_weights=self.shard_weights,
            device=chosen_device(self.device, self.dtype),
            dtype=getattr(torch, self.dtype) if self.dtype else None,
            # Without a group, the command has refused several processes that would do the same.
            processes="alone" if group is None or group.alone else "split",
        )


def gathered(**kinds: type[Any]) -> Callable[[F], F]:
    """Calls a command with groups of its flags as dataclasses: ``@gathered(grid=Grid)``.

    It is the last decorator of the command. The fields of each dataclass have the names of the flags' parameters.
    """

    def decorated(function: F) -> F:
        @functools.wraps(function)
        def command(*arguments: Any, **flags: Any) -> Any:
            for name, kind in kinds.items():
                fields = {field.name: flags.pop(field.name) for field in dataclasses.fields(kind)}
                flags[name] = kind(**fields)
            return function(*arguments, **flags)

        return command  # type: ignore[return-value]

    return decorated


def _with_flags(flags: Sequence[Callable[[F], F]], function: F) -> F:
    return functools.reduce(lambda command, flag: flag(command), reversed(flags), function)


def source_flags(function: F) -> F:
    """The flags of every command that opens checkpoints, passed to it as ``source``, a :class:`Source`."""
    return _with_flags(_source, gathered(source=Source)(function))


def subject_flags(function: F) -> F:
    """The flags of every command that measures checkpoints, passed to it as ``subject``, a :class:`Subject`."""
    return _with_flags(_subject, gathered(subject=Subject)(function))


def chosen_device(name: str, dtype: str | None = None) -> str:
    """The device of that name, or for ``auto`` the best one; raises :class:`UsageError` if it does not exist."""
    import torch

    from landscape.objective.arguments import device_named

    precision = getattr(torch, dtype) if dtype else torch.float32
    place = device_named(name, dtype=precision, spelling="--device ")
    if str(place) == "cuda" and launch() is not None:
        # With its number, as other threads of this process begin at the first GPU.
        place = torch.device("cuda", torch.cuda.current_device())
    return str(place)


def writable(path: Path) -> Path:
    """The path; raises :class:`InputError` before a long computation if no file can be written there."""
    refuse_special(path)
    place = path.parent
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise InputError(f"{path} cannot be written: {place} is not a folder; choose another place with -o")
    if not os.access(place, os.W_OK | os.X_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise InputError(f"{path} cannot be written: no permission in {place}; choose another place with -o")
    return path


def listed(text: str) -> list[str]:
    """``"sgd,gsam:rho=0.1,alpha=0.2,sam"`` → its three specifications: a part with only ``=`` is an option."""
    names: list[str] = []
    for part in text.split(","):
        if names and "=" in part and ":" not in part:
            names[-1] += "," + part
        else:
            names.append(part)
    names = [name.strip() for name in names if name.strip()]
    if not names:
        raise UsageError(f"'{text}' names nothing; write one or more names, separated by commas")
    return list(dict.fromkeys(names))


MOST_NUMBERS = 10_000
"""More runs than anybody means to begin with one command."""


def numbers(text: str) -> list[int]:
    """``"0-2,7"`` → ``[0, 1, 2, 7]``, at most :data:`MOST_NUMBERS` of them."""
    values: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        try:
            span = range(int(first), int(last if dash else first) + 1)
        except ValueError:
            raise UsageError(f"'{text}' is not a list of whole numbers such as 0-2 or 0,1,5") from None
        # A range is counted before it is filled: len() itself fails above 2⁶³.
        if span.stop - span.start > MOST_NUMBERS - len(values):
            raise UsageError(f"'{text}' names more than {MOST_NUMBERS:,} numbers; write a shorter range: 0-2")
        values.extend(span)
    if not values:
        raise UsageError(f"'{text}' names no number; write the smaller one first: 0-2")
    return list(dict.fromkeys(values))
