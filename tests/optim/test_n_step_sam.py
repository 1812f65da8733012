"""N-step SAM: the published value, the ball, the number of gradients, and SAM with one step."""

import pytest
import torch
from optim import fixture_function
from optim.battery import Watch, closure, mlp, sgd, weights

from landscape.errors import UsageError
from landscape.optim import SAM, NStepSAM


def test_direction_at_the_fixture_is_the_published_one() -> None:
    handed, _ = fixture_function.step(lambda base: NStepSAM(base, rho=0.1, ascent_steps=2))
    assert fixture_function.close(handed, (2.0696390455, -2.0799844155, 2.2068311607))


@pytest.mark.parametrize(("stride", "lengths"), [(1.0, (0.3, 0.3, 0.3)), (0.25, (0.075, 0.15, 0.225))])
def test_displacements_stay_in_the_ball(stride: float, lengths: tuple[float, ...]) -> None:
    model = mlp()
    optimizer = NStepSAM(sgd(model), rho=0.3, ascent_steps=3, stride=stride)
    watch = Watch(closure(optimizer, model), model)
    optimizer.step(watch)
    found = [d.norm().item() for d in watch.displacements]
    assert len(found) == 3
    assert max(found) <= 0.3 * (1 + 1e-12)
    # The gradient turns on the way, so that later places are a little nearer than the path is long.
    assert found == pytest.approx(lengths, rel=0.02)
    assert optimizer.losses[3] > optimizer.losses[0]


def test_one_step_is_sam() -> None:
    models = [mlp(), mlp()]
    optimizers = [NStepSAM(sgd(models[0]), rho=0.1, ascent_steps=1), SAM(sgd(models[1]), rho=0.1)]
    for number in range(5):
        for model, optimizer in zip(models, optimizers, strict=True):
            optimizer.step(closure(optimizer, model, seed=number))
    torch.testing.assert_close(weights(models[0]), weights(models[1]), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("ascent_steps", [1, 2, 5])
def test_gradients_a_step_are_one_more_than_the_steps_of_ascent(ascent_steps: int) -> None:
    model = mlp()
    optimizer = NStepSAM(sgd(model), ascent_steps=ascent_steps)
    for _ in range(3):
        optimizer.step(closure(optimizer, model))
    assert optimizer.gradient_evaluations == 3 * (1 + ascent_steps)


def test_groups_have_their_own_ball() -> None:
    model = mlp()
    groups = [{"params": model[0].parameters(), "rho": 0.2}, {"params": model[2].parameters(), "rho": 0.05}]
    optimizer = NStepSAM(torch.optim.SGD(groups, lr=0.1), ascent_steps=4)
    rho = torch.tensor([0.2] * 25 + [0.05] * 18, dtype=torch.float64)
    watch = Watch(closure(optimizer, model), model)
    optimizer.step(watch)
    assert (watch.displacements[0] / rho).norm().item() == pytest.approx(1.0, rel=1e-9)
    assert all((d / rho).norm() <= 1 + 1e-12 for d in watch.displacements)


@pytest.mark.parametrize(
    "options", [{"ascent_steps": 0}, {"ascent_steps": 1.5}, {"stride": 0.0}, {"stride": float("inf")}]
)
def test_options_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="is not allowed"):
        NStepSAM(sgd(mlp()), **options)
