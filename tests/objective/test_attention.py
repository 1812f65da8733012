"""Attention by the kernel that has a second derivative, in the measuring thread and in no other."""

import re
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.bias import causal_lower_right
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from landscape.errors import InputError
from landscape.isolation.attention import PlainAttention
from landscape.isolation.derivatives import twice_differentiable, without_gradients
from landscape.objective import Objective
from landscape.optim import BatchClosure, HessianTraceRegularised

ROWS = torch.randn(6, 4, 8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(6) % 3


class Reader(nn.Module):
    """A sequence layer and a linear head on the mean over the sequence."""

    def __init__(self, layer: nn.Module, read: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.layer, self.read, self.head = layer, read, nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(self.read(self.layer, x).mean(1))
        return scores


def heads(x: Tensor, count: int = 2) -> Tensor:
    return x.unflatten(-1, (count, -1)).transpose(1, 2)


def direct(**options: object) -> Callable[[nn.Module, Tensor], Tensor]:
    """Attention of queries that the layer computes to the sequence itself."""

    def read(layer: nn.Module, x: Tensor) -> Tensor:
        shared = heads(x)[:, :1] if options.get("enable_gqa") else heads(x)
        mixed = functional.scaled_dot_product_attention(heads(layer(x)), shared, shared, **options)
        return mixed.transpose(1, 2).flatten(2)

    return read


def multihead(**options: object) -> Callable[[nn.Module, Tensor], Tensor]:
    return lambda layer, x: layer(x, x, x, **options)[0]


ALLOWED = torch.tensor([[1, 0, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]], dtype=torch.bool)
PADDED = torch.arange(4) >= torch.tensor([4, 3, 2, 4, 1, 4])[:, None]
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "plain": lambda: Reader(nn.Linear(8, 8), direct()),
    "causal": lambda: Reader(nn.Linear(8, 8), direct(is_causal=True)),
    "scaled": lambda: Reader(nn.Linear(8, 8), direct(scale=0.1)),
    "boolean mask with an empty row": lambda: Reader(nn.Linear(8, 8), direct(attn_mask=ALLOWED)),
    "additive mask": lambda: Reader(nn.Linear(8, 8), direct(attn_mask=ALLOWED.double())),
    "causal bias": lambda: Reader(nn.Linear(8, 8), direct(attn_mask=causal_lower_right(4, 4))),
    "grouped queries": lambda: Reader(nn.Linear(8, 8), direct(enable_gqa=True)),
    "MultiheadAttention": lambda: Reader(nn.MultiheadAttention(8, 2, batch_first=True), multihead()),
    "MultiheadAttention without weights": lambda: Reader(
        nn.MultiheadAttention(8, 2, batch_first=True), multihead(need_weights=False)
    ),
    "MultiheadAttention with padding": lambda: Reader(
        nn.MultiheadAttention(8, 2, batch_first=True),
        lambda layer, x: layer(x, x, x, need_weights=False, key_padding_mask=PADDED[: len(x)])[0],
    ),
    "TransformerEncoderLayer": lambda: Reader(
        nn.TransformerEncoderLayer(8, 2, 8, batch_first=True), lambda layer, x: layer(x)
    ),
    "TransformerEncoder": lambda: Reader(
        nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 8, batch_first=True), 1), lambda layer, x: layer(x)
    ),
    "exported": lambda: torch.export.export(
        Reader(nn.Linear(8, 8), direct()).double().eval(), (ROWS.double(),)
    ).module(),
}  # fmt: skip


def seeded(name: str) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = NETWORKS[name]().double()
    return model if name == "exported" else model.eval()


@pytest.mark.parametrize("name", NETWORKS)
def test_the_hessian_of_attention_is_that_of_autograd(name: str) -> None:
    model, x = seeded(name), ROWS.double()
    objective = Objective(model, nn.CrossEntropyLoss(), [(x, LABELS)])
    # A wrong entry changes the product with every dense vector; a column for each parameter costs a hundred times more.
    generator = torch.Generator().manual_seed(1)
    vectors = torch.randn(objective.dimension, 4, dtype=torch.float64, generator=generator)
    products = objective.hessian_product(vectors)
    names = objective.layout.names

    def value(theta: Tensor) -> Tensor:
        parts = dict(zip(names, objective.layout.split(theta), strict=True))
        return nn.functional.cross_entropy(torch.func.functional_call(model, parts, (x,)), LABELS)

    # Not torch.func.hessian, whose layer norm has a wrong mixed derivative in its weight (torch 2.14).
    with sdpa_kernel(SDPBackend.MATH):
        expected = [torch.autograd.functional.vhp(value, objective.point, vector)[1] for vector in vectors.T]
    assert torch.allclose(products, torch.stack(expected, dim=1), rtol=1e-9, atol=1e-12)


