"""The recipe of a run: everything that decides what it computes, in one frozen value that is saved with it."""

import dataclasses
import json
import math
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from landscape.data import DATA
from landscape.errors import InputError, UsageError
from landscape.models import MODELS
from landscape.optim import OPTIMIZERS
from landscape.registry.bounds import LARGEST_SEED, is_writable, refuse_enormous, shown
from landscape.registry.factories import named_by_file
from landscape.registry.names import NameTable, Specification
from landscape.registry.nearest import did_you_mean
from landscape.training.augmentation import Augmentation
from landscape.training.schedule import Schedule

Value = str | int | float | None


def setting(
    default: Value, help: str, *flags: str, metavar: str | None = None, table: NameTable[Any] | None = None
) -> Any:
    """A field of a recipe, with everything that ``landscape train`` needs to offer it as a flag.

    Args:
        default: The default value of the field and of the flag.
        help: What the field means.
        flags: Further spellings of the flag ``--name``.
        metavar: How a value is written, if the command line takes text for it instead of the field's own type.
        table: The names that the field accepts.
    """
    details = {"help": help, "flags": flags, "metavar": metavar, "table": table}
    return dataclasses.field(default=default, metadata=details)


@dataclass(frozen=True)
class Recipe:
    """What to train, on which data, and how. Each field is also a flag of ``landscape train``.

    Raises:
        UsageError: A name, an option or a number is not allowed.
    """

    model: str = setting("mlp", "The network; see `landscape list models`.", "-m", table=MODELS)
    data: str = setting("digits", "The data set; see `landscape list data`.", "-d", table=DATA)
    optimizer: str = setting(
        "sgd",
        "The optimizer, or several separated by commas; see `landscape list optimizers`.",
        "--optimizers",
        metavar="NAME[:OPTION=VALUE,…],…",
        table=OPTIMIZERS,
    )
    base: str = setting("sgd", "The optimizer that takes the step under SAM and relatives.", table=OPTIMIZERS)
    lr: float = setting(0.1, "The highest learning rate.")
    epochs: int = setting(20, "Passes over the training data.")
    batch_size: int = setting(128, "Examples per step.", "-b")
    warmup_epochs: int = setting(0, "Epochs of linear warm-up of the learning rate.")
    schedule: Schedule = setting("cosine", "Decay of the learning rate to zero, or none.")  # noqa: RUF009
    label_smoothing: float = setting(0.0, "Label smoothing of the training loss, in [0, 1).")
    max_grad_norm: float | None = setting(None, "Norm to which the final direction of a step is clipped.")
    seed: int = setting(0, "Seed of everything random, or several: 0-2, 0,1,5.", "--seeds", metavar="TEXT")
    device: str = setting("auto", "Where to compute.", metavar="auto|cpu|cuda[:i]|mps")
    dtype: Literal["float32", "float64"] = setting("float32", "Precision of weights and data.")
    label_noise: float = setting(
        0.0, "Fraction of wrong training labels, up to 0.8; the same for every seed."
    )
    augment: Augmentation = setting(  # noqa: RUF009
        "none",
        "Image augmentation: basic = crop + flip; cutout = basic + hole; autoaugment = basic + learned policy.",
    )
    accumulate: int = setting(1, "Micro-batches into which a batch is split to save memory.")
    accumulation: Literal["full-batch", "m-sam"] = setting(
        "full-batch", "One perturbation for the batch, or one for each micro-batch of SAM."
    )
    ema: float | None = setting(
        None, "Decay of a moving average of the weights, which is then evaluated and saved."
    )
    # Text on the command line, because fp16 is refused here with the reason.
    precision: Literal["full", "bf16"] = setting(
        "full", "Precision of forward passes: that of --dtype, or bf16.", metavar="full|bf16"
    )

    def __post_init__(self) -> None:
        if self.precision in ("fp16", "float16"):
            raise UsageError(
                f"precision={self.precision} is not supported: its gradients overflow without a loss scale, which the "
                "passes of a step would have to share; use precision=bf16, or your own loop with torch.amp.GradScaler"
            )
        for name, annotation in typing.get_type_hints(type(self)).items():
            object.__setattr__(self, name, _checked(name, getattr(self, name), annotation))
        for name, table in NAMED.items():
            object.__setattr__(self, name, str(table.parse(getattr(self, name))))
        if _is_base(self.optimizer):
            object.__setattr__(self, "base", self.optimizer)
        if not _is_base(self.base):
            names = ", ".join(name for name in OPTIMIZERS if _is_base(name))
            raise UsageError(f"base={self.base} is not a base optimizer; choose one of {names}")
        rules = {
            "lr": (self.lr > 0, "greater than 0"),
            "epochs": (self.epochs >= 1, "at least 1"),
            "batch_size": (self.batch_size >= 1, "at least 1"),
            "warmup_epochs": (
                0 <= self.warmup_epochs < self.epochs,
                f"from 0 to epochs − 1 = {self.epochs - 1}",
            ),
            "label_smoothing": (0 <= self.label_smoothing < 1, "at least 0 and less than 1"),
            "max_grad_norm": (
                self.max_grad_norm is None or self.max_grad_norm > 0,
                "greater than 0, or none",
            ),
            "label_noise": (0 <= self.label_noise <= 0.8, "from 0 to 0.8"),
            "accumulate": (
                1 <= self.accumulate <= self.batch_size,
                f"from 1 to batch_size = {self.batch_size}",
            ),
            "ema": (self.ema is None or 0 < self.ema < 1, "greater than 0 and less than 1, or none"),
            "precision": (
                self.precision == "full" or self.dtype == "float32",
                "full where dtype=float64; bf16 goes with float32",
            ),
            "seed": (0 <= self.seed <= LARGEST_SEED, "from 0 to 2⁶³ − 1"),
        }
        for name, (allowed, rule) in rules.items():
            if not allowed:
                raise UsageError(f"{name}={shown(getattr(self, name))} must be {rule}")
        self._check_optimizer()

    def _check_optimizer(self) -> None:
        """Refuses what an optimizer of that name would accept but nobody can mean."""
        optimizer = OPTIMIZERS.parse(self.optimizer)
        rho = optimizer.options.get("rho")
        if isinstance(rho, (int, float)) and not rho > 0:
            raise UsageError(f"{self.optimizer}: rho must be above 0; use sgd for no perturbation")
        if self.accumulation == "m-sam" and optimizer.name != "sam":
            raise UsageError(
                "accumulation=m-sam perturbs each micro-batch separately, which is a rule of sam, not of "
                f"{optimizer.name}; use optimizer=sam or accumulation=full-batch"
            )
        if self.ema is not None and optimizer.name == "swa":
            raise UsageError("ema and swa both average the weights; leave out ema, or use optimizer=sgd")

    @property
    def built_optimizer(self) -> str:
        """The optimizer as it is built: SAM with a perturbation for each micro-batch is m-SAM."""
        if self.accumulation == "full-batch":
            return self.optimizer
        options = {**OPTIMIZERS.parse(self.optimizer).options, "m": self.micro_batch}
        return str(Specification("m-sam", options))

    @property
    def micro_batch(self) -> int:
        """The number of examples in one forward pass."""
        return -(-self.batch_size // self.accumulate)

    def to_dict(self) -> dict[str, Value]:
        """The fields by name, in order."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Recipe":
        """The recipe with these fields; all others have their defaults.

        Raises:
            UsageError: A field does not exist or its value is not allowed.
        """
        known = [field.name for field in dataclasses.fields(cls)]
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
        for name, table in NAMED.items():
            if name in fields and fields[name] != getattr(requested, name, None):
                flag = {"model": "-m", "data": "-d"}.get(name, f"--{name}")
                way_out = f"add {flag} {fields[name]} if you know it"
                named_by_file(table, fields[name], source=source, kind="recipe", way_out=way_out)
        try:
            return cls.from_dict(fields)
        except UsageError as failure:
            raise InputError(f"{source}: {failure}") from failure

    @classmethod
    def from_toml(cls, text: str) -> "Recipe":
        """The recipe that :meth:`to_toml` wrote to a file; see :meth:`from_file`.

        Raises:
            InputError: The text is not TOML, or not a valid recipe.
        """
        try:
            fields = tomllib.loads(text)
        except (ValueError, RecursionError) as failure:  # also a number of thousands of digits
            raise InputError(f"the recipe is not TOML: {failure}") from failure
        return cls.from_file(fields, source="the recipe")


NAMED: dict[str, NameTable[Any]] = {
    field.name: field.metadata["table"] for field in dataclasses.fields(Recipe) if field.metadata["table"]
}
"""The fields that are names, with the tables that list them."""

# The explanation of a field is written once: it is the help of its flag and its line in help(Recipe).
Recipe.__doc__ = f"{Recipe.__doc__}\n    Attributes:\n" + "\n".join(
    f"        {field.name}: {field.metadata['help']}" for field in dataclasses.fields(Recipe)
)


def _checked(name: str, value: object, annotation: Any) -> object:
    """``value`` if it has the type of its field; text and booleans are not converted to numbers."""
    if typing.get_origin(annotation) is Literal:
        choices = typing.get_args(annotation)
        # The type comes first, because == of a tensor from a file would compare its elements.
        if isinstance(value, str) and value in choices:
            return value
        raise UsageError(
            f"{name}={value if isinstance(value, str) else shown(value)} is not one of {', '.join(choices)}"
        )
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        if value is None:
            return value
        annotation = typing.get_args(annotation)[0]
    if type(value) in ((int, float) if annotation is float else (annotation,)):
        if name != "seed":  # a seed has a range of its own
            refuse_enormous(name, value)
        if annotation is float and math.isfinite(typing.cast(float, value)):
            return float(typing.cast(float, value))
        if annotation is int or (annotation is str and is_writable(typing.cast(str, value))):
            return value
    kind = {float: "a finite number", int: "a whole number", str: "text"}[annotation]
    raise UsageError(f"{name}={shown(value)} is not {kind}")


def _is_base(specification: str) -> bool:
    return OPTIMIZERS.row(OPTIMIZERS.parse(specification).name).is_base


def _toml(value: Value) -> str:
    if isinstance(value, str):
        # JSON's escapes are TOML's, except that TOML also requires DEL to be escaped.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)
