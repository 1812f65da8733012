"""The step that every sharpness-aware optimizer shares; a variant adds only the formula of its paper.

A variant gets the gradient at the weights and a function that returns the gradient elsewhere, both as
flat vectors ``(n,)``, and returns the direction that its base optimizer descends along. SAM::

    class SAM(SharpnessAware):
        rho: NonNegative = 0.05

        def direction(self, gradients, gradients_at):
            return gradients_at.along(self.perturbed(gradients), self.rho)

The parts that implementations get wrong are here, once: weights restored bit for bit, batch norm, dropout, clipping,
gradients that are zero or not finite, schedulers, several parameter groups, and checkpoints that resume.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.nn.parallel import DistributedDataParallel

from landscape.errors import UsageError
from landscape.optim.base_step import decides_on_host, step_unless
from landscape.optim.batch_closure import BatchClosure
from landscape.optim.gradients_at import Closure, GradientsAt, NotFiniteError
from landscape.optim.loss_scale import STEPS_THE_OPTIMIZER, LossScale
from landscape.optim.modes_of_base import evaluated_weights, has_modes, require_training
from landscape.optim.pass_state import tracking_modules
from landscape.optim.policy import Policy
from landscape.optim.vector import dot, length, orthogonal, significant, summed_over, unit
from landscape.optim.window import is_within, require_window
from landscape.optim.wrapped_optimizer import POLICIES, RADIUS, WrappedOptimizer
from landscape.processes.group import ALONE, Group, current_group
from landscape.registry.bounds import Count, Positive, PositiveShare, ShareBelowOne

# What a variant needs, so that it imports from one place.
__all__ = [
    "Closure",
    "GradientsAt",
    "NotFiniteError",
    "SharpnessAware",
    "dot",
    "length",
    "orthogonal",
    "significant",
    "unit",
]

_NEEDS_CLOSURE = """{name}.step needs a closure, because it evaluates the loss several times:

    def closure():
        optimizer.zero_grad()
        loss = loss_function(model(inputs), targets)
        loss.backward()
        return loss

    optimizer.step(closure)"""
_NEEDS_BATCH = """{name} with these options looks at the examples of the batch, which a plain function does not show:

    from landscape.optim import BatchClosure
    closure = BatchClosure(model, nn.CrossEntropyLoss(reduction="none"), inputs=inputs, targets=targets)
    optimizer.step(closure)"""


_NEEDS_REPLICAS = """{name} with these options needs to know which processes average their gradients; pass the network
that does it, or say it:

    optimizer = {name}(base, model=DistributedDataParallel(model))
    optimizer.replicas = landscape.processes.group.current_group()   # a program that averages them itself
    optimizer.replicas = landscape.processes.group.ALONE             # processes that train independently"""


