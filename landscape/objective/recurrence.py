"""Recurrent layers as loops over time in elementary operations: twice differentiable, under ``vmap`` too.

The kernels of cuDNN and oneDNN have no second derivative, and torch's own plain ones write into hidden states in
place, which ``vmap`` refuses. The layers keep their classes and their ``forward``; only the kernels that it calls are
replaced, so that hidden states, packed sequences and shapes are treated as torch treats them. The examples are in front
wherever a weight is used, so that the uses can be recorded.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

State = tuple[Tensor, ...]
"""The hidden state h, and of an LSTM the cell state c, each ``(B, H)``."""

Step = Callable[[Tensor, State, Sequence[Any]], State]
"""The next state from the input's part of the gates ``(B, gates)``, the state, and ``w_hh, b_hh, w_hr``."""


def use_plain_recurrence(model: nn.Module) -> list[str]:
    """Lets recurrent layers and cells of a model, which is changed, run as loops; returns the kinds of layers."""
    layers = [module for module in model.modules() if isinstance(module, (nn.RNNBase, nn.RNNCellBase))]
    for layer in layers:
        layer.forward = functools.partial(_recurrence, layer)
    return list(dict.fromkeys(type(layer).__name__ for layer in layers if isinstance(layer, nn.RNNBase)))


def _recurrence(layer: nn.Module, *arguments: Any, **named: Any) -> Any:
    with _Loops():
        return type(layer).forward(layer, *arguments, **named)


class _Loops(TorchFunctionMode):
    """Inside, the kernels of recurrent layers are loops."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs the loop in place of a kernel, and any other function as it is."""
        if function in _CELLS:
            return _cell(_CELLS[function], *args)
        if function not in _STEPS:
            return function(*args, **(kwargs or {}))
        # The arguments of packed sequences have their sizes of batches in the second place.
        run = _packed if isinstance(args[3], (tuple, list)) else _dense
        out, states = run(_STEPS[function], *args)
        return out, *states


def _dense(
    step: Step,
    x: Tensor,
    state: Tensor | State,
    weights: Sequence[Tensor],
    biases: bool,
    layers: int,
    dropout: float,
    training: bool,
    both: bool,
    batch_first: bool,
) -> tuple[Tensor, list[Tensor]]:
    """All layers for sequences ``(T, B, I)``, or ``(B, T, I)`` if ``batch_first``."""
    x = x if batch_first else x.transpose(0, 1)
    each = _by_direction(step, state, weights, biases, layers * (1 + both))

    def dropped(x: Tensor) -> Tensor:
        # torch draws in the order of time.
        return functional.dropout(x.transpose(0, 1).contiguous(), dropout).transpose(0, 1)

    x, states = _stacked(
        step,
        x,
        each,
        layers,
        both,
        split=lambda gates: gates.unbind(1),
        joined=lambda steps: torch.stack(steps, 1),
        dropped=dropped if dropout and training else None,
    )
    return x if batch_first else x.transpose(0, 1), states


def _packed(
    step: Step,
    x: Tensor,
    sizes: Tensor,
    state: Tensor | State,
    weights: Sequence[Tensor],
    biases: bool,
    layers: int,
    dropout: float,
    training: bool,
    both: bool,
) -> tuple[Tensor, list[Tensor]]:
    """All layers for packed sequences ``(rows, I)``, of which ``sizes[t]`` rows belong to step t."""
    counts = sizes.tolist()
    return _stacked(
        step,
        x,
        _by_direction(step, state, weights, biases, layers * (1 + both)),
        layers,
        both,
        split=lambda gates: torch.split(gates, counts),
        joined=torch.cat,
        dropped=(lambda x: functional.dropout(x, dropout)) if dropout and training else None,
    )


def _stacked(
    step: Step,
    x: Tensor,
    each: Iterator[tuple[State, list[Any]]],
    layers: int,
    both: bool,
    *,
    split: Callable[[Tensor], Sequence[Tensor]],
    joined: Callable[[list[Tensor]], Tensor],
    dropped: Callable[[Tensor], Tensor] | None,
) -> tuple[Tensor, list[Tensor]]:
    """The results of all layers, and their last states.

    Args:
        step: Of one time.
        x: What the first layer gets.
        each: The first state and the weights of every layer and direction.
        layers: Their number.
        both: Whether each has two directions.
        split: The gates of every time.
        joined: What all times yield together.
        dropped: Dropout between layers, if there is any.
    """
    finals = list[State]()
    for layer in range(layers):
        outs = list[Tensor]()
        for backwards in range(1 + both):
            start, (into, shift, *rest) = next(each)
            gates = split(functional.linear(x, into, shift))
            steps, final = _over_time(step, gates, start, rest, backwards=bool(backwards))
            outs.append(joined(steps))
            finals.append(final)
        x = torch.cat(outs, -1) if both else outs[0]
        if dropped is not None and layer + 1 < layers:
            x = dropped(x)
    return x, [torch.stack(parts) for parts in zip(*finals, strict=True)]


