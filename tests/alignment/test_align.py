"""Alignment of whole networks: copies are recovered to the bit, functions do not change, what cannot be is refused."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import landscape
from landscape.alignment import align
from landscape.errors import InputError, UsageError
from landscape.objective import BatchLoss, Objective
from landscape.surfaces.directions import Waypoint
from landscape.surfaces.sampling import sample_surface

LOSS = "cross-entropy"


def test_copies_with_every_hidden_layer_permuted_are_recovered_to_the_bit(copies):
    network, twin, orders, data = copies
    with torch.no_grad():  # the table by hand is right
        assert torch.allclose(network(data[0]), twin(data[0]), rtol=1e-12)
    alignment = align(Objective(network, LOSS, data), Objective(twin, LOSS, data))
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, alignment.network.state_dict()[name]), name
    assert alignment.distances[0] > 1
    assert alignment.distances[1] == 0
    assert sorted(map(len, alignment.permutations.values())) == sorted(map(len, orders.values()))
    assert not alignment.held


def test_the_barrier_between_aligned_copies_is_zero_to_rounding(copies):
    network, twin, _, data = copies
    first, other = (Objective(each, LOSS, data) for each in (network, twin))
    aligned = align(first, other).objective
    # Two points that are one have no line between them: the copy is moved a little.
    nearby = aligned.at(aligned.point * (1 + 1e-12))
    heights = []
    for end in (other, nearby):
        through = [Waypoint.of("a", first), Waypoint.of("b", end)]
        surface = sample_surface(first, "interpolation", points=5, through=through)
        heights.append(surface.meta["barrier"]["loss"]["height"])
    assert heights[0] > 1e-3
    assert abs(heights[1]) < 1e-9


def test_nothing_that_was_passed_is_changed(copies):
    network, twin, _, data = copies
    before = copy.deepcopy([network.state_dict(), twin.state_dict()])
    first, other = (Objective(each, LOSS, data) for each in (network, twin))
    points = first.point.clone(), other.point.clone()
    align(first, other)
    for there, now in zip(before, (network.state_dict(), twin.state_dict()), strict=True):
        assert all(torch.equal(there[name], now[name]) for name in there)
    assert torch.equal(first.point, points[0])
    assert torch.equal(other.point, points[1])


def trained(seed):
    """A small perceptron on the digits, in a second."""
    from landscape.data import load_data

    data = load_data("digits")
    x, y = map(torch.stack, zip(*((x, torch.as_tensor(y)) for x, y in data.train), strict=True))
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 10)
    )
    optimizer = torch.optim.SGD(network.parameters(), lr=0.2, momentum=0.9)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(x), y).backward()
        optimizer.step()
    return Objective(network, LOSS, (x, y))


def test_two_trained_networks_are_nearer_and_their_barrier_is_lower():
    first, other = trained(0), trained(1)
    alignment = align(first, other)
    assert abs(alignment.objective.loss - other.loss) < 1e-5
    heights = []
    for end in (other, alignment.objective):
        through = [Waypoint.of("a", first), Waypoint.of("b", end)]
        surface = sample_surface(first, "interpolation", points=11, through=through)
        heights.append(surface.meta["barrier"]["loss"]["height"])
    assert first.loss < 0.1
    assert heights[1] < 0.5 * heights[0]
    before, after = alignment.distances
    assert after < before
    assert after == pytest.approx(float((alignment.objective.point - first.point).double().norm()), rel=1e-6)


def test_the_same_call_gives_the_same_permutations_and_the_seed_only_matters_for_the_descent():
    first, other = trained(0), trained(1)
    runs = [align(first, other, seed=3, restarts=2) for _ in range(2)]
    for name, order in runs[0].permutations.items():
        assert np.array_equal(order, runs[1].permutations[name])
    assert runs[0].describe() == runs[1].describe()
    assert runs[0].distances[1] <= align(first, other, seed=3).distances[1] + 1e-9


def test_a_loss_of_batches_is_followed_through():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)).double()
    batch = {"x": torch.randn(9, 3, dtype=torch.float64), "y": torch.randn(9, 1, dtype=torch.float64)}
    loss = BatchLoss(lambda model, batch: (model(batch["x"]) - batch["y"]).square().mean())
    order = torch.randperm(8)
    twin = copy.deepcopy(network)
    for layer, dimension in ((0, 0), (2, 1)):
        twin[layer].weight.data = network[layer].weight.data.index_select(dimension, order)
    twin[0].bias.data = network[0].bias.data[order]
    alignment = align(*(Objective(each, loss, [batch]) for each in (network, twin)))
    assert alignment.distances[1] == 0


class Rolled(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 8), nn.Linear(8, 2)

    def forward(self, x):
        return self.second(torch.roll(torch.relu(self.first(x)), 1, 1))


class Hidden(Rolled):
    """Reads its weights where no operation on tensors shows it."""

    def forward(self, x):
        factor = float(self.first.weight.detach().numpy()[0].sum())
        return self.second(factor * torch.relu(self.first(x)))


DATA = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 0, 1, 0, 1])


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (Rolled, r"units of Rolled cannot be permuted.*layer 'Rolled' applies roll"),
        (lambda: nn.Linear(3, 2), "there is nothing between its inputs and its outputs"),
        (Hidden, "does not return the same outputs"),
    ],
)
def test_networks_that_cannot_be_aligned_are_refused_in_one_line(make, says):
    torch.manual_seed(0)
    networks = [make() for _ in range(2)]
    with pytest.raises(InputError, match=says) as caught:
        align(*(Objective(network, LOSS, DATA) for network in networks))
    assert "\n" not in str(caught.value)


def test_networks_of_other_shapes_are_refused_and_negative_restarts():
    small, large = (
        Objective(nn.Sequential(nn.Linear(3, n), nn.ReLU(), nn.Linear(n, 2)), LOSS, DATA) for n in (4, 5)
    )
    with pytest.raises(InputError, match=r"'0.weight' has the shape \(4, 3\) in the first"):
        landscape.align(small, large)
    with pytest.raises(UsageError, match="restarts=-1"):
        landscape.align(small, small, restarts=-1)