class SharpnessAware(WrappedOptimizer, ABC):
    """A base optimizer that descends along a direction computed by looking around the weights.

    One step: pass 1 at the weights w gives g = ∇L(w); ``direction`` returns d, and evaluates gradients at
    w + ε as it needs; the weights are w again, bit for bit; d is clipped once and the base optimizer takes
    its step with it. Weight decay, momentum and moments live in the base and never see another gradient.

    A step whose gradients are not all finite is skipped and counted, and changes nothing but batch-norm statistics.
    A GPU decides that itself: the host does not wait for it, unless a new state begins, as in the first step, a policy
    needs a number, or the base keeps state on the host, as torch's Adam and AdamW do without ``fused=True`` or
    ``capturable=True``, and as optimizers of other libraries may.

    The ``param_groups`` are those of the base, so a learning-rate scheduler can be attached to either. A group may
    have its own ``"rho"``; one with ``"perturb": False`` is not displaced and not counted in the norm.

    A variant declares its hyper-parameters as class attributes whose annotations state bounds, as in a dataclass:
    they become keyword arguments of its constructor and options of its name, and are checked. Other annotated
    attributes are ordinary ones.

    Mixed precision: run the forward pass under ``torch.autocast``, weights in float32. bfloat16 needs nothing more;
    float16 ``scaler.scale(loss).backward()`` in the closure, ``step(closure, scaler=scaler)``, ``scaler.update()``.

    Under ``DistributedDataParallel`` every pass is averaged over the replicas, so that displacement, branches and
    direction are those of the global batch and the replicas stay alike bit for bit. Rules of single examples
    (ESAM, m-SAM, SSAM-F) look at each replica's own; SAF remembers the examples that its process has seen. All need
    the same ``seed``; the losses that a step returns are those of the replica's own part.

    With parameters of ``fully_shard`` each process has its part of every vector ``(n,)`` and sums go over all of them:
    the steps are those of whole vectors, for the optimizers with ``is_by_shards``. ``model`` is needed then, and a
    ``state_dict`` is that of one process's part.

    Args:
        base: Any optimizer whose ``step`` needs no closure. Each base serves one wrapper. One with a mode for training,
            as schedule-free ones have, is put into it; ``evaluation_weights`` are those of its other mode.
        model: The network. Needed if it has batch norm: its running statistics then see pass 1 only; and if it
            writes to its inputs in place: every pass then sees the same data.
        rho: Radius ρ ≥ 0 of the groups that do not have their own; ``None`` for a rule without a radius.
        max_grad_norm: Length to which the final direction is clipped, once; ``None`` for no clipping.
        start: Share of the training, from 0, after which the rule acts; steps before are those of the base, with one
            gradient. 0.7 is SAM late in training (Zhou et al. 2025, arXiv 2410.10373).
        stop: Share of the training, up to 1, after which steps are those of the base again.
        total_steps: Steps of the whole run, which a window needs; ``landscape train`` sets it.

    Attributes:
        losses: The losses of the passes of the last step, 0-dim tensors; ``losses[0]`` is L(w).
        steps: Steps taken, without the skipped ones.
        sam_steps: Steps taken that needed more than one gradient.
        skipped_steps: Steps left out because a gradient was not finite.
        attempts: Both together: the number of this step, from 0, which draws and schedules follow.
        step_is_good: Whether this step is not skipped, a 0-dim tensor, for ``after_step``.
        gradient_evaluations: All evaluated gradients of a whole batch; a pass over a part of it counts as its
            share, a forward pass alone as a third.
        needs_batch: Whether ``step`` needs a :class:`~landscape.optim.BatchClosure`.
        is_single_pass: Whether no pass with a gradient follows the first, for which nothing is then saved.
        memory: State that the variant keeps across steps; see ``direction``.
        policy: Decides which steps call ``direction``; ``None`` for every one. The others call
            ``direction_between`` and evaluate one gradient.
        is_active: Whether this step is between ``start`` and ``stop``. Outside, the rule is not asked for anything,
            and its memory stays as it is.
        seed: Seed of the random numbers that the variant and its policy draw.
        draws: The random numbers of this step, for a variant that needs some.

    Raises:
        UsageError: A hyper-parameter is out of range, or ``base`` or ``model`` is not what it should be.
    """

    base: torch.optim.Optimizer = field(kw_only=False)
    model: nn.Module | None = field(default=None)
    max_grad_norm: Positive | None = None
    start: ShareBelowOne = 0.0
    stop: PositiveShare = 1.0
    total_steps: Count | None = None

    needs_batch = False
    is_single_pass = False
    acts_throughout = False  # whether a window has no meaning, or ``start`` another one
    # Without this mark GradScaler.step would un-scale stale gradients and run the closure as if it were plain.
    _step_supports_amp_scaling = True

    # Written out for a subclass with a constructor of its own; the others get one with their hyper-parameters.
    def __init__(
        self,
        base: torch.optim.Optimizer,
        *,
        model: nn.Module | None = None,
        rho: float | None = None,
        max_grad_norm: float | None = None,
    ) -> None:
        self.base, self.model, self.max_grad_norm = base, model, max_grad_norm
        if rho is not None:
            self.rho = rho
        self.__post_init__()

    _constructor = __init__

    def __post_init__(self) -> None:
        """Checks the arguments and prepares the first step; a variant that overrides it calls it."""
        super().__post_init__()
        members = {id(p) for group in self.base.param_groups for p in group["params"]}
        if self.model is not None and not any(id(p) in members for p in self.model.parameters()):
            raise UsageError(
                f"model={type(self.model).__name__}(…) holds none of the parameters of the base optimizer"
            )
        if not self.acts_throughout:
            require_window(type(self).__name__, self.start, self.stop, self.total_steps)
        self.is_active = True
        self._base_has_modes = has_modes(self.base)
        if self._base_has_modes:
            self.base.train()  # type: ignore[attr-defined]
        self.losses: list[Tensor] = []
        self.policy: Policy | None = None
        self._replicas: Group | None = None
        self._has_division = False
        self._norms = tracking_modules(self.model)
        self._scale = LossScale()
        self.step_is_good = torch.ones((), dtype=torch.bool, device="cpu")

    @abstractmethod
    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        """The direction ``(n,)`` that the base optimizer descends along.

        Called without gradient recording. Its vectors are finite and its own: it may write into them. State for
        later steps goes into ``self.memory`` under a name: tensors that are replaced and never written in place,
        because a step that is skipped or fails restores the old ones. A number there, or one read from a tensor,
        makes the host wait for the device. A vector ``(n,)`` in the memory follows its parameters when the groups
        change.

        Args:
            gradients: g = ∇L at the weights (or at ``first_displacement``), shape ``(n,)``.
            gradients_at: ``gradients_at(ε)`` is ∇L(w + ε) for ε ``(n,)``, on the same batch with the same
                dropout masks; its loss is appended to ``self.losses``.
        """

    def direction_between(self, gradients: Tensor) -> Tensor:
        """The direction ``(n,)`` of a step that the policy limits to one gradient: the gradient itself."""
        return gradients

    def first_displacement(self) -> Tensor | None:
        """Where pass 1 is evaluated, relative to w, shape ``(n,)``; ``None`` for w. For rules that look ahead."""
        return None

    def first_closure(self, gradients_at: GradientsAt) -> Closure | None:
        """The loss of pass 1 if it is not that of the batch: a part of it, or with a term; ``None`` if it is."""
        return None

    def loss(self) -> Tensor:
        """L(w) of the step, from ``self.losses``: that of pass 1, unless pass 1 is one of a part."""
        return self.losses[0]

    def after_step(self) -> None:
        """Called after the base has moved the weights. For rules that correct or average them.

        Where only the device knows whether the step was good, it is called in skipped steps too, where the base has
        moved nothing: a correction has to be one of ``torch.where(self.step_is_good, new, old)``. The memory needs
        none.
        """
        return None

    def evaluation_weights(self) -> Tensor | None:
        """The weights ``(n,)`` to evaluate and to keep in place of w; ``None`` for w. For rules and bases that average.

        Batch-norm statistics are those of w: see ``torch.optim.swa_utils.update_bn``.
        """
        with torch.no_grad():
            return evaluated_weights(self.base, self.flat) if self._base_has_modes else None

    @property
    def replicas(self) -> Group:
        """The processes whose gradients are averaged: those of ``DistributedDataParallel`` or ``fully_shard``.

        A program that averages them itself assigns its group; one whose processes train independently, ``ALONE``.

        Raises:
            UsageError: There are several processes, and nothing says whether they average their gradients.
        """
        if self._replicas is not None:
            return self._replicas
        if self._has_division:
            return ALONE
        if self.flat.group is not ALONE:
            return self.flat.group
        if isinstance(self.model, DistributedDataParallel):
            members = self.model.process_group
            return Group(dist.get_rank(members), dist.get_world_size(members), members)
        if not current_group().alone:
            raise UsageError(_NEEDS_REPLICAS.format(name=type(self).__name__))
        return ALONE

    @replicas.setter
    def replicas(self, group: Group) -> None:
        self._replicas = group

    def same_in_all(self, count: int, what: str) -> None:
        """Compares a number of passes between the replicas, which would wait for ever for one that takes fewer.

        Raises:
            UsageError: They differ; in all of them.
        """
        group = self.replicas
        if group.alone:
            return
        counts = torch.zeros(group.world, dtype=torch.int64, device=self.flat.device)
        counts[group.rank] = count
        group.add([counts])
        if len(set(numbers := counts.tolist())) > 1:
            raise UsageError(
                f"{type(self).__name__} takes as many passes as the batch has {what}, and the processes have "
                f"{', '.join(map(str, numbers))}; give all of them batches of equal size, as with drop_last=True"
            )

    @property
    def weights(self) -> Tensor:
        """The weights w ``(n,)``, not displaced. Not to be written to; ``self.flat.assign`` changes them."""
        return self.flat.values

    def remembered(self, name: str) -> Tensor | None:
        """The tensor in the memory under a name; ``None`` before a step has put it there."""
        value = self.memory.get(name)
        return value if isinstance(value, Tensor) else None

    @property
    def rho(self) -> float | Tensor:
        """The radius of this step: a number if all groups share it, otherwise a vector ``(n,)``."""
        groups = self.param_groups
        return self.radius(groups[0]) if len(groups) == 1 else self.spread([self.radius(g) for g in groups])

    @rho.setter
    def rho(self, radius: float) -> None:
        vars(self)["rho"] = radius  # the constructor assigns it before there are groups to hold it
        for group in self.param_groups if "flat" in vars(self) else ():
            group["rho"] = radius

    def radius(self, group: Mapping[str, Any]) -> float:
        """The radius of one group in this step."""
        rho = group["rho"]
        if type(rho) is float and 0 <= rho < torch.inf:  # as in nearly every step, and quickly
            return rho
        radius: float = RADIUS.check("rho", rho)
        return radius

    def spread(self, values: Sequence[float]) -> float | Tensor:
        """One value a group, as a number if they are equal, otherwise as a vector ``(n,)``."""
        if all(value == values[0] for value in values):
            return values[0]
        vector = torch.empty_like(self.weights)
        for part, value in zip(self.flat.group_slices, values, strict=True):
            vector[part] = value
        return vector

    def perturbed(self, vector: Tensor) -> Tensor:
        """The vector ``(n,)`` with zeros in the groups that are not perturbed."""
        kept = [group.get("perturb", True) for group in self.param_groups]
        if all(kept):
            return vector
        vector = vector.clone()
        for part, keep in zip(self.flat.group_slices, kept, strict=True):
            if not keep:
                vector[part] = 0.0
        return vector

    def clipped(self, direction: Tensor) -> Tensor:
        """A vector ``(n,)``, shortened to ``max_grad_norm`` where it is longer."""
        if self.max_grad_norm is None:
            return direction
        # The same 1e-6 as in torch.nn.utils.clip_grad_norm_, so that both clip alike.
        excess = (length(direction) + 1e-6) / self.max_grad_norm
        return torch.div(direction, excess.clamp(min=1.0))

    def step(self, closure: Closure | None = None, *, scaler: GradScaler | None = None) -> Tensor:  # type: ignore[override]
        """Take one step.

        Args:
            closure: Clears the gradients, evaluates the loss of the batch, calls ``backward`` and returns the
                loss. It is called once a pass, always on the same batch.
            scaler: The scaler of the loss in the closure. Where a pass overflows, the step is skipped and
                ``scaler.update()`` lowers the scale.

        Returns:
            The loss of pass 1, L(w): that of the weights before the step.

        Raises:
            UsageError: There is no closure, or it does not do what it should.
        """
        return self._announced_step(closure, scaler) if self.is_watched else self._step(closure, scaler)

    # Torch would announce every step, also to nobody, which takes 7 µs: 2 % of a step of a small network.
    step.hooked = True  # type: ignore[attr-defined]

    def _step(self, closure: Closure | None, scaler: GradScaler | None) -> Tensor:
        closure = self._checked(closure)
        records = torch.is_grad_enabled()
        torch._C._set_grad_enabled(False)  # in a fourth of the time of `torch.no_grad`
        try:
            return self._step_of(closure, scaler)
        finally:
            torch._C._set_grad_enabled(records)

    def _step_of(self, closure: Closure, scaler: GradScaler | None) -> Tensor:
        if not self.flat.fits(self.param_groups):
            self._lay_out_again()
        if self.flat.group is ALONE:
            return self._step_on(closure, scaler)
        with summed_over(self.flat.group):
            return self._step_on(closure, scaler)

    def _step_on(self, closure: Closure, scaler: GradScaler | None) -> Tensor:
        # A batch that knows its division has the losses and the size of the whole in every process.
        self._has_division = getattr(closure, "division", None) is not None
        self.is_active = self.acts_throughout or is_within(
            self.attempts, self.start, self.stop, self.total_steps
        )
        self._scale.begin_step(scaler, self.flat)
        self.flat.begin_step()
        memory = dict(self.memory)
        gradients_at = GradientsAt(
            self.flat, closure, self._scale, self._norms, self.model, repeats=not self.is_single_pass
        )
        self.losses = gradients_at.losses
        try:
            bad = self._prepare(gradients_at)
        except BaseException as failure:
            self.memory = memory
            if not isinstance(failure, NotFiniteError):
                raise
            self._scale.tell(self.flat.device, overflow=True)
            self.flat.clear_gradients()
            self._skipped_steps += 1
            return self.loss()
        finally:
            self.gradient_evaluations += gradients_at.cost  # spent, also where the step fails
        if gradients_at.bad is not None:
            self.step_is_good = ~gradients_at.bad
        if bad is None:
            self.base.step()
        else:
            step_unless(bad, self.base, self.flat)
        self.flat.begin_step()  # the saved copy is that of the weights before
        self._count_step(passes=len(self.losses), bad=bad)
        if self.is_active:
            self.after_step()
        if bad is not None:
            self._put_back_memory(memory, bad)
        return self.loss()

    def _checked(self, closure: Closure | None) -> Closure:
        name = type(self).__name__
        if "grad_scale" in self.__dict__:  # GradScaler.step leaves it for the step that it calls
            del self.__dict__["grad_scale"], self.__dict__["found_inf"]
            raise UsageError(STEPS_THE_OPTIMIZER.format(name=name))
        if closure is None:
            raise UsageError(_NEEDS_CLOSURE.format(name=name))
        if self._base_has_modes:
            require_training(self.base)
        if self.needs_batch and not isinstance(closure, BatchClosure):
            raise UsageError(_NEEDS_BATCH.format(name=name))
        return closure

    def _prepare(self, gradients_at: GradientsAt) -> Tensor | None:
        """Put the direction into ``.grad``; whether it was not finite, ``None`` for a step that is known to be good.

        Raises:
            NotFiniteError: A gradient was not finite, and the host knows it.
        """
        direction = self.clipped(self._rule(gradients_at))
        is_written = gradients_at.left(direction)
        if not is_written:
            direction = gradients_at.finite(direction)
        bad = gradients_at.bad
        if bad is not None and (self.flat.group is not ALONE or decides_on_host(self.base, self.flat.device)):
            if bad.item():
                raise NotFiniteError("a gradient is not finite")
            bad = None
        self._scale.tell(self.flat.device, overflow=False if bad is None else bad)
        if not is_written:
            self.flat.write_gradients(direction)
        return bad

    def _rule(self, gradients_at: GradientsAt) -> Tensor:
        """The direction ``(n,)`` of the rule, before it is clipped; outside its window, the gradient."""
        if not self.is_active:
            return gradients_at(first=True)
        first_closure = self.first_closure(gradients_at)
        gradients = gradients_at(self.first_displacement(), closure=first_closure, first=True)
        looks_around = self.policy is None or self.policy.looks_around(
            self.perturbed(gradients), self.memory, step=self.attempts, draws=self._draws_of(POLICIES)
        )
        return self.direction(gradients, gradients_at) if looks_around else self.direction_between(gradients)

    _announced_step = torch.optim.Optimizer.profile_hook_step(_step)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients."""
        if not set_to_none:
            super().zero_grad(set_to_none=False)
            return
        # Without torch's bookkeeping, which costs more than a small layer, because every pass calls it.
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None
