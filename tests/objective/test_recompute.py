"""Activation checkpointing by block: the same numbers through double backward, and less memory."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from landscape.errors import UsageError
from landscape.models.cifar_resnet import CifarResNet
from landscape.objective import Objective

WIDTH = 8


class Block(nn.Module):
    """Two layers added to their input, with attention in between."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, states: Tensor) -> Tensor:
        query, key, value = self.inner(states).unsqueeze(1).chunk(3, dim=-1)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return states + torch.tanh(self.outer(mixed.squeeze(1)))


@dataclass
class Outputs:
    """What a block returns besides a tensor."""

    states: Tensor
    count: Tensor
    nothing: None = None


torch.utils._pytree.register_dataclass(Outputs)


class Nested(Block):
    """A block with keyword arguments, of which one is a mask, that returns a tuple with a dataclass."""

    def forward(self, states: Tensor, *, mask: Tensor, scale: Tensor, name: str) -> tuple[Outputs, str]:  # type: ignore[override]
        out = super().forward(states * scale).masked_fill(mask, 0.0)
        return Outputs(out, mask.sum()), name


class Network(nn.Module):
    """An embedding, blocks, and a head."""

    def __init__(self, block: type[nn.Module] = Block, depth: int = 3) -> None:
        super().__init__()
        self.first = nn.Linear(4, WIDTH)
        self.blocks = nn.ModuleList(block() for _ in range(depth))
        self.head = nn.Linear(WIDTH, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        states = self.first(inputs)
        for block in self.blocks:
            states = self.passed(block, states)
        scores: Tensor = self.head(states).mean(1)
        return scores

    def passed(self, block: nn.Module, states: Tensor) -> Tensor:
        """The states after a block."""
        result: Tensor = block(states)
        return result


class NestedNetwork(Network):
    """Calls its blocks with keyword arguments."""

    def __init__(self) -> None:
        super().__init__(Nested)

    def passed(self, block: nn.Module, states: Tensor) -> Tensor:
        outputs, _ = block(states, mask=states > 1, scale=states.square().mean().sqrt(), name="x")
        return outputs.states / (1 + outputs.count)


class Repeated(Network):
    """Uses each block twice."""

    def passed(self, block: nn.Module, states: Tensor) -> Tensor:
        result: Tensor = block(block(states))
        return result


class Writing(Block):
    """Writes to its input."""

    def forward(self, states: Tensor) -> Tensor:
        return super().forward(states.mul_(0.5))


class Reaching(Block):
    """Uses a weight of another module."""

    others: nn.Module

    def forward(self, states: Tensor) -> Tensor:
        return super().forward(states) * self.others.__dict__["tensor"]


class ReachingNetwork(Network):
    """Computes a tensor that its blocks reach by an attribute."""

    def __init__(self) -> None:
        super().__init__(Reaching)

    def passed(self, block: nn.Module, states: Tensor) -> Tensor:
        block.__dict__["others"] = self
        self.__dict__["tensor"] = self.head.bias.exp().sum()
        return super().passed(block, states)


def hooked() -> nn.Module:
    """A network with hooks on a block and inside one."""
    network = Network()
    network.blocks[0].register_forward_hook(lambda module, args, out: 2 * out)
    network.blocks[1].register_forward_pre_hook(lambda module, args: (args[0].sin(),))
    network.blocks[2].inner.register_forward_hook(lambda module, args, out: out.cos())
    return network


def frozen() -> nn.Module:
    """A network of which the first layers and a weight of the second block are fixed."""
    network = Network()
    for module in (network.first, network.blocks[0], network.blocks[1].outer):
        module.requires_grad_(False)
    return network


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "plain": Network,
    "keywords and dataclasses": NestedNetwork,
    "blocks used twice": Repeated,
    "hooks": hooked,
    "frozen": frozen,
    "encoder": lambda: nn.Sequential(
        nn.TransformerEncoder(
            nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True), 2, enable_nested_tensor=False
        ),
        nn.Flatten(),
        nn.Linear(20, 3),
    ),
}


def _objectives(network: nn.Module, **options: Any) -> tuple[Objective, Objective]:
    """Without recomputation and with it, on six examples in batches of four and two."""
    torch.manual_seed(1)
    inputs, targets = torch.randn(6, 5, 4), torch.tensor([0, 1, 2, 0, 1, 2])
    data = [(inputs[:4], targets[:4]), (inputs[4:], targets[4:])]
    options = {"dtype": torch.float64} | options
    plain, recomputed = (
        Objective(network, "cross-entropy", data, recompute=recompute, **options)
        for recompute in (False, True)
    )
    return plain, recomputed