def _over_time(
    step: Step, gates: Sequence[Tensor], start: State, weights: Sequence[Any], *, backwards: bool
) -> tuple[list[Tensor], State]:
    """The hidden states of all steps, and the last state; a step has no more examples than the one before it."""
    outs, ended = list[Tensor](), list[State]()
    first = len(gates[-1 if backwards else 0])
    state = start if first == len(start[0]) else tuple(part[:first] for part in start)
    for gate in reversed(gates) if backwards else gates:
        rows, count = len(gate), len(state[0])
        if rows < count:  # shorter sequences end
            ended.append(tuple(part[rows:] for part in state))
            state = tuple(part[:rows] for part in state)
        elif rows > count:  # backwards they begin later
            state = tuple(
                torch.cat([part, other[count:rows]]) for part, other in zip(state, start, strict=True)
            )
        state = step(gate, state, weights)
        outs.append(state[0])
    if ended:
        state = tuple(torch.cat(parts) for parts in zip(state, *reversed(ended), strict=True))
    return outs[::-1] if backwards else outs, state


def _by_direction(
    step: Step, state: Tensor | State, weights: Sequence[Tensor], biases: bool, count: int
) -> Iterator[tuple[State, list[Any]]]:
    """The first state of every layer and direction, and its ``w_ih, b_ih, w_hh, b_hh, w_hr``."""
    states = (state,) if isinstance(state, Tensor) else state
    size = len(weights) // count
    for k in range(count):
        own = list[Any](weights[k * size : (k + 1) * size])
        if not biases:
            own[2:2] = [None, None]
        into, across, shift, shift_across, *projection = own
        yield tuple(part[k] for part in states), [into, shift, across, shift_across, *projection]


def _lstm(gates: Tensor, state: State, weights: Sequence[Any]) -> State:
    hidden, cell = state
    across, shift, *projection = weights
    i, f, g, o = (gates + functional.linear(hidden, across, shift)).chunk(4, 1)
    cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
    hidden = torch.sigmoid(o) * torch.tanh(cell)
    for weight in projection:
        hidden = functional.linear(hidden, weight)
    return hidden, cell


def _gru(gates: Tensor, state: State, weights: Sequence[Any]) -> State:
    (hidden,) = state
    across, shift = weights
    width = hidden.shape[1]
    inner = functional.linear(hidden, across, shift)
    r, z = torch.sigmoid(gates[:, : 2 * width] + inner[:, : 2 * width]).chunk(2, 1)
    new = torch.tanh(gates[:, 2 * width :] + r * inner[:, 2 * width :])
    return (new + z * (hidden - new),)


def _rnn(
    activation: Callable[[Tensor], Tensor], gates: Tensor, state: State, weights: Sequence[Any]
) -> State:
    across, shift = weights
    return (activation(gates + functional.linear(state[0], across, shift)),)


def _cell(
    step: Step,
    x: Tensor,
    state: Tensor | State,
    into: Tensor,
    across: Tensor,
    shift: Tensor | None = None,
    shift_across: Tensor | None = None,
) -> Tensor | State:
    states = (state,) if isinstance(state, Tensor) else tuple(state)
    after = step(functional.linear(x, into, shift), states, [across, shift_across])
    return after if len(after) > 1 else after[0]


_TANH, _RELU = functools.partial(_rnn, torch.tanh), functools.partial(_rnn, torch.relu)
_STEPS: Mapping[object, Step] = {
    torch.lstm: _lstm,
    torch.gru: _gru,
    torch.rnn_tanh: _TANH,
    torch.rnn_relu: _RELU,
}
_CELLS: Mapping[object, Step] = {
    torch.lstm_cell: _lstm,
    torch.gru_cell: _gru,
    torch.rnn_tanh_cell: _TANH,
    torch.rnn_relu_cell: _RELU,
}
