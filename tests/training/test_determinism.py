"""Random numbers come from the seed and the epoch alone."""

import torch

from landscape.training import Recipe, train, trainer
from landscape.training.determinism import derived_seed, epoch_order


def test_an_order_visits_every_example_once():
    assert sorted(epoch_order(1000, seed=0, epoch=3)) == list(range(1000))


def test_epochs_and_seeds_have_their_own_order():
    orders = {tuple(epoch_order(50, seed=seed, epoch=epoch)) for seed in range(4) for epoch in range(4)}
    assert len(orders) == 16


def test_seeds_never_change_from_version_to_version():
    assert derived_seed(0, 0, "order") == 5821926085217484743
    assert epoch_order(8, seed=0, epoch=0) == [4, 2, 6, 1, 0, 7, 3, 5]


def test_a_derived_seed_fits_every_generator():
    assert all(0 <= derived_seed(2**63 - 1, epoch, "step") < 2**63 for epoch in range(100))


def test_a_run_on_a_gpu_uses_deterministic_kernels_and_one_on_the_cpu_needs_none(
    tmp_path, device, monkeypatch
):
    monkeypatch.setattr(trainer, "device_of", lambda recipe: device)
    seen = []
    recipe = Recipe(model="mlp:width=4,depth=1", epochs=1, batch_size=1024, device="cpu")
    train(
        recipe, output=tmp_path, progress=lambda _: seen.append(torch.are_deterministic_algorithms_enabled())
    )
    assert set(seen) == {device.type != "cpu"}
    assert not torch.are_deterministic_algorithms_enabled()