def _assert_same(plain: Objective, recomputed: Objective) -> None:
    vectors = torch.randn(plain.dimension, 2, dtype=torch.float64)
    for compute in (
        lambda objective: objective.gradient,
        lambda objective: objective.hessian_product(vectors),
        lambda objective: objective.hessian_product(vectors[:, 1]),  # with kept graphs
        lambda objective: objective.gauss_newton_product(vectors),
    ):
        expected = compute(plain)
        assert float(expected.norm()) > 1e-3
        torch.testing.assert_close(compute(recomputed), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", NETWORKS)
def test_numbers_are_those_without(name: str) -> None:
    torch.manual_seed(0)
    plain, recomputed = _objectives(NETWORKS[name]().eval())
    _assert_same(plain, recomputed)
    assert "computed again in backward passes" in recomputed.notes[-1]
    ours, theirs = (objective.engine.graphs.largest or 0 for objective in (recomputed, plain))
    assert ours < theirs


@pytest.mark.parametrize("batch_norm", ["stored", "batch"])
def test_residual_networks_with_batch_norm(batch_norm: Any) -> None:
    torch.manual_seed(0)
    network = CifarResNet(1, 3, widths=(2, 4), blocks=2).eval()
    images, targets = torch.randn(4, 1, 6, 6), torch.tensor([0, 1, 2, 0])
    plain, recomputed = (
        Objective(
            network,
            "cross-entropy",
            (images, targets),
            dtype=torch.float64,
            batch_norm=batch_norm,
            recompute=recompute,
        )
        for recompute in (False, True)
    )
    _assert_same(plain, recomputed)
    assert "4 blocks (stages.0.0, stages.0.1, …)" in recomputed.notes[-1]


def test_decoders_of_hugging_face_with_masks_and_without_their_cache() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        n_layer=2, n_embd=8, n_head=2, vocab_size=11, n_positions=8, bos_token_id=1, eos_token_id=2
    )
    network = transformers.GPT2ForSequenceClassification(config).eval()
    network.config.pad_token_id = 0
    tokens = torch.randint(1, 11, (4, 6), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(tokens)
    mask[0, 4:] = 0
    batch = {"input_ids": tokens, "attention_mask": mask, "labels": torch.tensor([0, 1, 0, 1])}
    plain, recomputed = (
        Objective(network, "cross-entropy", [batch], dtype=torch.float64, recompute=recompute)
        for recompute in (False, True)
    )
    _assert_same(plain, recomputed)
    assert "2 blocks (transformer.h.0, transformer.h.1)" in recomputed.notes[-1]
    assert network.config.use_cache  # the user's own


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (
            lambda: nn.Sequential(nn.Flatten(), nn.Linear(20, 8), nn.Tanh(), nn.Linear(8, 3)),
            "% of its memory",
        ),
        (lambda: Network(Writing), "write to their inputs"),
        (ReachingNetwork, "depend on more than their arguments"),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(20, 3)), "% of its memory"),
    ],
)
def test_where_it_is_of_no_use_it_is_said_and_left_out(network: Callable[[], nn.Module], reason: str) -> None:
    torch.manual_seed(0)
    plain, recomputed = _objectives(network().eval())
    _assert_same(plain, recomputed)
    assert recomputed.notes[-1].startswith("recompute changes nothing here:")
    assert reason in recomputed.notes[-1]


def test_checkpoints_of_the_same_network_are_recomputed_too() -> None:
    torch.manual_seed(0)
    plain, recomputed = (objective.of(Network().eval()) for objective in _objectives(Network().eval()))
    recomputed = recomputed.at(plain.point)
    _assert_same(plain, recomputed)
    assert "computed again" in recomputed.notes[-1]


@pytest.mark.thorough
def test_per_example_ways_run_as_without() -> None:
    from landscape.measures import hessian_trace

    torch.manual_seed(0)
    plain, recomputed = (hessian_trace(objective) for objective in _objectives(Network().eval()))
    assert recomputed.details["method"] == plain.details["method"]
    assert recomputed.value == pytest.approx(plain.value, rel=1e-9)


def test_forward_over_reverse_products_are_refused() -> None:
    with pytest.raises(UsageError, match="recompute=True is for products"):
        _objectives(Network().eval(), products="forward-over-reverse")


def test_the_graph_is_smaller_by_far_on_a_deep_network() -> None:
    torch.manual_seed(0)
    plain, recomputed = _objectives(Network(depth=12).eval())
    for objective in (plain, recomputed):
        objective.hessian_product(torch.ones_like(objective.point))
    ours, theirs = (objective.engine.graphs.largest or 0 for objective in (recomputed, plain))
    assert ours < 0.5 * theirs
