"""An optimizer around another one: hyper-parameters, shared groups and state, and checkpoints of both."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self, dataclass_transform

import torch
from torch import Tensor, nn
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

from landscape.draws import Draws
from landscape.errors import InputError, UsageError
from landscape.optim.policy import Memory
from landscape.optim.sharded_parameters import flat_parameters
from landscape.processes.group import ALONE
from landscape.registry.bounds import Real, limit_of, shown

RADIUS = Real(0)
# Of the random numbers of rules and of policies; a step adds its number, so that no two draw from one stream.
_RULES, POLICIES = 1 << 60, 1 << 61
_COUNTERS = ("steps", "sam_steps", "skipped_steps", "gradient_evaluations")


@dataclass_transform(kw_only_default=True, eq_default=False, field_specifiers=(dataclasses.field,))
class WrappedOptimizer(torch.optim.Optimizer):
    """Wraps a base optimizer, whose ``param_groups`` and ``state`` it shares.

    A class attribute whose annotation states bounds is a hyper-parameter: a keyword-only argument of the constructor
    and a checked attribute of the instance. Other annotations declare ordinary attributes.
    """

    base: torch.optim.Optimizer
    model: nn.Module | None
    is_by_shards: ClassVar[bool] = False
    """Whether the rule can be computed by shards: its sums over vectors are those of ``landscape.optim.vector``."""
    _constructor: ClassVar[Callable[..., None]]  # the one that its dataclass fields describe

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        try:
            annotations = inspect.get_annotations(cls, eval_str=True)
        except Exception:  # names that only a type checker knows
            annotations = inspect.get_annotations(cls)
        fields = {
            name: annotation
            for name, annotation in annotations.items()
            if limit_of(annotation) is not None or isinstance(vars(cls).get(name), dataclasses.Field)
        }
        if not fields and len(cls.__bases__) == 1:
            return  # no new hyper-parameter: the constructor of the base class does
        # A constructor that a user wrote, in a base class or a mixin too, knows more than the fields.
        is_generated = cls.__init__ is getattr(cls, "_constructor", None)
        for name in fields.keys() - vars(cls).keys():  # required, also where a base class has a default
            setattr(cls, name, dataclasses.field())
        # A dataclass takes every annotation for a field, a list of losses so far as well.
        cls.__annotations__ = fields
        dataclasses.dataclass(eq=False, repr=False, match_args=False, kw_only=True, init=is_generated)(cls)
        cls.__annotations__ = annotations
        if is_generated:
            cls._constructor = cls.__init__
        # A default stays behind as a class attribute, and that of rho would hide the property of this name.
        if not isinstance(vars(cls).get("rho", property()), property):
            del cls.rho  # type: ignore[attr-defined]

    if not TYPE_CHECKING:  # which knows the constructor and the attributes better

        def __new__(cls, *args: Any, **options: Any) -> Self:  # noqa: D102
            _refuse_foreign_call(cls, args, options)
            return super().__new__(cls)

        def __getattr__(self, name: str) -> Any:
            if name not in ("first_step", "second_step"):
                return object.__getattribute__(self, name)  # which raises again, also the error of a property
            raise AttributeError(
                f"{type(self).__name__} has no {name}: one step takes all passes, optimizer.step(closure), where the "
                "function closure() clears the gradients, computes the loss, calls backward() and returns the loss"
            )

    def __post_init__(self) -> None:
        name, base = type(self).__name__, self.base
        # LBFGS chooses the points of its passes itself, and a second wrapper would restore the weights of the first.
        if not isinstance(base, torch.optim.Optimizer) or isinstance(
            base, (WrappedOptimizer, torch.optim.LBFGS)
        ):
            raise UsageError(
                f"{name} needs a base optimizer whose step takes no closure, got {type(base).__name__}; "
                f"write {name}(torch.optim.SGD(model.parameters(), lr=0.1), model=model)"
            )
        values = vars(self)
        for field in dataclasses.fields(self):  # type: ignore[arg-type]  # every subclass is a dataclass
            limit = limit_of(field.type)
            if limit is not None and field.name in values:  # a constructor of the user's may set it later
                values[field.name] = limit.check(field.name, values[field.name])
        super().__init__(base.param_groups, base.defaults)
        if "rho" in values:
            self._set_default("rho", values["rho"])
        self._steps = self._sam_steps = self._skipped_steps = 0
        self._unread: Tensor | None = (
            None  # steps, and those of several gradients, that the device has skipped since
        )
        self.gradient_evaluations: float = 0
        self.memory: Memory = {}
        self.seed = 0  # alike in all processes: replicas draw alike
        self._link(base)
        base.register_load_state_dict_post_hook(self._link)  # loading gives the base new groups
        self.flat = flat_parameters(self.param_groups, self.model)
        self._refuse_sharded()

    @property
    def attempts(self) -> int:
        """Steps so far, with the skipped ones: the number of this step, which the host knows without waiting."""
        return self._steps + self._skipped_steps

    @property
    def draws(self) -> Draws:
        """The random numbers of this step: the same ones until it is over, also where it fails and is taken again."""
        return self._draws_of(_RULES)

    def _draws_of(self, stream: int) -> Draws:
        return Draws(self.seed, stream + self.attempts)

    @property
    def steps(self) -> int:
        """Steps taken, without the skipped ones. Where the device skips them, the first look after a step waits."""
        self._read_skipped()
        return self._steps

    @steps.setter
    def steps(self, count: int) -> None:
        self._read_skipped()
        self._steps = count

    @property
    def sam_steps(self) -> int:
        """Steps taken that needed more than one gradient."""
        self._read_skipped()
        return self._sam_steps

    @property
    def skipped_steps(self) -> int:
        """Steps left out because a gradient was not finite."""
        self._read_skipped()
        return self._skipped_steps

    def _count_step(self, *, passes: int, bad: Tensor | None = None) -> None:
        """Count a step as taken; where the device knows that it was skipped, the counts are corrected when read."""
        self._steps += 1
        self._sam_steps += passes > 1
        if bad is not None:
            if self._unread is None:
                self._unread = torch.zeros(2, dtype=torch.int64, device=bad.device)
            self._unread[: 1 + (passes > 1)] += bad

    def _read_skipped(self) -> None:
        if self._unread is not None:
            skipped, sam_steps = self._unread.tolist()
            self._unread = None
            self._steps -= skipped
            self._skipped_steps += skipped
            self._sam_steps -= sam_steps

    def _put_back_memory(self, before: Memory, bad: Tensor) -> None:
        """Give the memory the values of before where ``bad`` is true, on the device if it can."""
        changed = {name: value for name, value in self.memory.items() if value is not before.get(name)}
        if not changed and len(self.memory) == len(before):
            return
        if len(self.memory) == len(before) and all(
            _alike(v, before.get(name), bad) for name, v in changed.items()
        ):
            self.memory.update(
                {name: torch.where(bad, before[name], value) for name, value in changed.items()}
            )
        elif bad.item():  # a name or a number that is new, as in the first step
            self.memory = before

    @property
    def is_watched(self) -> bool:
        """Whether a step has to be announced: to a profiler, or to a hook of this optimizer or of all."""
        own = self._optimizer_step_pre_hooks or self._optimizer_step_post_hooks
        of_all = _global_optimizer_pre_hooks or _global_optimizer_post_hooks
        return bool(own or of_all or torch._C._autograd._profiler_enabled())

    def _lay_out_again(self) -> None:
        """Follow a change of the groups: vectors in the memory go with their parameters."""
        old, self.flat = self.flat, flat_parameters(self.param_groups, self.model)
        for name, value in self.memory.items():
            if isinstance(value, Tensor) and value.shape == (old.dimension,):
                parts = dict(zip(old.parameters, old.split(value), strict=True))
                self.memory[name] = self.flat.flatten([parts.get(p) for p in self.flat.parameters])

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters to the base optimizer, and so to this one."""
        if "flat" in self.__dict__:
            self.base.add_param_group(param_group)
        else:  # torch's own constructor, before the groups are shared
            super().add_param_group(param_group)

    def state_dict(self) -> dict[str, Any]:
        """Everything a run needs to resume bit for bit: state of base and variant, counters, seed."""
        return {
            "optimizer": type(self).__name__,
            "base_optimizer": type(self.base).__name__,
            "base": self.base.state_dict(),
            "shapes": self._shapes(),
            "memory": dict(self.memory),
            "counters": {name: getattr(self, name) for name in _COUNTERS},
            "seed": self.seed,
            **self._part(),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Load what ``state_dict`` of the same variant over the same kind of base returned.

        Raises:
            InputError: The state is that of another optimizer, or of other parameters.
        """
        mine = (type(self).__name__, type(self.base).__name__)
        theirs = (state_dict.get("optimizer"), state_dict.get("base_optimizer"))
        if mine != theirs:
            origin = "that of another optimizer" if theirs[0] is None else "{} over {}".format(*theirs)
            raise InputError(
                f"this state is {origin}, and the optimizer is {mine[0]} over {mine[1]}; build the optimizer "
                f"that was saved, or load the base alone with optimizer.base.load_state_dict(…)"
            )
        if state_dict["shapes"] != self._shapes():
            raise InputError(
                f"this state is of parameter groups with shapes {shown(state_dict['shapes'])}, and the optimizer has "
                f"{shown(self._shapes())}; build the network and the groups that were saved, in the same order"
            )
        if state_dict.get("part") != self._part().get("part"):
            raise InputError(
                f"this state is that of part {shown(state_dict.get('part'))} of the parameters, by rank and number of "
                f"processes, and this is {shown(self._part().get('part'))}; load it in as many processes as it was "
                "saved in"
            )
        self.base.load_state_dict(state_dict["base"])
        device = self.flat.device
        self.memory = {
            name: value.to(device, copy=True) if isinstance(value, Tensor) else value
            for name, value in state_dict["memory"].items()
        }
        counters = state_dict["counters"]
        self._steps, self._sam_steps = counters["steps"], counters["sam_steps"]
        self._skipped_steps, self._unread = counters["skipped_steps"], None
        self.gradient_evaluations = counters["gradient_evaluations"]
        self.seed = state_dict.get("seed", self.seed)  # earlier versions saved the state of a generator

    def _part(self) -> dict[str, list[int]]:
        """Which part of every vector in the memory this is, for a state of sharded parameters."""
        group = self.flat.group
        return {} if group is ALONE else {"part": [group.rank, group.world]}

    def _shapes(self) -> list[list[list[int]]]:
        return [[list(parameter.shape) for parameter in group["params"]] for group in self.param_groups]

    def _refuse_sharded(self) -> None:
        """Raises an :class:`InputError` where the parameters are sharded and the rule needs whole vectors."""
        # Of the class itself: a subclass has a rule of its own, which may sum over a vector in its own way.
        if self.flat.group is not ALONE and not vars(type(self)).get("is_by_shards", False):
            raise InputError(
                f"{type(self).__name__} needs whole vectors, and the parameters are sharded over processes (DTensor of "
                f"fully_shard): use one of {', '.join(sorted(_by_shards(WrappedOptimizer)))}; or wrap the network in "
                "DistributedDataParallel, under which every optimizer works"
            )

    def _set_default(self, key: str, value: float) -> None:
        """Give a group option its default; the default that an earlier wrapper of this base set is replaced."""
        earlier = self.base.defaults.get(key)
        for group in self.base.param_groups:
            if key not in group or group[key] == earlier:
                group[key] = value
        self.base.defaults[key] = value

    def _link(self, base: torch.optim.Optimizer) -> None:
        """Share the groups and the state of the base, also after it has loaded new ones."""
        self.param_groups, self.state, self.defaults = base.param_groups, base.state, base.defaults
        if "rho" in base.defaults:
            for group in self.param_groups:
                RADIUS.check("rho", group.setdefault("rho", base.defaults["rho"]))

    def __getstate__(self) -> dict[str, Any]:
        # A scheduler leaves a bound `step` on the instance; a copy must not call that of the original.
        return {key: value for key, value in self.__dict__.items() if key not in ("step", "flat")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.base.register_load_state_dict_post_hook(self._link)
        self.flat = flat_parameters(self.param_groups, self.model)


def _by_shards(kind: type[Any]) -> set[str]:
    """The names of this library's optimizers that can be computed by shards."""
    is_ours = kind.__module__.startswith("landscape.") and vars(kind).get("is_by_shards", False)
    names = {kind.__name__} if is_ours else set()
    return names.union(*map(_by_shards, kind.__subclasses__()))


def _alike(value: object, earlier: object, bad: Tensor) -> bool:
    """Whether the device can choose between the two."""
    if not isinstance(value, Tensor) or not isinstance(earlier, Tensor):
        return False
    return value.shape == earlier.shape and value.dtype == earlier.dtype and value.device == bad.device


def _refuse_foreign_call(cls: type[Any], args: Sequence[Any], options: Mapping[str, Any]) -> None:
    """Raises a :class:`UsageError` that translates the call of other libraries, ``SAM(params, SGD, lr=0.1)``."""
    base, name = args[0] if args else options.get("base"), cls.__name__
    fields = {field.name for field in dataclasses.fields(cls)}
    foreign = {key: value for key, value in options.items() if key not in fields and key != "base_optimizer"}
    of_base = "".join(f", {key}={value!r}" for key, value in foreign.items())
    if isinstance(base, torch.optim.Optimizer):
        if cls.__init__ is cls._constructor and foreign.keys() & base.defaults.keys():
            raise UsageError(
                f"{name} takes no {next(iter(foreign))}, which is an option of its base optimizer: write "
                f"{name}(torch.optim.{type(base).__name__}(model.parameters(){of_base}))"
            )
        return
    if args:
        kind = args[1] if len(args) > 1 else options.get("base_optimizer", base)
        inner = kind.__name__ if isinstance(kind, type) else "SGD"
        own = "".join(f", {key}={value!r}" for key, value in options.items() if key in fields)
        raise UsageError(
            f"{name} wraps a base optimizer that exists already, rather than making it of parameters and a class: "
            f"write {name}(torch.optim.{inner}(model.parameters(){of_base or ', lr=0.1'}){own})"
        )
