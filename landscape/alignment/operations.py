"""What operations do to the axes of their arguments: which they pair, which they keep, and which they read by place.

An operation that is in no table holds all axes of its arguments: what it does with their entries is not known. So a
network is never permuted wrongly for the lack of a rule; it is permuted less.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from landscape.alignment.axes import Axis, joined, regrouped, tie

Axes = list[Axis]


class Call(Protocol):
    """One call of an operation, as a rule sees it."""

    reason: str
    """Why axes are held that the operation reads by place."""

    def __getitem__(self, name: str) -> Any:
        """An argument by its name in the schema."""
        ...

    def get(self, name: str) -> Any:
        """The same; ``None`` if there is none."""
        ...

    def axes(self, tensor: Tensor) -> Axes:
        """The axes of an argument."""
        ...

    def results(self) -> Sequence[Tensor]:
        """The tensors that the operation returned."""
        ...


Rule = Callable[[Call], Sequence[Axes]]
"""From a call to the axes of its results, ties and holds included; results without axes are held."""


def _spatial(shape: Sequence[int]) -> Axes:
    return [Axis(size, held="") for size in shape]


def pointwise(call: Call, arguments: Sequence[Tensor]) -> Sequence[Axes]:
    """Element by element: axes at one place from the right are tied, those of size 1 repeat."""
    shape = call.results()[0].shape
    result: Axes = [Axis(size) for size in shape]
    for argument in arguments:
        for axis, own in zip(reversed(result), reversed(call.axes(argument)), strict=False):
            if own.size == axis.size:
                tie(axis, own, call.reason)
    return [result]


def _view(call: Call) -> Sequence[Axes]:
    return [regrouped(call.axes(call["self"]), call.results()[0].shape, call.reason)]


def _permute(call: Call) -> Sequence[Axes]:
    axes = call.axes(call["self"])
    return [[axes[dim] for dim in call["dims"]]]


def _transpose(call: Call) -> Sequence[Axes]:
    axes = [*call.axes(call["self"])]
    if len(axes) > 1:
        i, j = (0, 1) if call.get("dim0") is None else (call["dim0"], call["dim1"])
        axes[i], axes[j] = axes[j], axes[i]
    return [axes]


def _unsqueeze(call: Call) -> Sequence[Axes]:
    axes = [*call.axes(call["self"])]
    axes.insert(call["dim"] % (len(axes) + 1), Axis(1))
    return [axes]


def _expand(call: Call) -> Sequence[Axes]:
    axes, shape = call.axes(call["self"]), call.results()[0].shape
    old = [*[None] * (len(shape) - len(axes)), *axes]
    return [[o if o and o.size == size else Axis(size, held="") for o, size in zip(old, shape, strict=True)]]


def _repeat(call: Call) -> Sequence[Axes]:
    axes, times = call.axes(call["self"]), call["repeats"]
    old = [*[Axis(1)] * (len(times) - len(axes)), *axes]
    copies = zip(old, times, strict=True)
    return [
        [joined([Axis(count, held=""), axis], "product") if count > 1 else axis for axis, count in copies]
    ]


def _slice(call: Call) -> Sequence[Axes]:
    axes, dim = [*call.axes(call["self"])], call["dim"]
    size, length = axes[dim].size, call.results()[0].shape[dim]
    start = min(max(0, (call["start"] or 0) + (size if (call["start"] or 0) < 0 else 0)), size)
    if length == size:
        return [axes]
    if call["step"] != 1:
        axes[dim].hold(call.reason)
        axes[dim] = Axis(length, held=call.reason)
    else:
        axes[dim] = axes[dim].cut([start, length, size - start - length], call.reason)[1]
    return [axes]


def _select(call: Call) -> Sequence[Axes]:
    axes, dim = [*call.axes(call["self"])], call["dim"]
    size = axes[dim].size
    place = call["index"] % size
    axes.pop(dim % len(axes)).cut([place, 1, size - place - 1], call.reason)
    return [axes]


def _split(call: Call) -> Sequence[Axes]:
    dim = call["dim"]
    axes, sizes = call.axes(call["self"]), [part.shape[dim] for part in call.results()]
    pieces = axes[dim].cut(sizes, call.reason)
    dim %= len(axes)
    return [[*axes[:dim], piece, *axes[dim + 1 :]] for piece in pieces]


def _gated(call: Call) -> Sequence[Axes]:
    """One half times a function of the other."""
    axes, dim = [*call.axes(call["self"])], call["dim"]
    first, second = axes[dim].cut([axes[dim].size // 2] * 2, call.reason)
    tie(first, second, call.reason)
    axes[dim] = first
    return [axes]


def _unbind(call: Call) -> Sequence[Axes]:
    axes, dim = call.axes(call["self"]), call["dim"]
    dim %= len(axes)
    axes[dim].cut([1] * axes[dim].size, call.reason)
    return [[*axes[:dim], *axes[dim + 1 :]] for _ in call.results()]


def _cat(call: Call) -> Sequence[Axes]:
    every = [call.axes(tensor) for tensor in call["tensors"] if tensor.shape != (0,)]
    dim = call["dim"] % len(every[0])
    result = [*every[0]]
    for axes in every[1:]:
        for number, (first, own) in enumerate(zip(result, axes, strict=True)):
            if number != dim:
                tie(first, own, call.reason)
    result[dim] = joined([axes[dim] for axes in every], "sum")
    return [result]


def _stack(call: Call) -> Sequence[Axes]:
    every = [call.axes(tensor) for tensor in call["tensors"]]
    result = [*every[0]]
    for axes in every[1:]:
        for first, own in zip(result, axes, strict=True):
            tie(first, own, call.reason)
    result.insert(call["dim"] % (len(result) + 1), Axis(len(every), held=""))
    return [result]


def _matrix_product(first: str, second: str, added: str | None = None) -> Rule:
    def rule(call: Call) -> Sequence[Axes]:
        a, b = call.axes(call[first]), call.axes(call[second])
        if len(b) == 1:  # a vector
            tie(a[-1], b[0], call.reason)
            result = a[:-1]
        else:
            tie(a[-1], b[-2], call.reason)
            for one, other in zip(a[:-2], b[:-2], strict=True):
                tie(one, other, call.reason)
            result = [*a[:-1], b[-1]]
        if added is not None:
            for axis, own in zip(reversed(result), reversed(call.axes(call[added])), strict=False):
                if own.size == axis.size:
                    tie(axis, own, call.reason)
        return [result]

    return rule


def _convolution(call: Call) -> Sequence[Axes]:
    inputs, weight, groups = call.axes(call["input"]), call.axes(call["weight"]), call["groups"]
    for axis in (*inputs[2:], *weight[2:]):
        axis.hold()
    into, out = (weight[0], weight[1]) if call["transposed"] else (weight[1], weight[0])
    channels = call.results()[0].shape[1]
    if groups == 1:
        tie(inputs[1], into, call.reason)
    else:
        # The dimension that has all groups, and what is inside one of them: whole groups may be permuted, and all
        # groups alike inside.
        of_groups = regrouped(inputs[1:2], [groups, inputs[1].size // groups], call.reason)
        whole, one = (into, out) if call["transposed"] else (out, into)
        group, inside = regrouped([whole], [groups, whole.size // groups], call.reason)
        tie(of_groups[0], group, call.reason)
        tie(of_groups[1], inside if call["transposed"] else one, call.reason)
        out = joined([group, one if call["transposed"] else inside], "product")
    if call["bias"] is not None:
        tie(out, call.axes(call["bias"])[0], call.reason)
    assert out.size == channels
    return [[inputs[0], out, *_spatial(call.results()[0].shape[2:])]]


def _batch_norm(call: Call) -> Sequence[Axes]:
    axes = call.axes(call["input"])
    for name in ("weight", "bias", "running_mean", "running_var"):
        if call.get(name) is not None:
            tie(axes[1], call.axes(call[name])[0], call.reason)
    return [axes]


def _layer_norm(call: Call) -> Sequence[Axes]:
    axes = call.axes(call["input"])
    for name in ("weight", "bias"):
        if call.get(name) is not None:
            own = call.axes(call[name])
            for axis, other in zip(axes[-len(own) :], own, strict=True):
                tie(axis, other, call.reason)
    return [axes]


def _weight_norm(call: Call) -> Sequence[Axes]:
    """``g v/‖v‖`` with a norm for each entry along one dimension."""
    axes, dim = call.axes(call["v"]), call["dim"]
    tie(axes[dim], call.axes(call["g"])[dim], call.reason)
    return [axes]


def _group_norm(call: Call) -> Sequence[Axes]:
    axes = call.axes(call["input"])
    parts = regrouped(axes[1:2], [call["group"], axes[1].size // call["group"]], call.reason)
    channels = joined(parts, "product")
    for name in ("weight", "bias"):
        if call[name] is not None:
            tie(channels, call.axes(call[name])[0], call.reason)
    return [[axes[0], channels, *axes[2:]]]


def _same(call: Call) -> Sequence[Axes]:
    return [call.axes(call["self"])]


def _reduction(call: Call) -> Sequence[Axes]:
    """A symmetric function of the entries along some dimensions."""
    axes = call.axes(call["self"])
    dims = call.get("dim")
    every = [*range(len(axes))] if dims is None or dims == [] else [dims] if isinstance(dims, int) else dims
    gone = {dim % max(1, len(axes)) for dim in every}
    kept = bool(call.get("keepdim"))
    result = [Axis(1) if k in gone else axis for k, axis in enumerate(axes) if kept or k not in gone]
    return [result for _ in call.results()]


def _of_places(call: Call) -> Sequence[Axes]:
    """The order along some dimensions is read; the others are kept."""
    axes, shape = call.axes(call["self"]), call.results()[0].shape
    dims = call.get("dims") or call.get("dim")
    every = [dims] if isinstance(dims, int) else dims or range(len(axes))
    gone = {dim % max(1, len(axes)) for dim in every}
    for dim in gone:
        axes[dim].hold(call.reason)
    result = [axis for dim, axis in enumerate(axes) if dim not in gone or len(shape) == len(axes)]
    result = [a if a.size == size else Axis(size, held="") for a, size in zip(result, shape, strict=True)]
    return [result for _ in call.results()]


def _spatial_in(dimensions: int) -> Rule:
    """Pooling, resampling and padding of the last dimensions."""

    def rule(call: Call) -> Sequence[Axes]:
        axes = call.axes(call["self"])
        for axis in axes[-dimensions:]:
            axis.hold()
        return [[*axes[:-dimensions], *_spatial(out.shape[-dimensions:])] for out in call.results()[:1]]

    return rule


def _pad(call: Call) -> Sequence[Axes]:
    """Constants before and after, such as the zeros of a shortcut without weights."""
    axes, pad = [*call.axes(call["self"])], call["pad"]
    for number in range(len(pad) // 2):
        before, after, axis = pad[2 * number], pad[2 * number + 1], axes[-1 - number]
        if min(before, after) < 0:
            axis.hold(call.reason)
            axes[-1 - number] = Axis(axis.size + before + after, held=call.reason)
        elif before or after:
            axes[-1 - number] = joined([Axis(before), axis, Axis(after)], "sum")
    return [axes]


def _embedding(call: Call) -> Sequence[Axes]:
    rows, columns = call.axes(call["weight"])
    rows.hold()
    return [[*call.axes(call["indices"]), columns]]


def _index(call: Call) -> Sequence[Axes]:
    axes, indices = call.axes(call["self"]), [*call["indices"]]
    indices += [None] * (len(axes) - len(indices))
    at = [dim for dim, index in enumerate(indices) if index is not None]
    for axis in (*(axes[dim] for dim in at), *(own for dim in at for own in call.axes(indices[dim]))):
        axis.hold()
    shape = call.results()[0].shape
    chosen = _spatial(shape)[: len(shape) - len(axes) + len(at)]
    kept = [axis for dim, axis in enumerate(axes) if dim not in at]
    first = at[0] if at == [*range(at[0], at[-1] + 1)] else 0
    # Of the indices' own shape only the number of dimensions matters, as all of them are held.
    result = [*kept[:first], *chosen, *kept[first:]]
    return [[axis if axis.size == n else Axis(n, held="") for axis, n in zip(result, shape, strict=True)]]


CONSTANTS = frozenset(
    """
    zeros_like ones_like full_like empty_like new_zeros new_ones new_full new_empty new_empty_strided empty_strided
    zeros ones full empty arange scalar_tensor eye rand rand_like randn randn_like sym_size
    """.split()
)
"""Operations whose results do not depend on the entries of tensors."""


def _named(names: str, rule: Rule) -> Mapping[str, Rule]:
    return dict.fromkeys(names.split(), rule)


RULES: Mapping[str, Rule] = {
    **_named("view _unsafe_view reshape _reshape_alias view_copy squeeze", _view),
    **_named("permute", _permute),
    **_named("t transpose", _transpose),
    **_named("unsqueeze", _unsqueeze),
    **_named("expand", _expand),
    **_named("repeat", _repeat),
    **_named("slice", _slice),
    **_named("select", _select),
    **_named("split split_with_sizes", _split),
    **_named("unbind", _unbind),
    **_named("glu", _gated),
    **_named("cat", _cat),
    **_named("stack", _stack),
    **_named("mm", _matrix_product("self", "mat2")),
    **_named("bmm", _matrix_product("self", "mat2")),
    **_named("mv", _matrix_product("self", "vec")),
    **_named("dot", _matrix_product("self", "tensor")),
    **_named("addmm", _matrix_product("mat1", "mat2", "self")),
    **_named("baddbmm", _matrix_product("batch1", "batch2", "self")),
    **_named("addmv", _matrix_product("mat", "vec", "self")),
    **_named("convolution", _convolution),
    **_named(
        "native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training cudnn_batch_norm "
        "miopen_batch_norm _batch_norm_with_update _batch_norm_no_update",
        _batch_norm,
    ),
    **_named("native_layer_norm _fused_rms_norm", _layer_norm),
    **_named("native_group_norm", _group_norm),
    **_named("_weight_norm_interface", _weight_norm),
    **_named("clone detach alias _to_copy lift_fresh _softmax _log_softmax _safe_softmax contiguous", _same),
    **_named(
        "mean sum amax amin var std var_mean std_mean logsumexp linalg_vector_norm norm prod any all",
        _reduction,
    ),
    **_named("flip roll cumsum cumprod max min argmax argmin sort topk", _of_places),
    **_named(
        "max_pool1d avg_pool1d _adaptive_avg_pool1d upsample_nearest1d upsample_linear1d", _spatial_in(1)
    ),
    **_named("reflection_pad1d replication_pad1d", _spatial_in(1)),
    **_named("max_pool2d_with_indices avg_pool2d _adaptive_avg_pool2d adaptive_max_pool2d", _spatial_in(2)),
    **_named(
        "upsample_nearest2d upsample_bilinear2d upsample_bicubic2d _upsample_bilinear2d_aa", _spatial_in(2)
    ),
    **_named("reflection_pad2d replication_pad2d", _spatial_in(2)),
    **_named("max_pool3d_with_indices avg_pool3d _adaptive_avg_pool3d upsample_nearest3d", _spatial_in(3)),
    **_named("constant_pad_nd", _pad),
    **_named("embedding", _embedding),
    **_named("index", _index),
}
"""By the name of an operation of torch without its overload."""

POINTWISE_TOO = frozenset({"masked_fill", "copy", "where", "prelu", "_prelu_kernel", "clamp"})
"""Element-wise operations that torch does not tag as such in all versions."""

POINTWISE = torch.Tag.pointwise
