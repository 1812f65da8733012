"""Random numbers come from the seed and the epoch alone."""

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
