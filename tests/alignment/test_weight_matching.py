"""The descent against all permutations of small problems, and the axes that it permutes."""

import itertools

import numpy as np
import pytest

from landscape.alignment.axes import Axis, joined, regrouped, tie
from landscape.alignment.weight_matching import Weights, weight_matching


def problem(seed, *, square=False):
    """Two hidden layers of 4 and 3 units, or one whose weights have its units in both dimensions."""
    draws = np.random.default_rng(seed)
    p, q, held = Axis(4), Axis(3), Axis(5, held="")
    shapes = [(p, held), (p, p), (held, p)] if square else [(p, held), (q, p), (held, q)]
    pairs = [(*draws.normal(size=(2, *(axis.size for axis in axes))), axes) for axes in shapes]
    return Weights(pairs, [p] if square else [p, q])


@pytest.mark.parametrize("square", [False, True])
def test_many_starts_find_the_best_of_all_permutations(square):
    for seed in range(5):
        weights = problem(seed, square=square)
        every = itertools.product(
            *(map(np.array, itertools.permutations(range(leaf.size))) for leaf in weights.free)
        )
        best = max(weights.similarity(dict(zip(weights.free, orders, strict=True))) for orders in every)
        matching = weight_matching(weights, restarts=30, seed=0)
        assert matching.similarity == pytest.approx(best, rel=1e-12)
        assert weight_matching(weights).similarity <= matching.similarity + 1e-12


def test_gains_are_what_the_similarity_is_made_of():
    weights = problem(1)
    orders = {leaf: np.random.default_rng(2).permutation(leaf.size) for leaf in weights.free}
    leaf = weights.free[0]
    gains = weights.gains(leaf, orders)
    differences = []
    for order in map(np.array, itertools.permutations(range(4))):
        total = gains[np.arange(4), order].sum()
        differences.append(weights.similarity({**orders, leaf: order}) - total)
    assert np.ptp(differences) < 1e-12


def test_an_axis_of_parts_is_permuted_through_its_leaves():
    channels, other = Axis(3), Axis(2)
    flat = joined([joined([channels, other], "sum"), Axis(2, held="")], "product")
    orders = {channels: np.array([2, 0, 1]), other: np.array([1, 0])}
    assert flat.order(orders).tolist() == [4, 5, 0, 1, 2, 3, 8, 9, 6, 7]
    assert flat.places(channels).tolist() == [[0, 1], [2, 3], [4, 5]]
    assert flat.places(other).tolist() == [[6, 7], [8, 9]]
    before, middle, after = Axis(2), Axis(3), Axis(2)
    three = joined([before, middle, after], "product")
    assert three.places(middle).tolist() == [[0, 1, 6, 7], [2, 3, 8, 9], [4, 5, 10, 11]]
    assert three.places(after).tolist() == [[*range(0, 12, 2)], [*range(1, 12, 2)]]
    heads = regrouped([Axis(12)], [3, 4], "")
    assert joined(heads, "product").order({heads[0].root: np.array([1, 2, 0])}).tolist() == [
        *range(4, 12),
        *range(4),
    ]


def test_ties_meet_in_the_coarsest_common_parts_or_hold_both():
    first, second = joined([Axis(6), Axis(2)], "product"), joined([Axis(3), Axis(4)], "product")
    tie(first, second, "no")
    assert [leaf.size for leaf in first.leaves()] == [leaf.size for leaf in second.leaves()] == [3, 2, 2]
    third, fourth = joined([Axis(3), Axis(3)], "product"), joined([Axis(4), Axis(5)], "sum")
    tie(third, fourth, "no")
    assert {leaf.held for leaf in (*third.leaves(), *fourth.leaves())} == {"no"}
    pieces = Axis(5), joined([Axis(2), Axis(3)], "sum")
    tie(*pieces, "no")
    pieces[0].cut([1, 4], "no")
    assert [leaf.size for leaf in pieces[1].leaves()] == [1, 1, 3]


def test_sums_are_tied_piece_by_piece():
    first, second = joined([Axis(2), Axis(4)], "sum"), joined([Axis(4), Axis(2)], "sum")
    tie(first, second, "no")
    for axis in (first, second):
        assert [leaf.size for leaf in axis.leaves()] == [2, 2, 2]
        assert [leaf.held for leaf in axis.leaves()] == [None] * 3
    assert [leaf.root for leaf in first.leaves()] == [leaf.root for leaf in second.leaves()]
    square = joined([Axis(2), Axis(2)], "product")
    third, fourth = joined([square, Axis(1)], "sum"), joined([Axis(3), Axis(2)], "sum")
    tie(third, fourth, "no")
    assert {leaf.held for leaf in (*third.leaves(), *fourth.leaves())} == {"no"}


def test_a_leaf_takes_the_parts_and_the_hold_of_what_it_is_tied_to():
    for swapped in (False, True):
        parts, leaf = joined([Axis(2), Axis(3)], "product"), Axis(6, held="why")
        tie(*((leaf, parts) if swapped else (parts, leaf)), "no")
        assert [(part.size, part.held) for part in leaf.leaves()] == [(2, "why"), (3, "why")]
