"""A network that writes to its inputs in place: every pass of a step is one of the same data."""

import pytest
import torch
from optim.battery import batch, build, every_variant, mlp, sgd, weights
from problems import MEAN, SCALE, Standardised
from torch import Tensor, nn

from landscape.optim import ERM, SAM, BatchClosure, MicroBatches

LOSS = nn.CrossEntropyLoss()


def network(*, writes: bool) -> nn.Sequential:
    body = mlp(nn.BatchNorm1d(5).double())
    return nn.Sequential(Standardised(writes=writes), *body)


def trained(name: str, *, writes: bool) -> Tensor:
    model = network(writes=writes)
    optimizer = build(name, model)
    for number in range(3):
        x, y = batch(number)
        before = x.clone()

        def evaluate(x: Tensor = x, y: Tensor = y) -> Tensor:
            optimizer.zero_grad()
            loss = LOSS(model(x), y)
            loss.backward()
            return loss

        rows = BatchClosure(
            model, nn.CrossEntropyLoss(reduction="none"), inputs=x, targets=y, indices=torch.arange(16)
        )
        optimizer.step(rows if optimizer.needs_batch else evaluate)
        # After a step the user's data are what a step of the base would have left.
        once = before.sub(MEAN).div(SCALE) if writes and not optimizer.needs_batch else before
        assert torch.equal(x, once)
    return weights(model)


@every_variant
def test_a_step_is_that_of_the_network_that_does_not_write(name: str) -> None:
    torch.testing.assert_close(
        trained(name, writes=True), trained(name, writes=False), rtol=1e-12, atol=1e-14
    )


@pytest.mark.parametrize("kind", [BatchClosure, MicroBatches])
def test_a_batch_closure_leaves_its_inputs_and_targets_alone(kind: type[BatchClosure]) -> None:
    model, (x, y) = network(writes=True), batch()
    kept = x.clone()
    options = {"size": 5} if kind is MicroBatches else {}
    rows = kind(
        model.eval(), nn.CrossEntropyLoss(reduction="none"), inputs={"input": x}, targets=y, **options
    )
    first, second = float(rows()), float(rows())
    assert first == second
    assert float(rows.part(slice(3, 9)).evaluate().loss) == pytest.approx(
        float(nn.functional.cross_entropy(model(kept[3:9].clone()), y[3:9])), rel=1e-12
    )
    assert torch.equal(x, kept)


def test_targets_that_are_the_inputs_are_compared_as_the_network_left_them() -> None:
    """As with the base alone: an autoencoder that normalises in place is compared with the normalised picture."""
    ends = []
    for wrap in (
        lambda base, model: SAM(base, rho=0, model=model),
        lambda base, model: ERM(base, model=model),
    ):
        torch.manual_seed(0)
        model = nn.Sequential(Standardised(writes=True), nn.Linear(4, 4).double())
        optimizer = wrap(sgd(model), model)
        for number in range(3):
            x, _ = batch(number)

            def evaluate(x: Tensor = x, model: nn.Module = model) -> Tensor:
                model.zero_grad()
                loss = (model(x) - x).square().mean()
                loss.backward()
                return loss

            optimizer.step(evaluate)
        ends.append(weights(model))
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-12, atol=1e-14)


def test_no_hook_is_left_on_the_network() -> None:
    model, (x, y) = network(writes=True), batch()
    optimizer = SAM(sgd(model), model=model)

    def evaluate() -> Tensor:
        model.zero_grad()
        loss = LOSS(model(x), y)
        loss.backward()
        if len(optimizer.losses) == 1:
            raise KeyboardInterrupt
        return loss

    with pytest.raises(KeyboardInterrupt):
        optimizer.step(evaluate)
    assert not model._forward_pre_hooks
    assert not model._forward_pre_hooks_with_kwargs
