"""Presets: every one is a valid recipe with a source, every optimizer has one, and a small one trains."""

import pytest

from landscape.errors import UsageError
from landscape.optim import OPTIMIZERS
from landscape.training import PRESETS, Recipe, train

GIVEN = {"model": "resnet18", "data": "imagefolder:root=pictures"}


def recipe(name):
    return PRESETS[name].recipe(**{field: GIVEN[field] for field in PRESETS[name].needs})


@pytest.mark.parametrize("name", list(PRESETS))
def test_a_preset_is_a_valid_recipe_with_a_source(name):
    row, built = PRESETS[name], recipe(name)
    assert row.reference
    assert row.fields["optimizer"].partition(":")[0] == OPTIMIZERS.parse(built.optimizer).name
    assert name.startswith(OPTIMIZERS.parse(built.optimizer).name)
    for field, value in row.fields.items():
        if field not in ("optimizer", "base", "model", "data"):
            assert getattr(built, field) == value


def test_every_optimizer_has_a_preset():
    assert {OPTIMIZERS.parse(recipe(name).optimizer).name for name in PRESETS} == set(OPTIMIZERS)


def test_no_name_is_there_twice():
    from landscape.training.presets.cifar import CIFAR, CIFAR_MODELS
    from landscape.training.presets.imagenet import IMAGENET
    from landscape.training.presets.small import SMALL

    assert len(PRESETS) == sum(map(len, (SMALL, CIFAR, CIFAR_MODELS, IMAGENET)))


def test_published_numbers_are_those_of_the_tables():
    found = PRESETS["cr-sam-wrn28-10-cifar100"].recipe()
    assert found.model == "wrn28-10"
    assert found.optimizer == "cr-sam:rho=0.15,alpha=0.5,beta=0.1"
    assert (found.lr, found.epochs, found.batch_size, found.schedule) == (0.05, 200, 128, "cosine")
    assert found.base == "sgd:momentum=0.9,weight_decay=0.001"
    found = recipe("gsam-vit-s32")
    assert "rho_max=0.6,rho_min=0.0,alpha=0.4" in found.optimizer
    assert (found.lr, found.epochs, found.schedule, found.batch_size) == (3e-3, 300, "linear", 4096)
    assert (
        recipe("gam-pyramidnet-cifar100").optimizer
        == "gam:norm_rho=0.2,rho=0.04,beta=0.3,alpha=0.5,gamma=0.05"
    )


def test_what_is_not_known_is_marked():
    assert "unverified" in PRESETS["ae-sam-cifar10"].reference
    assert "third-party" in PRESETS["r-sam-cifar10"].reference
    assert "ours" in PRESETS["mesa-digits"].reference
    assert "unverified" not in PRESETS["cr-sam-cifar10"].reference


def test_what_only_the_user_can_say_is_asked_for():
    with pytest.raises(UsageError, match=r"preset 'esam-wrn-cifar10' is for a wide ResNet: pass --model"):
        PRESETS["esam-wrn-cifar10"].recipe()
    with pytest.raises(UsageError, match=r"imagefolder:root=DIR,normalize=imagenet: pass --data"):
        PRESETS["gsam-vit-b32"].recipe()


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(UsageError, match=r"unknown preset 'sam-cifar1' \(did you mean 'sam-cifar10'\?\)"):
        PRESETS.row("sam-cifar1")


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["mesa-digits", "entropy-sgd-digits", "ada-sam-digits", "bsam-digits"])
def test_a_preset_for_the_digits_learns(tmp_path, name):
    run = train(PRESETS[name].recipe(epochs=2 if name == "entropy-sgd-digits" else 6), output=tmp_path)
    assert run.metrics["test_accuracy"] > 0.85


def test_fields_given_come_before_those_of_the_preset():
    assert PRESETS["sam-digits"].recipe(epochs=3, optimizer="asam") == Recipe(
        model="mlp", data="digits", optimizer="asam", lr=0.1, epochs=3, batch_size=128
    )
