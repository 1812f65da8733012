"""The step that every sharpness-aware optimizer shares; a variant writes its paper's formula only.

A variant is given the gradient at the weights and a function that returns the gradient elsewhere, both as
flat vectors ``(n,)``, and answers with the direction that its base optimizer descends along. SAM::

    def direction(self, gradients, gradients_at):
        return gradients_at(unit(self.perturbed(gradients), times=self.rho))

What implementations get wrong is here, once: weights put back bit for bit, batch norm, dropout, clipping,
gradients that are zero or not finite, schedulers, several parameter groups, and checkpoints that resume.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from landscape.errors import InputError, UsageError
from landscape.optim.batch_closure import BatchClosure
from landscape.optim.batch_norm import tracking_modules
from landscape.optim.bounds import within
from landscape.optim.flat_parameters import FlatParameters
from landscape.optim.gradients_at import Closure, GradientsAt, NotFiniteError, finite
from landscape.optim.policy import Memory, Policy

_COUNTERS = ("steps", "sam_steps", "skipped_steps", "gradient_evaluations")
_NEEDS_CLOSURE = """{name}.step needs a closure, because it evaluates the loss several times:

    def closure():
        optimizer.zero_grad()
        loss = loss_function(model(inputs), targets)
        loss.backward()
        return loss

    optimizer.step(closure)"""
_NEEDS_BATCH = """{name} as it is set up looks at the examples of the batch, which a plain function does not show:

    from landscape.optim import BatchClosure
    closure = BatchClosure(model, nn.CrossEntropyLoss(reduction="none"), inputs=inputs, targets=targets)
    optimizer.step(closure)"""


class SharpnessAware(torch.optim.Optimizer, ABC):
    """A base optimizer that descends along a direction found by looking around the weights.

    One step: pass 1 at the weights w gives g = ∇L(w); ``direction`` answers with d, asking for gradients at
    w + ε as it needs; the weights are w again, bit for bit; d is clipped once and the base optimizer takes
    its step with it. Weight decay, momentum and moments live in the base and never see another gradient.

    A step whose gradients are not all finite is skipped and counted, and changes nothing but batch-norm
    statistics. The ``param_groups`` are those of the base, so a learning-rate scheduler can be attached to
    either. A group may have its own ``"rho"``; one with ``"perturb": False`` is not displaced and not counted
    in the norm.

    Args:
        base: Any optimizer whose ``step`` needs no closure. Each base serves one wrapper.
        model: The network. Needed if it has batch norm: its running statistics then see pass 1 only.
        rho: Radius ρ ≥ 0 of the groups that do not have their own; ``None`` for a rule without a radius.
        max_grad_norm: Length to which the final direction is clipped, once; ``None`` for no clipping.

    Attributes:
        losses: The losses of the passes of the last step, 0-dim tensors; ``losses[0]`` is L(w).
        steps: Steps taken, without the skipped ones.
        sam_steps: Steps taken that needed more than one gradient.
        skipped_steps: Steps left out because a gradient was not finite.
        gradient_evaluations: Gradients of a whole batch that were evaluated, all told; a pass over a part of
            it counts as its share, a forward pass alone as a third.
        needs_batch: Whether ``step`` needs a :class:`~landscape.optim.BatchClosure`.
        memory: What the variant keeps across steps; see ``direction``.
        policy: Decides which steps ask ``direction``; ``None`` for every one. The others take
            ``direction_between`` and one gradient.
        generator: A private generator for a variant that draws numbers; its state is saved.

    Raises:
        UsageError: A hyper-parameter is out of range, or ``base`` or ``model`` is not what it should be.
    """

    needs_batch = False

    def __init__(
        self,
        base: torch.optim.Optimizer,
        *,
        model: nn.Module | None = None,
        rho: float | None = None,
        max_grad_norm: float | None = None,
    ) -> None:
        name = type(self).__name__
        if not isinstance(base, torch.optim.Optimizer) or isinstance(
            base, (SharpnessAware, torch.optim.LBFGS)
        ):
            raise UsageError(
                f"{name} needs a base optimizer whose step takes no closure, got {type(base).__name__}; "
                f"write {name}(torch.optim.SGD(model.parameters(), lr=0.1), model=model)"
            )
        members = {id(p) for group in base.param_groups for p in group["params"]}
        if model is not None and not any(id(p) in members for p in model.parameters()):
            raise UsageError(
                f"model={type(model).__name__}(…) holds none of the parameters of the base optimizer"
            )
        super().__init__(base.param_groups, base.defaults)
        self.base = base
        if rho is not None:
            self._set_default("rho", within("rho", rho, 0.0))
        self.max_grad_norm = (
            None if max_grad_norm is None else within("max_grad_norm", max_grad_norm, 0.0, open_low=True)
        )
        self.losses: list[Tensor] = []
        self.steps = self.sam_steps = self.skipped_steps = 0
        self.gradient_evaluations: float = 0
        self.memory: Memory = {}
        self.policy: Policy | None = None
        self.generator = torch.Generator().manual_seed(0)
        self._norms = tracking_modules(model)
        self._link(base)
        base.register_load_state_dict_post_hook(self._link)
        self.flat = FlatParameters(self.param_groups)

    # What a variant writes

    @abstractmethod
    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        """The direction ``(n,)`` that the base optimizer descends along.

        Called without gradient recording. The vectors it is given are finite and its own: it may write into
        them. What is kept for later steps goes into ``self.memory`` under a name: numbers, or tensors that are
        replaced and never written in place, because a step that fails puts the old ones back, and
        ``self.generator`` too. A vector ``(n,)`` in the memory follows its parameters when the groups change.

        Args:
            gradients: g = ∇L at the weights (or at ``first_displacement``), shape ``(n,)``.
            gradients_at: ``gradients_at(ε)`` is ∇L(w + ε) for ε ``(n,)``, on the same batch with the same
                dropout masks; its loss is appended to ``self.losses``.
        """

    def direction_between(self, gradients: Tensor) -> Tensor:
        """The direction ``(n,)`` of a step that the policy keeps to one gradient: the gradient itself."""
        return gradients

    def first_displacement(self) -> Tensor | None:
        """Where pass 1 is taken, relative to w, shape ``(n,)``; ``None`` for w. For rules that look ahead."""
        return None

    def first_closure(self, gradients_at: GradientsAt) -> Closure | None:
        """What pass 1 differentiates: a part of the batch, or its loss and a term; ``None`` for its loss.

        Args:
            gradients_at: As for ``direction``.
        """
        return None

    def loss(self) -> Tensor:
        """L(w) of the step, from ``self.losses``: that of pass 1, unless pass 1 is one of a part."""
        return self.losses[0]

    def after_step(self) -> None:
        """Called when the base has moved the weights. For rules that correct or average them."""
        return None

    def evaluation_weights(self) -> Tensor | None:
        """The weights ``(n,)`` to evaluate and to keep in place of w; ``None`` for w. For rules that average.

        Batch-norm statistics are those of w: see ``torch.optim.swa_utils.update_bn``.
        """
        return None

    # What a variant may use

    @property
    def weights(self) -> Tensor:
        """The weights w ``(n,)``, not displaced. Not to be written to; ``self.flat.assign`` changes them."""
        return self.flat.values

    @property
    def rho(self) -> float | Tensor:
        """The radius: a number if all groups share it, otherwise a vector ``(n,)``."""
        return self.spread([self.radius(group) for group in self.param_groups])

    def radius(self, group: Mapping[str, Any]) -> float:
        """The radius of one group in this step."""
        return within("rho", group["rho"], 0.0)

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

    # The step

    def step(self, closure: Closure | None = None) -> Tensor:  # type: ignore[override]
        """Take one step.

        Args:
            closure: Clears the gradients, evaluates the loss of the batch, calls ``backward`` and returns the
                loss. It is called once a pass, always on the same batch.

        Returns:
            The loss of pass 1, L(w): that of the weights before the step.

        Raises:
            UsageError: There is no closure, or it does not do what it should.
        """
        if closure is None:
            raise UsageError(_NEEDS_CLOSURE.format(name=type(self).__name__))
        if self.needs_batch and not isinstance(closure, BatchClosure):
            raise UsageError(_NEEDS_BATCH.format(name=type(self).__name__))
        if not self.flat.fits(self.param_groups):
            self._lay_out_again()
        self.flat.begin_step()
        memory, drawn = dict(self.memory), self.generator.get_state()
        gradients_at = GradientsAt(self.flat, self._norms, closure)
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
            except BaseException as failure:
                self.memory = memory
                self.generator.set_state(drawn)
                if not isinstance(failure, NotFiniteError):
                    raise
                self.flat.clear_gradients()
                self.skipped_steps += 1
                return self.loss()
            finally:
                self.gradient_evaluations += gradients_at.cost
            if not is_written:
                self.flat.write_gradients(direction)
            self.base.step()
            self.flat.begin_step()
            self.steps += 1
            self.sam_steps += len(self.losses) > 1
            self.after_step()
        return self.loss()

    def _looks_around(self, gradients: Tensor) -> bool:
        return self.policy is None or self.policy.looks_around(
            self.perturbed(gradients), self.memory, step=self.steps, generator=self.generator
        )

    def clipped(self, direction: Tensor) -> Tensor:
        """A vector ``(n,)``, shortened to ``max_grad_norm`` where it is longer."""
        if self.max_grad_norm is None:
            return direction
        excess = (torch.linalg.vector_norm(direction) + 1e-6) / self.max_grad_norm
        return torch.div(direction, excess.clamp(min=1.0))

    def _lay_out_again(self) -> None:
        """Follow a change of the groups: vectors in the memory go with their parameters."""
        old, self.flat = self.flat, FlatParameters(self.param_groups)
        for name, value in self.memory.items():
            if isinstance(value, Tensor) and value.shape == (old.dimension,):
                parts = dict(zip(old.parameters, old.split(value), strict=True))
                self.memory[name] = self.flat.flatten([parts.get(p) for p in self.flat.parameters])

    # Groups and state

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters to the base optimizer, and so to this one."""
        if "base" in self.__dict__:
            self.base.add_param_group(param_group)
        else:  # torch's own constructor, before the groups are shared
            super().add_param_group(param_group)

    def state_dict(self) -> dict[str, Any]:
        """What a run needs to go on bit for bit: state of base and variant, counters, generator."""
        return {
            "optimizer": type(self).__name__,
            "base_optimizer": type(self.base).__name__,
            "base": self.base.state_dict(),
            "memory": dict(self.memory),
            "counters": {name: getattr(self, name) for name in _COUNTERS},
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what ``state_dict`` returned for the same variant over the same kind of base.

        Raises:
            InputError: The state is that of another optimizer.
        """
        mine = (type(self).__name__, type(self.base).__name__)
        theirs = (state_dict.get("optimizer"), state_dict.get("base_optimizer"))
        if mine != theirs:
            found = "that of another optimizer" if theirs[0] is None else "{} over {}".format(*theirs)
            raise InputError(
                f"this state is {found}, and the optimizer is {mine[0]} over {mine[1]}; build the optimizer "
                f"that was saved, or take over the base alone with optimizer.base.load_state_dict(…)"
            )
        self.base.load_state_dict(state_dict["base"])
        device = self.flat.device
        self.memory = {
            name: value.to(device, copy=True) if isinstance(value, Tensor) else value
            for name, value in state_dict["memory"].items()
        }
        for name in _COUNTERS:
            setattr(self, name, state_dict["counters"][name])
        self.generator.set_state(state_dict["generator"].cpu())

    def _set_default(self, key: str, value: float) -> None:
        """Give a group option its default; what an earlier wrapper of this base filled in is replaced."""
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
                within("rho", group.setdefault("rho", base.defaults["rho"]), 0.0)

    def __getstate__(self) -> dict[str, Any]:
        # A scheduler leaves a bound `step` on the instance; a copy must not call that of the original.
        return {key: value for key, value in self.__dict__.items() if key not in ("step", "flat")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.base.register_load_state_dict_post_hook(self._link)
        self.flat = FlatParameters(self.param_groups)
