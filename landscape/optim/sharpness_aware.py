"""The step that every sharpness-aware optimizer shares; a variant adds only the formula of its paper.

A variant gets the gradient at the weights and a function that returns the gradient elsewhere, both as
flat vectors ``(n,)``, and returns the direction that its base optimizer descends along. SAM::

    class SAM(SharpnessAware):
        rho: NonNegative = 0.05

        def direction(self, gradients, gradients_at):
            return gradients_at(unit(self.perturbed(gradients), times=self.rho))

The parts that implementations get wrong are here, once: weights restored bit for bit, batch norm, dropout, clipping,
gradients that are zero or not finite, schedulers, several parameter groups, and checkpoints that resume.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp import GradScaler

from landscape.errors import UsageError
from landscape.optim.batch_closure import BatchClosure
from landscape.optim.gradients_at import Closure, GradientsAt, NotFiniteError, finite
from landscape.optim.loss_scale import STEPS_THE_OPTIMIZER, LossScale
from landscape.optim.pass_state import WrittenInputs, tracking_modules
from landscape.optim.policy import Policy
from landscape.optim.vector import length, orthogonal, significant, unit
from landscape.optim.wrapped_optimizer import RADIUS, WrappedOptimizer
from landscape.registry.bounds import Positive

# What a variant needs, so that it imports from one place.
__all__ = [
    "Closure",
    "GradientsAt",
    "NotFiniteError",
    "SharpnessAware",
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


class SharpnessAware(WrappedOptimizer, ABC):
    """A base optimizer that descends along a direction computed by looking around the weights.

    One step: pass 1 at the weights w gives g = ∇L(w); ``direction`` returns d, and evaluates gradients at
    w + ε as it needs; the weights are w again, bit for bit; d is clipped once and the base optimizer takes
    its step with it. Weight decay, momentum and moments live in the base and never see another gradient.

    A step whose gradients are not all finite is skipped and counted, and changes nothing but batch-norm
    statistics. The ``param_groups`` are those of the base, so a learning-rate scheduler can be attached to
    either. A group may have its own ``"rho"``; one with ``"perturb": False`` is not displaced and not counted
    in the norm.

    A variant declares its hyper-parameters as class attributes whose annotations state bounds, as in a dataclass:
    they become keyword arguments of its constructor and options of its name, and are checked. Other annotated
    attributes are ordinary ones.

    Mixed precision: run the forward pass under ``torch.autocast``, weights in float32. bfloat16 needs nothing more;
    float16 ``scaler.scale(loss).backward()`` in the closure, ``step(closure, scaler=scaler)``, ``scaler.update()``.

    Under ``DistributedDataParallel`` every pass is averaged over the replicas, so that displacement, branches and
    direction are those of the global batch and the replicas stay alike bit for bit. Rules of single examples
    (ESAM, m-SAM, SSAM-F) look at each replica's own. The generators have to start from the same seed.

    Args:
        base: Any optimizer whose ``step`` needs no closure. Each base serves one wrapper.
        model: The network. Needed if it has batch norm: its running statistics then see pass 1 only; and if it
            writes to its inputs in place: every pass then sees the same data.
        rho: Radius ρ ≥ 0 of the groups that do not have their own; ``None`` for a rule without a radius.
        max_grad_norm: Length to which the final direction is clipped, once; ``None`` for no clipping.

    Attributes:
        losses: The losses of the passes of the last step, 0-dim tensors; ``losses[0]`` is L(w).
        steps: Steps taken, without the skipped ones.
        sam_steps: Steps taken that needed more than one gradient.
        skipped_steps: Steps left out because a gradient was not finite.
        gradient_evaluations: All evaluated gradients of a whole batch; a pass over a part of it counts as its
            share, a forward pass alone as a third.
        needs_batch: Whether ``step`` needs a :class:`~landscape.optim.BatchClosure`.
        memory: State that the variant keeps across steps; see ``direction``.
        policy: Decides which steps call ``direction``; ``None`` for every one. The others call
            ``direction_between`` and evaluate one gradient.
        generator: A private generator for a variant that draws numbers; its state is saved.

    Raises:
        UsageError: A hyper-parameter is out of range, or ``base`` or ``model`` is not what it should be.
    """

    base: torch.optim.Optimizer = field(kw_only=False)
    model: nn.Module | None = field(default=None)
    max_grad_norm: Positive | None = None

    needs_batch = False
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
        self.losses: list[Tensor] = []
        self.policy: Policy | None = None
        self._norms = tracking_modules(self.model)
        self._scale = LossScale()

    @abstractmethod
    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        """The direction ``(n,)`` that the base optimizer descends along.

        Called without gradient recording. Its vectors are finite and its own: it may write into them. State for
        later steps goes into ``self.memory`` under a name: numbers, or tensors that are replaced and never
        written in place, because a step that fails restores the old ones, and ``self.generator`` too. A vector
        ``(n,)`` in the memory follows its parameters when the groups change.

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
        """Called after the base has moved the weights. For rules that correct or average them."""
        return None

    def evaluation_weights(self) -> Tensor | None:
        """The weights ``(n,)`` to evaluate and to keep in place of w; ``None`` for w. For rules that average.

        Batch-norm statistics are those of w: see ``torch.optim.swa_utils.update_bn``.
        """
        return None

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
        return self.spread([self.radius(group) for group in self.param_groups])

    @rho.setter
    def rho(self, radius: float) -> None:
        vars(self)["rho"] = radius  # the constructor assigns it before there are groups to hold it
        for group in self.param_groups if "flat" in vars(self) else ():
            group["rho"] = radius

    def radius(self, group: Mapping[str, Any]) -> float:
        """The radius of one group in this step."""
        radius: float = RADIUS.check("rho", group["rho"])
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
        excess = (torch.linalg.vector_norm(direction) + 1e-6) / self.max_grad_norm
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
        name = type(self).__name__
        if "grad_scale" in self.__dict__:  # GradScaler.step leaves it for the step that it calls
            del self.__dict__["grad_scale"], self.__dict__["found_inf"]
            raise UsageError(STEPS_THE_OPTIMIZER.format(name=name))
        if closure is None:
            raise UsageError(_NEEDS_CLOSURE.format(name=name))
        if self.needs_batch and not isinstance(closure, BatchClosure):
            raise UsageError(_NEEDS_BATCH.format(name=name))
        if not self.flat.fits(self.param_groups):
            self._lay_out_again()
        self._scale.begin_step(scaler, self.flat)
        self.flat.begin_step()
        memory, self._generator_before = dict(self.memory), None
        gradients_at = GradientsAt(self.flat, self._norms, WrittenInputs(self.model), closure, self._scale)
        self.losses = gradients_at.losses
        with torch.no_grad():
            try:
                first_closure = self.first_closure(gradients_at)
                gradients = gradients_at(self.first_displacement(), closure=first_closure, first=True)
                if self._looks_around(gradients):
                    direction = self.clipped(self.direction(gradients, gradients_at))
                else:
                    direction = self.clipped(self.direction_between(gradients))
                is_written = gradients_at.left(direction)
                if not is_written:
                    finite(direction)
                self._scale.tell(self.flat.device, overflow=False)
            except BaseException as failure:
                self.memory = memory
                self._put_back_generator()
                if not isinstance(failure, NotFiniteError):
                    raise
                self._scale.tell(self.flat.device, overflow=True)
                self.flat.clear_gradients()
                self.skipped_steps += 1
                return self.loss()
            finally:
                self.gradient_evaluations += gradients_at.cost  # spent, also where the step fails
            if not is_written:
                self.flat.write_gradients(direction)
            self.base.step()
            self.flat.begin_step()  # the saved copy is that of the weights before
            self.steps += 1
            self.sam_steps += len(self.losses) > 1
            self.after_step()
        return self.loss()

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

    def _looks_around(self, gradients: Tensor) -> bool:
        return self.policy is None or self.policy.looks_around(
            self.perturbed(gradients), self.memory, step=self.steps, generator=self.generator
        )
