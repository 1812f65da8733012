"""The hook that a variant writes against, by small variants that use what the listed ones do not.

Rules that look ahead, that keep vectors between steps, that correct the weights after the base has moved them,
that draw numbers, and that evaluate parts of the batch: each is here in its smallest form.
"""

import copy

import pytest
import torch
from optim.battery import Watch, batch, closure, mlp, sgd, weights
from torch import Tensor, nn

from landscape.optim import SAM, SharpnessAware
from landscape.optim.gradients_at import GradientsAt
from landscape.optim.vector import unit


class Average(SharpnessAware):
    """Displaced along a running average of the gradients, as VaSSO."""

    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        average = self.memory.get("average", gradients)
        assert isinstance(average, Tensor)
        self.memory["average"] = 0.5 * average + 0.5 * gradients
        self.memory["count"] = int(self.memory.get("count", 0)) + 1
        return gradients_at(unit(self.memory["average"], times=0.1))


class Ahead(SharpnessAware):
    """Evaluated ahead along the momentum, as momentum SAM. One gradient."""

    def first_displacement(self) -> Tensor | None:
        buffers = [self.base.state[p].get("momentum_buffer") for p in self.flat.parameters]
        return -0.3 * unit(self.flat.flatten(buffers))

    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        return gradients


class Corrected(SharpnessAware):
    """The base descends along g, and the difference is applied by hand, as decoupled WSAM."""

    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        self._difference = gradients_at(unit(gradients, times=0.1)) - gradients
        return gradients

    def after_step(self) -> None:
        self.flat.assign(self.weights - self.param_groups[0]["lr"] * self._difference)


class Sometimes(SharpnessAware):
    """A second pass now and then, as SS-SAM."""

    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        if self.draws.chance(0) < 0.5:
            return gradients
        return gradients_at(unit(gradients, times=0.1))


class Sliced(SharpnessAware):
    """A displacement for each part of the batch, as m-SAM."""

    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        total = torch.zeros_like(gradients)
        for part in self.parts:
            own = gradients_at(closure=part, first=True)
            total += gradients_at(unit(own, times=0.1), closure=part)
        return total / len(self.parts)


class Selected(SharpnessAware):
    """A forward pass at the displaced weights decides what is differentiated there, as ESAM."""

    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        displacement = unit(gradients, times=0.1)
        with gradients_at.moved(displacement):
            self.seen = weights(self.network)
        return gradients_at(displacement)


def test_the_memory_is_saved_and_goes_on_bit_for_bit() -> None:
    model = mlp()
    optimizer = Average(sgd(model))
    for number in range(3):
        optimizer.step(closure(optimizer, model, seed=number))
    again = mlp()
    resumed = Average(sgd(again))
    again.load_state_dict(model.state_dict())
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for number in range(3, 6):
        optimizer.step(closure(optimizer, model, seed=number))
        resumed.step(closure(resumed, again, seed=number))
    assert torch.equal(weights(model), weights(again))
    assert resumed.memory["count"] == 6


def test_a_failed_step_puts_the_memory_back() -> None:
    model = mlp()
    optimizer = Average(sgd(model))
    optimizer.step(closure(optimizer, model))
    average = optimizer.memory["average"].clone()

    def fail(number: int) -> None:
        if number == 2:
            raise RuntimeError

    def poison(number: int) -> None:
        if number == 2:
            model[2].bias.grad.fill_(torch.nan)

    with pytest.raises(RuntimeError):
        optimizer.step(Watch(closure(optimizer, model, seed=7), model, before=fail))
    optimizer.step(Watch(closure(optimizer, model, seed=7), model, before=poison))
    assert torch.equal(optimizer.memory["average"], average)
    assert optimizer.memory["count"] == 1


def test_vectors_in_the_memory_follow_their_parameters() -> None:
    model = mlp()
    optimizer = Average(torch.optim.SGD(model[2].parameters(), lr=0.1))
    optimizer.step(closure(optimizer, model))
    average = optimizer.memory["average"].clone()
    optimizer.add_param_group({"params": model[0].parameters()})
    model[2].bias.requires_grad_(False)
    optimizer._lay_out_again()
    moved = optimizer.memory["average"]
    assert torch.equal(moved, torch.cat([average[:15], torch.zeros(25, dtype=torch.float64)]))


def test_a_rule_that_looks_ahead_takes_its_one_gradient_there_and_steps_from_the_weights() -> None:
    model = mlp()
    optimizer = Ahead(sgd(model))
    optimizer.step(closure(optimizer, model))
    before = weights(model)
    velocity = optimizer.flat.flatten([optimizer.state[p]["momentum_buffer"] for p in model.parameters()])
    watch = Watch(closure(optimizer, model), model)
    optimizer.step(watch)
    torch.testing.assert_close(watch.points[0], before - 0.3 * velocity / velocity.norm())
    assert optimizer.gradient_evaluations == 2
    assert optimizer.sam_steps == 0
    after = weights(model)
    velocity = optimizer.flat.flatten([optimizer.state[p]["momentum_buffer"] for p in model.parameters()])
    torch.testing.assert_close(after, before - 0.1 * velocity)


def test_a_correction_after_the_step_starts_from_the_new_weights() -> None:
    ends = []
    for variant in (Corrected, lambda base: SAM(base, rho=0.1)):
        model = mlp()
        optimizer = variant(torch.optim.SGD(model.parameters(), lr=0.1))
        for number in range(4):
            optimizer.step(closure(optimizer, model, seed=number))
        ends.append(weights(model))
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-12, atol=1e-14)


def test_private_numbers_leave_the_global_stream_alone_and_are_resumed() -> None:
    def run(steps: int, optimizer: SharpnessAware, model: nn.Module) -> list[int]:
        taken = []
        for number in range(steps):
            before = optimizer.gradient_evaluations
            optimizer.step(closure(optimizer, model, seed=number))
            taken.append(optimizer.gradient_evaluations - before)
        return taken

    model = mlp()
    optimizer = Sometimes(sgd(model))
    state = torch.get_rng_state()
    run(5, optimizer, model)
    assert torch.equal(torch.get_rng_state(), state)
    twin = mlp()
    resumed = Sometimes(sgd(twin))
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert run(12, optimizer, model) == run(12, resumed, twin)
    assert 0 < optimizer.sam_steps < optimizer.steps


def test_parts_of_the_batch_are_passes_of_their_own_right() -> None:
    model = mlp(nn.BatchNorm1d(5), nn.Dropout(0.5))
    optimizer = Sliced(sgd(model), model=model)
    masks: list[Tensor] = []
    model[2].register_forward_hook(lambda _, __, output: masks.append(output == 0))
    x, y = batch()

    def of(part: slice):  # type: ignore[no-untyped-def]
        def evaluate() -> Tensor:
            loss = nn.functional.cross_entropy(model(x[part]), y[part])
            loss.backward()
            return loss

        return evaluate

    optimizer.parts = [of(slice(0, 8)), of(slice(8, 16))]  # type: ignore[attr-defined]
    optimizer.step(closure(optimizer, model))
    assert model[1].num_batches_tracked == 3
    assert torch.equal(masks[1], masks[2])
    assert torch.equal(masks[3], masks[4])
    assert not torch.equal(masks[1], masks[3])


def test_a_forward_pass_can_be_taken_at_displaced_weights() -> None:
    model = mlp()
    optimizer = Selected(sgd(model))
    optimizer.network = model  # type: ignore[attr-defined]
    watch = Watch(closure(optimizer, model), model)
    optimizer.step(watch)
    assert torch.equal(optimizer.seen, watch.points[1])
