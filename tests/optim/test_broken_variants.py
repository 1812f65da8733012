"""A row whose rule is wrong is caught: each fault by the test of every row that is there for it."""

import pytest
import torch
from optim import test_invariants, test_passes, test_restored_weights
from torch import Tensor, nn

from landscape.optim import OPTIMIZERS, SAM
from landscape.optim.gradients_at import GradientsAt
from landscape.optim.table import variant
from landscape.optim.vector import unit


class Sound(SAM):
    """SAM under another name: nothing to catch."""


class StaysAway(SAM):
    """Leaves the weights where it looked."""

    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        displacement = unit(gradients, times=self.rho)
        self.flat.assign(self.weights + displacement)
        return gradients_at()


class LooksOnceMore(SAM):
    """Takes a gradient more than its row says."""

    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        gradients_at()
        return super().direction(gradients, gradients_at)


class Forgets(SAM):
    """Keeps what it needs for later steps outside its memory."""

    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        self.before = 0.5 * getattr(self, "before", 0.0) + gradients
        return super().direction(self.before.clone(), gradients_at)


class Doubles(SAM):
    """Adds the gradient to the one nearby, as a closure that clears nothing would."""

    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        return gradients + super().direction(gradients.clone(), gradients_at)


class Draws(SAM):
    """Takes its random numbers from those of the user."""

    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        return super().direction(gradients + torch.randn_like(gradients), gradients_at)


class Divides(SAM):
    """Divides by the length of the gradient, also where it is zero."""

    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        return gradients_at(self.rho * gradients / gradients.norm())


class Normalises(SAM):
    """Loses the scale of the loss."""

    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        return unit(super().direction(gradients, gradients_at))


CHECKS = {
    StaysAway: (test_restored_weights.test_the_base_steps_from_the_very_weights, ()),
    LooksOnceMore: (test_passes.test_gradients_a_step_are_those_of_the_table, (2,)),
    Forgets: (test_invariants.test_a_resumed_run_goes_on_bit_for_bit, ("SGD",)),
    Doubles: (test_invariants.test_on_a_linear_loss_the_direction_is_its_gradient, ()),
    Draws: (
        test_invariants.test_with_radius_zero_and_dropout_it_is_its_base_and_draws_the_same_numbers,
        (nn.Dropout(0.5),),
    ),
    Divides: (test_invariants.test_a_zero_gradient_is_a_step_of_the_base, ()),
    Normalises: (test_invariants.test_direction_scales_with_the_loss, ()),
}


@pytest.fixture
def row(monkeypatch):
    def add(kind):
        built = variant("dummy", kind, "nobody", 2)
        monkeypatch.setitem(OPTIMIZERS._rows, "dummy", built)

    return add


@pytest.mark.parametrize("kind", CHECKS, ids=lambda kind: kind.__name__)
def test_a_wrong_rule_is_caught(row, kind):
    check, more = CHECKS[kind]
    row(kind)
    with pytest.raises(AssertionError):
        check("dummy", *more)


@pytest.mark.parametrize("kind", CHECKS, ids=lambda kind: kind.__name__)
def test_a_right_one_is_not(row, kind):
    check, more = CHECKS[kind]
    row(Sound)
    check("dummy", *more)