class Operations(TorchDispatchMode):
    """The names of the operations that run."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(func.name())
        return func(*args, **(kwargs or {}))


def fused() -> set[str]:
    """The fused operations that attention and an encoder layer use in this thread."""
    x = ROWS.clone().requires_grad_()
    layer = nn.TransformerEncoderLayer(8, 2, 8, batch_first=True).eval()
    with Operations() as operations:
        functional.scaled_dot_product_attention(heads(x), heads(x), heads(x))
        with torch.inference_mode():
            layer(ROWS)
            nn.MultiheadAttention(8, 2, batch_first=True).eval()(ROWS, ROWS, ROWS, need_weights=False)
    kernels = re.compile("flash|efficient|cudnn|native_multi_head|encoder_layer_fwd")
    return {name for name in operations.names if kernels.search(name)}


@pytest.mark.parametrize("context", [twice_differentiable, without_gradients, PlainAttention])
def test_attention_is_plain_inside_and_fused_in_every_other_thread(context: Any) -> None:
    before = fused()
    assert len(before) == 3
    beside: list[set[str]] = []
    with context():
        assert fused() == set()
        thread = threading.Thread(target=lambda: beside.append(fused()))
        thread.start()
        thread.join()
    assert beside == [before]
    assert fused() == before


def test_no_mode_is_entered_where_the_first_batch_uses_no_attention(monkeypatch):
    """A mode sends every operation through Python; what uses attention later is refused and never wrong."""

    class Late(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.head = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x):
            hidden = self.layer(x)
            if x.mean() > 5:
                hidden = functional.scaled_dot_product_attention(hidden, hidden, hidden)
            return self.head(hidden.mean(1))

    x = torch.randn(6, 3, 4, generator=torch.Generator().manual_seed(0))
    y = torch.arange(6) % 2
    plain = Objective(Late(), nn.CrossEntropyLoss(), [(x, y)])
    assert plain.loss > 0
    monkeypatch.setattr("landscape.isolation.derivatives.PlainAttention", None)  # entering a mode would fail
    assert plain.hessian_product(torch.ones(plain.dimension)).norm() > 0
    monkeypatch.undo()
    late = Objective(Late(), nn.CrossEntropyLoss(), [(x, y), (x + 10, y)])
    with pytest.raises(InputError, match=r"no second derivative: .*scaled_dot_product"):
        late.hessian_product(torch.ones(late.dimension))


class Checkpointed(Reader):
    """A reader that keeps no activations of its sequence layer."""

    def forward(self, x: Tensor) -> Tensor:
        def attend(y: Tensor) -> Tensor:
            return self.read(self.layer, y)

        scores: Tensor = self.head(checkpoint(attend, x, use_reentrant=False).mean(1))
        return scores


@pytest.mark.parametrize("name", ["causal", "MultiheadAttention without weights"])
def test_activation_checkpoints_compute_plain_attention_again(name: str) -> None:
    model = seeded(name)
    assert isinstance(model, Reader)
    kept = Checkpointed(model.layer, model.read).double().eval()
    kept.head = model.head
    data = [(ROWS.double(), LABELS)]
    objective, expected = (Objective(network, nn.CrossEntropyLoss(), data) for network in (kept, model))
    direction = torch.ones(objective.dimension, dtype=torch.float64)
    assert torch.equal(objective.gradient, expected.gradient)
    assert torch.allclose(objective.hessian_product(direction), expected.hessian_product(direction))


def test_a_regularised_trace_goes_through_activation_checkpoints() -> None:
    weights = []
    for kind in (Checkpointed, Reader):
        model = seeded("causal")
        assert isinstance(model, Reader)
        network = kind(model.layer, model.read).double()
        network.head = model.head
        optimizer = HessianTraceRegularised(
            torch.optim.SGD(network.parameters(), 0.1), model=network, n_probe=1
        )
        loss = nn.CrossEntropyLoss(reduction="none")
        optimizer.step(BatchClosure(network, loss, inputs=ROWS.double(), targets=LABELS))
        weights.append(nn.utils.parameters_to_vector(network.parameters()))
    assert torch.allclose(weights[0], weights[1])


@pytest.mark.parametrize("mask", [None, ALLOWED, ALLOWED.float()])
def test_attention_under_autocast_is_that_of_the_public_kernel(mask: Tensor | None) -> None:
    x = heads(ROWS)
    with torch.autocast("cpu", torch.bfloat16):
        with sdpa_kernel(SDPBackend.MATH):
            expected = functional.scaled_dot_product_attention(x, x, x, mask)
        with PlainAttention():
            attention = functional.scaled_dot_product_attention(x, x, x, mask)
    assert attention.dtype is torch.bfloat16
    assert torch.equal(attention, expected)


def test_attention_by_the_operation_without_an_overload_has_a_second_derivative() -> None:
    class Packet(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = torch.nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.first(x)
            return torch.ops.aten.scaled_dot_product_attention(x, x, x).mean(1)

    x, y = torch.ones(3, 5, 4), torch.tensor([0, 1, 2])
    objective = Objective(Packet(), torch.nn.CrossEntropyLoss(), [(x, y)])
    assert bool(objective.hessian_product(objective.point).isfinite().all())
