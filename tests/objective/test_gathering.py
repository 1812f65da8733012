"""Weights that are gathered when a module reads them: the derivatives of the network as it was, and little memory."""

import copy
from functools import partial

import pytest
import torch
from problems import classification
from sharded_weights_cases import Decoder, decoder, examples, frozen, objective, part, read
from torch import nn

from landscape.errors import InputError, UsageError
from landscape.isolation.derivatives import twice_differentiable
from landscape.objective import Objective
from landscape.objective.gathering import Gathering, use_parts
from landscape.processes.group import ALONE, Group


def divided(model):
    """A copy whose weights are gathered, its parts, and how."""
    model, gathering = copy.deepcopy(model), Gathering(ALONE)
    parts = {id(p): nn.Parameter(p.detach().flatten().clone()) for p in model.parameters()}
    use_parts(model, parts, gathering)
    return model, list(model.parameters()), gathering


def derivatives(model, weights, batch, order):
    """The derivatives of the loss up to an order, each along the same vectors."""
    x, y = batch
    results, value = [], nn.functional.cross_entropy(model(x), y)
    for number in range(order):
        slopes = torch.autograd.grad(value, weights, create_graph=number + 1 < order, allow_unused=True)
        flat = [
            torch.zeros(p.numel()).double() if s is None else s.flatten()
            for p, s in zip(weights, slopes, strict=True)
        ]
        results.append(torch.cat(flat))
        value = (results[-1] * torch.linspace(-1, 1, len(results[-1])).double()).sum()
    return [result.detach() for result in results]


@pytest.mark.parametrize("saving", [False, True])
def test_derivatives_of_any_order_are_those_of_the_network(saving):
    model = decoder()
    gathered, parts, gathering = divided(model)
    batch = examples("decoder")
    with twice_differentiable():
        expected = derivatives(model, list(model.parameters()), batch, order=3)
        with gathering.dropping() if saving else torch.enable_grad():
            result = derivatives(gathered, parts, batch, order=3)
    for a, b in zip(result, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


def test_names_are_kept_and_a_tied_tensor_is_one_part():
    model = decoder()
    gathered, parts, _ = divided(model)
    assert [name for name, _ in gathered.named_parameters()] == [name for name, _ in model.named_parameters()]
    assert gathered.head._parameters["weight"] is gathered.embedding._parameters["weight"]
    assert isinstance(gathered, Decoder)
    assert type(gathered).__name__ == "Decoder"
    assert torch.equal(gathered.head.weight, model.head.weight)
    assert sum(p.numel() for p in parts) == sum(p.numel() for p in model.parameters())


def test_one_weight_is_whole_at_a_time_in_products_with_a_kept_graph():
    layers = [layer for _ in range(12) for layer in (nn.Linear(6, 6, bias=False), nn.Tanh())]
    gathered, parts, gathering = divided(nn.Sequential(*layers).double())
    x, y = classification(5, 6, 6)
    with twice_differentiable(), gathering.dropping():
        slopes = torch.autograd.grad(nn.functional.cross_entropy(gathered(x), y), parts, create_graph=True)
        for _ in range(2):
            torch.autograd.grad(slopes, parts, [torch.ones_like(s) for s in slopes], retain_graph=True)
    assert gathering.count > 36
    # The next is gathered while autograd still holds the one before, whose product it has just computed.
    assert gathering.most <= 2
    with twice_differentiable():  # without hooks, all are kept
        slopes = torch.autograd.grad(nn.functional.cross_entropy(gathered(x), y), parts, create_graph=True)
    assert gathering.most >= 11


def test_a_graph_of_another_point_is_refused():
    gathered, parts, gathering = divided(decoder())
    x, y = examples("decoder")
    with twice_differentiable(), gathering.dropping():
        loss = nn.functional.cross_entropy(gathered(x), y)
        gathering.release(moved=True)
        with pytest.raises(RuntimeError, match="other values than when it was used"):
            torch.autograd.grad(loss, parts)


def test_a_tensor_at_the_address_of_a_dropped_weight_is_no_weight():
    gathering, part = Gathering(ALONE), torch.zeros(1 << 18)
    for _ in range(20):
        whole = gathering.gathered(part, (1 << 9, 1 << 9))
        assert gathering.drops(whole.T[3:])
        del whole
        other = torch.ones(1 << 9, 1 << 9)
        assert not gathering.drops(other)
        assert torch.equal(gathering.unpack(gathering.pack(other)), other)


def test_shares_are_consecutive_and_cover_a_tensor_once():
    for world in (1, 2, 3, 5):
        for size in (0, 1, 2, 4, 7, 10):
            shares = [Group(rank, world).share(size) for rank in range(world)]
            assert [k for share in shares for k in share] == list(range(size))
            assert len(shares[0]) == -(-size // world)


def test_a_network_without_values_is_read_part_by_part():
    weights = dict(frozen().named_parameters())
    reads = []

    def noted(name, start, stop):
        reads.append((name, start, stop))
        return read(weights, name, start, stop)

    with torch.device("meta"):
        empty = frozen()
    x, y = examples("frozen")
    whole = Objective(frozen(), "cross-entropy", (x, y))
    point = Objective(empty.double(), "cross-entropy", (x, y), shard_weights=noted)
    assert reads == [(name, 0, p.numel()) for name, p in weights.items()]
    assert point.loss == pytest.approx(whole.loss, rel=1e-12)
    vector = torch.ones_like(point.point)
    torch.testing.assert_close(
        point.hessian_product(vector), whole.hessian_product(vector), rtol=1e-12, atol=1e-14
    )
    moved = point.at(part(point, whole.point * 1.1))
    assert moved.loss == pytest.approx(whole.at(whole.point * 1.1).loss, rel=1e-12)
    assert all(p.is_meta for p in empty.parameters())


def test_what_cannot_be_sharded_is_refused():
    class Empty(nn.Linear):
        def __init__(self):
            super().__init__(4, 3)
            self.register_buffer("table", torch.empty(2, device="meta"))

    def taken(name, start, stop):
        return torch.zeros(stop - start)

    batch = classification(5, 4, 3)
    with pytest.raises(UsageError, match="double-backward"):
        objective("perceptron", 1, shard_weights=taken, products="forward-over-reverse")
    with pytest.raises(UsageError, match="processes='split'"):
        Objective(nn.Linear(4, 3), "cross-entropy", batch, shard_weights=taken, processes="own")
    with pytest.raises(InputError, match="buffer 'table' of Empty is on the meta device"):
        Objective(Empty(), "cross-entropy", batch, shard_weights=taken)
    with pytest.raises(UsageError, match="jit has compiled"):
        Objective(torch.jit.script(nn.Linear(4, 3)), "cross-entropy", batch, shard_weights=taken)


def test_blocks_that_are_computed_again_gather_their_weights_again():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.outer = nn.Linear(8, 16), nn.Linear(16, 8)

        def forward(self, x):
            return x + self.outer(torch.tanh(self.inner(x)))

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), *[Block() for _ in range(5)], nn.Linear(8, 3)).double()
    batch, reading = classification(12, 4, 3), partial(read, dict(model.named_parameters()))
    whole = Objective(model, "cross-entropy", batch)
    point = Objective(model, "cross-entropy", batch, shard_weights=reading, recompute=True)
    vector = torch.linspace(-1, 1, whole.dimension).double()
    torch.testing.assert_close(
        point.hessian_product(vector), whole.hessian_product(vector), rtol=1e-12, atol=1e-14
    )
    assert any("are computed again in backward passes" in note for note in point.notes)
    assert point.shards.gathering.most <= 4  # weight and bias of two modules
