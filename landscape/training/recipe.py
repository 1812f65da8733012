"""Everything that decides what a run computes, in one frozen value that is saved with it."""

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

_TABLES: list[tuple[str, str, NameTable[Any]]] = [
    ("model", "-m", MODELS),
    ("data", "-d", DATA),
    ("optimizer", "--optimizer", OPTIMIZERS),
    ("base", "--base", OPTIMIZERS),
]
"""The fields that are names, with their flags."""


@dataclass(frozen=True)
class Recipe:
    """What to train, on what, and how.

    Attributes:
        model: A network by name, ``mlp:width=32``.
        data: A data set by name, ``moons:noise=0.2``.
        optimizer: An optimizer by name, ``gsam:rho=0.05,alpha=0.4``.
        base: The optimizer that takes the step, ``sgd:momentum=0.9,weight_decay=5e-4``; where ``optimizer`` is
            such a one itself, the same.
        lr: The learning rate at its highest.
        epochs: How often each example is seen.
        batch_size: Examples a step; the last step of an epoch has what is left, unless that is a single one.
        warmup_epochs: Epochs in which the learning rate rises linearly.
        schedule: ``cosine`` or ``linear`` to zero, or ``constant``.
        label_smoothing: In [0, 1), of the training loss.
        max_grad_norm: The length to which the final direction of a step is clipped; ``None`` for none.
        seed: Decides initial weights, the order of the examples, dropout, and what an optimizer draws.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, …; where a run is computed is not part of what it is.
        dtype: ``float32`` or ``float64``.
        label_noise: The share of the training labels that is wrong, from 0 to 0.8: the same ones for every seed.
        augment: What happens to pictures before a step: ``none``, ``basic``, ``cutout`` or ``autoaugment``.
        accumulate: Micro-batches that a batch is cut into, so that it needs less memory.
        accumulation: ``full-batch``: a displacement for the batch; ``m-sam``: one for each micro-batch of SAM.
        ema: Decay of the moving average of the weights, which is evaluated and kept; ``None`` for none.
        precision: ``full``, that of ``dtype``, or ``bf16`` in forward passes, where that is safe.

    Raises:
        UsageError: A name, an option or a number is not allowed.
    """

    model: str = "mlp"
    data: str = "digits"
    optimizer: str = "sgd"
    base: str = "sgd"
    lr: float = 0.1
    epochs: int = 20
    batch_size: int = 128
    warmup_epochs: int = 0
    schedule: Schedule = "cosine"
    label_smoothing: float = 0.0
    max_grad_norm: float | None = None
    seed: int = 0
    device: str = "auto"
    dtype: Literal["float32", "float64"] = "float32"
    label_noise: float = 0.0
    augment: Augmentation = "none"
    accumulate: int = 1
    accumulation: Literal["full-batch", "m-sam"] = "full-batch"
    ema: float | None = None
    precision: Literal["full", "bf16"] = "full"

    def __post_init__(self) -> None:
        if self.precision in ("fp16", "float16"):
            raise UsageError(
                f"precision={self.precision}: its gradients overflow without a loss scale, which the passes of a step "
                f"would have to share; use precision=bf16, or a loop of your own with torch.amp.GradScaler"
            )
        for name, annotation in typing.get_type_hints(type(self)).items():
            object.__setattr__(self, name, _checked(name, getattr(self, name), annotation))
        for name, _, table in _TABLES:
            object.__setattr__(self, name, str(table.parse(getattr(self, name))))
        if _is_base(self.optimizer):
            object.__setattr__(self, "base", self.optimizer)
        if not _is_base(self.base):
            names = ", ".join(name for name in OPTIMIZERS if _is_base(name))
            raise UsageError(f"base={self.base} is not a base optimizer; choose one of {names}")
        for name, allowed, rule in (
            ("lr", self.lr > 0, "greater than 0"),
            ("epochs", self.epochs >= 1, "at least 1"),
            ("batch_size", self.batch_size >= 1, "at least 1"),
            (
                "warmup_epochs",
                0 <= self.warmup_epochs < self.epochs,
                f"from 0 to epochs − 1 = {self.epochs - 1}",
            ),
            ("label_smoothing", 0 <= self.label_smoothing < 1, "at least 0 and less than 1"),
            (
                "max_grad_norm",
                self.max_grad_norm is None or self.max_grad_norm > 0,
                "greater than 0, or none",
            ),
            ("label_noise", 0 <= self.label_noise <= 0.8, "from 0 to 0.8"),
            (
                "accumulate",
                1 <= self.accumulate <= self.batch_size,
                f"from 1 to batch_size = {self.batch_size}",
            ),
            ("ema", self.ema is None or 0 < self.ema < 1, "greater than 0 and less than 1, or none"),
            (
                "precision",
                self.precision == "full" or self.dtype == "float32",
                "full where dtype=float64; bf16 goes with float32",
            ),
            ("seed", 0 <= self.seed <= LARGEST_SEED, "from 0 to 2⁶³ − 1"),
        ):
            if not allowed:
                raise UsageError(f"{name}={shown(getattr(self, name))} must be {rule}")
        self._check_optimizer()

    def _check_optimizer(self) -> None:
        """Refuse what an optimizer of that name would do, but nobody can mean."""
        given = OPTIMIZERS.parse(self.optimizer)
        rho = given.options.get("rho")
        if isinstance(rho, (int, float)) and not rho > 0:
            raise UsageError(f"{self.optimizer}: rho must be above 0; use sgd for no perturbation")
        if self.accumulation == "m-sam" and given.name != "sam":
            raise UsageError(
                f"accumulation=m-sam displaces each micro-batch by itself, which is a rule of sam, not of "
                f"{given.name}; use optimizer=sam or accumulation=full-batch"
            )
        if self.ema is not None and given.name == "swa":
            raise UsageError("ema and swa both average the weights; leave out ema, or use optimizer=sgd")

    @property
    def built_optimizer(self) -> str:
        """The optimizer as it is built: SAM over micro-batches with displacements of their own is m-SAM."""
        if self.accumulation == "full-batch":
            return self.optimizer
        options = {**OPTIMIZERS.parse(self.optimizer).options, "m": self.micro_batch}
        return str(Specification("m-sam", options))

    @property
    def micro_batch(self) -> int:
        """Examples that go through the network at once."""
        return -(-self.batch_size // self.accumulate)

    def to_dict(self) -> dict[str, Value]:
        """The fields by name, in order."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Recipe":
        """The recipe of ``fields``; what is left out has its default.

        Raises:
            UsageError: There is no such field, or its value is not allowed.
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
    def from_file(cls, fields: Mapping[str, Any], *, source: str, asked: "Recipe | None" = None) -> "Recipe":
        """The recipe that a file holds, which somebody else may have written.

        Args:
            fields: What it says.
            source: Which file, in words.
            asked: What the user has asked for: only what is named there too may be code.

        Raises:
            InputError: It names code, or something else that only the user may name; there is no such field, or its
                value is not allowed.
        """
        for name, flag, table in _TABLES:
            if name in fields and fields[name] != getattr(asked, name, None):
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
            InputError: The text is not TOML, or no such recipe.
        """
        try:
            fields = tomllib.loads(text)
        except (ValueError, RecursionError) as failure:  # also a number of thousands of digits
            raise InputError(f"the recipe is not TOML: {failure}") from failure
        return cls.from_file(fields, source="the recipe")


def _checked(name: str, value: object, annotation: Any) -> object:
    """``value`` as the kind of its field, or a :class:`UsageError`; numbers are not taken from text or truth."""
    if typing.get_origin(annotation) is Literal:
        allowed = typing.get_args(annotation)
        # A list or a tensor out of a file is not even compared.
        if isinstance(value, str) and value in allowed:
            return value
        raise UsageError(
            f"{name}={value if isinstance(value, str) else shown(value)} is not one of {', '.join(allowed)}"
        )
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        if value is None:
            return value
        annotation = typing.get_args(annotation)[0]
    if type(value) in ((int, float) if annotation is float else (annotation,)):
        if name != "seed":  # which has a range of its own
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
        # JSON's escapes are TOML's, except that TOML also wants DEL escaped.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)
