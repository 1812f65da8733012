"""Equal budgets are equal, and the table of optimizers knows what a step costs."""

import pytest

from landscape.optim import OPTIMIZERS
from landscape.training import Recipe, train
from landscape.training.plan import within_budget


def gradients_per_step(optimizer):
    return OPTIMIZERS.row(OPTIMIZERS.parse(optimizer).name).gradients(OPTIMIZERS.settings(optimizer))


@pytest.mark.parametrize(
    ("optimizer", "cost"),
    [
        ("sgd", 1),
        ("sam", 2),
        ("cr-sam", 3),
        ("looksam:k=10", 1.1),
        ("ss-sam:p=0.25", 1.25),
        ("ae-sam", 1.5),
        ("ae-looksam", 1.2),
        ("n-step-sam:ascent_steps=4", 5),
        ("esam:gamma=0.5", 5.5 / 3),
        ("mesa", 4 / 3),
        ("entropy-sgd:langevin_steps=7", 7),
        ("hessian-trace-reg:interval=20,n_probe=5", 2),
        ("hessian-trace-reg:interval=20,n_probe=5,mode=fd", 1.5),
    ],
)
def test_gradients_a_step_are_those_of_the_table(optimizer, cost):
    assert gradients_per_step(optimizer) == pytest.approx(cost)


def test_every_optimizer_costs_one_gradient_at_least_or_is_measured():
    known = {name: gradients_per_step(name) for name in OPTIMIZERS}
    assert [name for name, cost in known.items() if cost is None] == ["xsam", "ssam-f"]
    assert all(cost is None or cost >= 1 for cost in known.values())


def test_equal_gradients_are_spent(tmp_path):
    spent = {}
    for optimizer in ("sgd", "sam", "cr-sam"):
        asked = Recipe(
            model="mlp:width=4,depth=1", optimizer=optimizer, epochs=6, batch_size=512, device="cpu"
        )
        recipe = within_budget(asked, measured=99.0)
        spent[optimizer] = train(recipe, output=tmp_path / optimizer).metrics["gradients"]
    assert len(set(spent.values())) == 1


def test_the_warm_up_shrinks_with_the_epochs_and_one_is_left():
    recipe = within_budget(Recipe(optimizer="sam", epochs=30, warmup_epochs=4), measured=1.0)
    assert (recipe.epochs, recipe.warmup_epochs) == (15, 2)
    recipe = within_budget(Recipe(optimizer="cr-sam", epochs=2, warmup_epochs=1), measured=1.0)
    assert (recipe.epochs, recipe.warmup_epochs) == (1, 0)
