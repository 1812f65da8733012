"""Recurrent layers as loops over time: equal to torch's kernels, twice differentiable, example by example."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from landscape.objective.recurrence import use_plain_recurrence

KINDS: dict[str, Any] = {
    "lstm": nn.LSTM,
    "projected": lambda *sizes, **options: nn.LSTM(*sizes, proj_size=2, **options),
    "gru": nn.GRU,
    "tanh": nn.RNN,
    "relu": lambda *sizes, **options: nn.RNN(*sizes, nonlinearity="relu", **options),
}
# Both directions, examples in front, biases, two layers.
OPTIONS = [
    (False, False, True, True),
    (True, True, False, False),
    (True, False, True, True),
    (False, True, True, False),
]


def pair(kind: str, **options: Any) -> tuple[nn.RNNBase, nn.RNNBase]:
    """A layer with torch's kernels, and the same one with loops."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = KINDS[kind](3, 4, **options)
    loop = copy.deepcopy(layer)
    use_plain_recurrence(loop)
    return layer, loop


def flat(result: Any) -> list[Tensor]:
    """All tensors of a result."""
    if isinstance(result, PackedSequence):
        return [result.data]
    return [result] if isinstance(result, Tensor) else [t for part in result for t in flat(part)]


def close(results: Any, expected: Any, tolerance: float) -> bool:
    """Whether two results have the same tensors."""
    pairs = zip(flat(results), flat(expected), strict=True)
    return all(a.shape == b.shape and bool(((a - b).abs() <= tolerance).all()) for a, b in pairs)


def states_of(kind: str, layer: nn.RNNBase, examples: int, dtype: torch.dtype) -> Any:
    """Hidden states to begin with."""
    width, count = layer.proj_size or layer.hidden_size, layer.num_layers * (1 + layer.bidirectional)
    generator = torch.Generator().manual_seed(5)
    hidden = torch.randn(count, examples, width, generator=generator).to(dtype)
    if not isinstance(layer, nn.LSTM):
        return hidden
    return hidden, torch.randn(count, examples, layer.hidden_size, generator=generator).to(dtype)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
@pytest.mark.parametrize("kind", KINDS)
def test_loops_have_the_results_of_the_kernels(kind: str, dtype: torch.dtype, tolerance: float) -> None:
    x = torch.randn(5, 6, 3, generator=torch.Generator().manual_seed(1)).to(dtype)
    for both, front, bias, deep in OPTIONS:
        options = {"bidirectional": both, "batch_first": front, "bias": bias, "num_layers": 1 + deep}
        layer, loop = (each.to(dtype) for each in pair(kind, **options))
        states = states_of(kind, layer, 5 if front else 6, dtype)
        packed = pack_padded_sequence(x, [2, 5, 1, 5, 3, 4][: 5 if front else 6], front, enforce_sorted=False)
        for arguments in ((x,), (x, states), (x[0],), (packed,), (packed, states)):
            assert close(loop(*arguments), layer(*arguments), tolerance), (options, len(arguments))


@pytest.mark.parametrize("kind", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_cells_have_the_results_of_the_kernels(kind: Any) -> None:
    cell = kind(3, 4).double()
    loop, x = copy.deepcopy(cell), torch.randn(6, 3, dtype=torch.float64)
    assert use_plain_recurrence(loop) == []
    states = cell(x)
    assert close(loop(x), states, 1e-12)
    assert close(loop(x, states), cell(x, states), 1e-12)
    assert close(loop(x[0]), cell(x[0]), 1e-12)


def test_dropout_between_layers_draws_as_torch_does() -> None:
    layer, loop = pair("lstm", num_layers=3, dropout=0.5, batch_first=True)
    layer, loop = (
        layer.double(),
        loop.double(),
    )  # oneDNN, which draws in another order, is for single precision
    x = torch.randn(5, 6, 3, dtype=torch.float64)
    results = []
    for each in (layer, loop):
        with torch.random.fork_rng():
            torch.manual_seed(3)
            results.append(each(x))
    assert close(*results, 1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_second_derivatives_and_gradients_by_example(kind: str) -> None:
    _, loop = pair(kind, bidirectional=True, batch_first=True)
    loop.double()
    weights = {name: p.detach() for name, p in loop.named_parameters()}
    x = torch.randn(4, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))

    def value(weights: dict[str, Tensor], x: Tensor) -> Tensor:
        out: Tensor = torch.func.functional_call(loop, weights, (x[None],))[0]
        return out.square().sum()

    each = torch.func.vmap(torch.func.grad(value), in_dims=(None, 0))(weights, x)
    alone = [torch.func.grad(value)(weights, row) for row in x]
    for name, gradients in each.items():
        assert torch.allclose(gradients, torch.stack([parts[name] for parts in alone]), atol=1e-12)
    names = ["weight_ih_l0", "weight_hh_l0", "bias_hh_l0_reverse"]
    inputs = tuple(weights[name].requires_grad_() for name in names)

    def moved(*tensors: Tensor) -> Tensor:
        return value({**weights, **dict(zip(names, tensors, strict=True))}, x[0])

    assert torch.autograd.gradgradcheck(moved, inputs, fast_mode=True)
