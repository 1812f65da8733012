"""The recipe of a run: everything that decides what it computes, in one frozen value that is saved with it."""

import dataclasses
import functools
import json
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from landscape.errors import InputError, UsageError
from landscape.registry import bounds
from landscape.registry.factories import PARTS, TASKS, named_by_file
from landscape.registry.names import NameTable, Specification, split
from landscape.registry.nearest import did_you_mean
from landscape.training.schedule import Schedule

Value = str | int | float | None
Augmentation = Literal["none", "basic", "cutout", "autoaugment"]
Budget = Literal["epochs", "gradients"]
_Decay = Annotated[float, bounds.Real(0, 1, open_low=True, open_high=True)]


@dataclass(frozen=True, repr=False)
class Flag:
    """How ``landscape train`` offers a field of the recipe, stated last in the annotation of the field.

    Attributes:
        help: What the field means.
        spelling: Another spelling of the flag ``--name``.
        metavar: How a value is written, if the command line takes text for it instead of the field's own type.
        default: The default in words, where it depends on other fields.
    """

    help: str
    spelling: str = ""
    metavar: str | None = None
    default: str | None = None

    def __repr__(self) -> str:
        return "Flag"  # short, because help(Recipe) shows it in the signature and in front of every field


@dataclass(frozen=True)
class Recipe:
    """What to train, on which data, and how. Each field is also a flag of ``landscape train``.

    Raises:
        UsageError: A name, an option or a number is not allowed.
    """

    model: Annotated[str, Flag("The network; see `landscape list models`.", "-m", default="mlp")] = "default"
    data: Annotated[str, Flag("The data set; see `landscape list data`.", "-d", default="digits")] = "default"
    optimizer: Annotated[
        str,
        Flag(
            "The optimizer, or several separated by commas; see `landscape list optimizers`.",
            "--optimizers",
            "NAME[:OPTION=VALUE,…],…",
        ),
    ] = "sgd"
    base: Annotated[str, Flag("The optimizer that steps under SAM and relatives.")] = "sgd"
    lr: Annotated[bounds.Positive, Flag("The highest learning rate.")] = 0.1
    epochs: Annotated[bounds.PositiveInt, Flag("Passes over the training data.")] = 20
    batch_size: Annotated[bounds.PositiveInt, Flag("Examples per step.", "-b")] = 128
    warmup_epochs: Annotated[bounds.NonNegativeInt, Flag("Epochs of linear warm-up.")] = 0
    schedule: Annotated[Schedule, Flag("Decay of the learning rate to zero, or none.")] = "cosine"
    label_smoothing: Annotated[bounds.ShareBelowOne, Flag("Smoothing of the training labels.")] = 0.0
    max_grad_norm: Annotated[bounds.Positive, Flag("Clips the final direction of a step.")] | None = None
    seed: Annotated[bounds.Seed, Flag("Random seed, or several: 0-2, 0,1,5.", "--seeds", "TEXT")] = 0
    device: Annotated[str, Flag("Where to compute.", metavar="auto|cpu|cuda[:i]|mps")] = "auto"
    dtype: Annotated[Literal["float32", "float64"], Flag("Precision of weights and data.")] = "float32"
    label_noise: Annotated[
        float,
        bounds.Real(0, 0.8),
        Flag("Share of wrong training labels, up to 0.8; the same for every seed."),
    ] = 0.0
    augment: Annotated[
        Augmentation,
        Flag(
            "Image augmentation: basic = crop + flip; cutout = basic + hole; autoaugment = basic + learned policy."
        ),
    ] = "none"
    accumulate: Annotated[bounds.PositiveInt, Flag("Micro-batches per batch, to save memory.")] = 1
    accumulation: Annotated[
        Literal["full-batch", "m-sam"],
        Flag("One perturbation for a batch, or one for each micro-batch of SAM."),
    ] = "full-batch"
    ema: (
        Annotated[_Decay, Flag("Decay of an average of the weights, which is evaluated and saved.")] | None
    ) = None
    # Text on the command line, because fp16 is refused below with the reason.
    precision: Annotated[
        Literal["full", "bf16"],
        Flag("Precision of forward passes: that of --dtype, or bf16.", metavar="full|bf16"),
    ] = "full"
    compile: Annotated[
        bool,
        Flag(
            "Compile the network (torch.compile), which takes about a minute; most steps are then faster, those of "
            "small networks on a CPU slower."
        ),
    ] = False
    sync_batch_norm: Annotated[
        bool,
        Flag("Batch norm over the batch of all processes; by default each process normalises its own part."),
    ] = False
    loss: (
        Annotated[
            str, Flag("The loss; see `landscape list losses`. Cross-entropy, or the task's, by default.")
        ]
        | None
    ) = None
    task: (
        Annotated[
            str,
            Flag(
                "A function that returns dict(model=…, data=…, loss=…); the other flags come first.",
                metavar="FILE.py:FUNCTION",
            ),
        ]
        | None
    ) = None

    def __post_init__(self) -> None:
        if self.precision in ("fp16", "float16"):
            raise UsageError(
                f"precision={self.precision} is not supported: its gradients overflow without a loss scale, which the "
                "passes of a step would have to share; use precision=bf16, or your own loop with torch.amp.GradScaler"
            )
        for setting in SETTINGS:
            object.__setattr__(self, setting.name, setting.checked(getattr(self, setting.name)))
        self._complete_names()
        if _is_base(self.optimizer):
            object.__setattr__(self, "base", self.optimizer)
        if not _is_base(self.base):
            names = ", ".join(name for name in tables()["base"] if _is_base(name))
            raise UsageError(f"base={self.base} is not a base optimizer; choose one of {names}")
        if self.warmup_epochs >= self.epochs:
            raise UsageError(f"warmup_epochs={self.warmup_epochs} must be below epochs={self.epochs}")
        if self.accumulate > self.batch_size:
            raise UsageError(f"accumulate={self.accumulate} must be at most batch_size={self.batch_size}")
        if self.precision != "full" and self.dtype != "float32":
            raise UsageError(f"precision={self.precision} needs dtype=float32, not {self.dtype}")
        self._check_optimizer()

    def _complete_names(self) -> None:
        """Spells names in one way; a model or data set that is not set is the task's, or the default one."""
        for name, table in tables().items():
            text = getattr(self, name)
            if text == "default" and name in _DEFAULTS:
                text = self.task or _DEFAULTS[name]
            if text is not None and not (name in PARTS and text == self.task):
                text = str(table.parse(text))
            object.__setattr__(self, name, text)
        from landscape.data import stated
        from landscape.losses import loss_name

        if self.data != self.task:
            object.__setattr__(self, "data", str(stated(split(self.data))))
        if self.loss is not None:
            object.__setattr__(self, "loss", loss_name(self.loss))
        if self.label_smoothing and (self.loss or self.task):
            raise UsageError(
                f"label_smoothing={self.label_smoothing} belongs to the default loss, and this run has "
                f"{f'loss={self.loss}' if self.loss else f'task={self.task}'}; leave it out, or name "
                f"loss=cross-entropy:label_smoothing={self.label_smoothing}"
            )

    def _check_optimizer(self) -> None:
        """Refuses what an optimizer of that name would accept but nobody can mean."""
        optimizer = tables()["optimizer"].parse(self.optimizer)
        rho = optimizer.options.get("rho")
        if isinstance(rho, (int, float)) and not rho > 0:
            raise UsageError(f"{self.optimizer}: rho must be above 0; use sgd for no perturbation")
        if self.accumulation == "m-sam" and optimizer.name != "sam":
            raise UsageError(
                "accumulation=m-sam perturbs each micro-batch separately, which is a rule of sam, not of "
                f"{optimizer.name}; use optimizer=sam or accumulation=full-batch"
            )
        if self.compile and tables()["optimizer"].settings(optimizer).get("mode") == "exact":
            raise UsageError(
                f"compile=True: torch.compile has no second derivatives, which mode=exact of {optimizer.name} needs; "
                "use mode=fd, or leave out compile"
            )
        if self.ema is not None and optimizer.name == "swa":
            raise UsageError("ema and swa both average the weights; leave out ema, or use optimizer=sgd")

    @property
    def built_optimizer(self) -> str:
        """The optimizer as it is built: SAM with a perturbation for each micro-batch is m-SAM."""
        if self.accumulation == "full-batch":
            return self.optimizer
        options = {**tables()["optimizer"].parse(self.optimizer).options, "m": self.micro_batch}
        return str(Specification("m-sam", options))

    def shortened(self) -> "Recipe":
        """The same recipe with the shortest name of its data, in which runs are compared and recorded."""
        if self.data == self.task:
            return self
        from landscape.data import data_name

        return dataclasses.replace(self, data=data_name(self.data))

    @property
    def micro_batch(self) -> int:
        """The number of examples in one forward pass."""
        return -(-self.batch_size // self.accumulate)

    def to_dict(self) -> dict[str, Value]:
        """The fields by name, in order; those that older recipes do not have only if they are set."""
        fields = dataclasses.asdict(self)
        return {name: value for name, value in fields.items() if value or name not in _LATER}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Recipe":
        """The recipe with these fields and defaults; raises :class:`UsageError` if one is unknown or not allowed."""
        known = [setting.name for setting in SETTINGS]
        for name in fields:
            if name not in known:
                guess = did_you_mean(str(name), known)
                raise UsageError(f"a recipe has no '{name}'{guess}; it has {', '.join(known)}")
        return cls(**fields)

    def to_toml(self) -> str:
        """The recipe as TOML; a field that is ``None`` is left out."""
        lines = [f"{name} = {_toml(value)}" for name, value in self.to_dict().items() if value is not None]
        return "\n".join(lines) + "\n"

    @classmethod
    def from_file(
        cls, fields: Mapping[str, Any], *, source: str, requested: "Recipe | None" = None
    ) -> "Recipe":
        """The recipe in a file that somebody else may have written.

        Args:
            fields: The content of the file.
            source: The file, as messages name it.
            requested: The recipe that the user has typed: names of code are accepted only if they stand there too.

        Raises:
            InputError: The file names code or something else that only the user may name, has an unknown field, or
                a value that is not allowed.
        """
        for name, table in tables().items():
            if fields.get(name) is not None and fields[name] != getattr(requested, name, None):
                way_out = f"add {FLAGS.get(name, f'--{name}')} {fields[name]} if you know it"
                named_by_file(table, fields[name], source=source, kind="recipe", way_out=way_out)
        try:
            data = fields.get("data")
            if isinstance(data, str) and data != fields.get("task"):
                from landscape.data import stated

                fields = {**fields, "data": str(stated(split(data), "imagenet"))}
            return cls.from_dict(fields)
        except UsageError as failure:
            raise InputError(f"{source}: {failure}") from failure

    @classmethod
    def from_toml(cls, text: str) -> "Recipe":
        """The recipe that :meth:`to_toml` wrote; raises :class:`InputError` as :meth:`from_file` does."""
        try:
            fields = tomllib.loads(text)
        except (ValueError, RecursionError) as failure:  # also a number of thousands of digits
            raise InputError(f"the recipe is not TOML: {failure}") from failure
        return cls.from_file(fields, source="the recipe")


_DEFAULTS = {"model": "mlp", "data": "digits"}
FLAGS = {"task": "--task", "model": "-m", "data": "-d", "loss": "--loss"}
"""The flags of what is trained."""
HOW_COMPUTED = ("device", "compile")
"""The fields that say where and how a run is computed, which does not change what it is."""
_LATER = (
    "compile",
    "sync_batch_norm",
    "loss",
    "task",
)  # the files of runs without them have the same bytes as before there were any

_KINDS = {float: "a number", int: "a whole number", str: "text", bool: "True or False"}


@dataclass(frozen=True)
class Setting:
    """A field of :class:`Recipe`, as its declaration says; ``choices`` are its values if they can be listed."""

    name: str
    default: Any
    kind: type
    choices: tuple[str, ...]
    optional: bool
    limit: bounds.Limit | None
    flag: Flag

    def checked(self, value: Any) -> Any:
        """``value`` if it has the type of the field and is within its bounds; text and booleans are no numbers."""
        if value is None and self.optional:
            return None
        # The type comes before the bounds, because == of a tensor from a file would compare its elements.
        fits = type(value) in ((int, float) if self.kind is float else (self.kind,))
        if not fits or (self.kind is str and not bounds.is_writable(value)):
            raise UsageError(f"{self.name}={bounds.shown(value)} is not {_KINDS[self.kind]}")
        if self.name != "seed":  # a seed may be larger than what can be counted to
            bounds.refuse_enormous(self.name, value)
        return value if self.limit is None else self.limit.check(self.name, value)


def _settings() -> Iterator[Setting]:
    annotations = typing.get_type_hints(Recipe, include_extras=True)
    for item in dataclasses.fields(Recipe):
        annotation = annotations[item.name]
        optional = typing.get_origin(annotation) in (typing.Union, types.UnionType)
        if optional:
            annotation = typing.get_args(annotation)[0]
        # Python merges nested annotations: Annotated[bounds.Positive, Flag] is Annotated[float, bounds.Real, Flag].
        kind, *_, flag = typing.get_args(annotation)
        is_literal = typing.get_origin(kind) is Literal
        yield Setting(
            name=item.name,
            default=item.default,
            kind=str if is_literal else kind,
            choices=typing.get_args(kind) if is_literal else (),
            optional=optional,
            limit=bounds.limit_of(kind if is_literal else annotation),
            flag=flag,
        )


SETTINGS = tuple(_settings())

# The explanation of a field is written once: it is the help of its flag and its line in help(Recipe).
Recipe.__doc__ = f"{Recipe.__doc__}\n    Attributes:\n" + "\n".join(
    f"        {setting.name}: {setting.flag.help}" for setting in SETTINGS
)


@functools.cache
def subject_tables() -> dict[str, NameTable[Any]]:
    """The tables that list what is trained, by field of the recipe; the task first, as it may give the others."""
    # Not imported with the file, because they bring torch: `landscape train --help` would take seconds.
    from landscape.data import DATA
    from landscape.losses import LOSSES
    from landscape.models import MODELS

    return {"task": TASKS, "model": MODELS, "data": DATA, "loss": LOSSES}


@functools.cache
def tables() -> dict[str, NameTable[Any]]:
    """The fields that are names, with the tables that list them."""
    from landscape.optim import OPTIMIZERS

    return {**subject_tables(), "optimizer": OPTIMIZERS, "base": OPTIMIZERS}


def _is_base(text: str) -> bool:
    from landscape.optim import OPTIMIZERS

    return OPTIMIZERS.row(OPTIMIZERS.parse(text).name).is_base


def _toml(value: Value) -> str:
    if isinstance(value, str):
        # JSON's escapes are TOML's, except that TOML also requires DEL to be escaped.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value).lower() if isinstance(value, bool) else repr(value)
