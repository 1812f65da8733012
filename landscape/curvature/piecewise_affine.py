"""A proof that a network's outputs are piecewise affine in each single parameter tensor, or what prevents it.

Then ∂²f_c/∂θ_j² = 0 for every output and coordinate, the second term of
``H = G + (1/N) Σᵢ Σ_c (∂ℓ/∂f_c) ∇²f_c`` has a zero diagonal, and Tr H = Tr G exactly, layer by layer.

The forward pass is traced to ATen operations with the parameters as inputs. For every value the analysis keeps the
set of parameters it depends on. Sums and other linear maps unite the sets. A product is allowed only of values whose
sets are disjoint, because it is then affine in each parameter of either. An element-wise function is allowed only if it
is piecewise linear, and a comparison is locally constant. Any other operation on a value that depends on a parameter
ends the proof by name. A "no" may be over-cautious; a "yes" must hold.
"""

import itertools
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.experimental.proxy_tensor import make_fx

from landscape.losses.outputs import applied, applied_with
from landscape.objective.autograd_graph import custom_functions, structure_only

Names = frozenset[str]

LINEAR = frozenset(
    """
    _unsafe_view view view_copy reshape t t_copy transpose transpose_copy permute permute_copy expand expand_copy
    squeeze squeeze_copy unsqueeze unsqueeze_copy slice slice_copy select select_copy cat stack add sub rsub neg
    mean sum constant_pad_nd avg_pool1d avg_pool2d avg_pool3d _adaptive_avg_pool2d _adaptive_avg_pool3d clone alias
    alias_copy flip roll repeat split split_copy split_with_sizes split_with_sizes_copy unbind unbind_copy
    diagonal_copy tril triu pixel_shuffle pixel_unshuffle cumsum upsample_nearest2d upsample_bilinear2d
    lift_fresh_copy detach detach_copy reflection_pad2d replication_pad2d
    """.split()
)
"""Linear in all their tensor arguments together."""

PIECEWISE_LINEAR = frozenset(
    """
    relu leaky_relu hardtanh clamp clamp_min clamp_max abs amax amin maximum minimum threshold
    max_pool2d_with_indices max_pool3d_with_indices adaptive_max_pool2d
    """.split()
)
"""Piecewise linear functions of their tensor arguments."""

LOCALLY_CONSTANT = frozenset(
    """
    eq ne lt le gt ge sign floor ceil round argmax argmin logical_and logical_or logical_not isnan isinf isfinite
    zeros_like ones_like full_like empty_like new_zeros new_ones new_full new_empty sym_size empty zeros ones full
    arange scalar_tensor
    """.split()
)
"""Their derivative is zero wherever it exists."""

PRODUCTS: Mapping[str, tuple[int, int]] = {
    **dict.fromkeys(
        ["mul", "mm", "bmm", "mv", "dot", "linear", "convolution", "prelu", "_prelu_kernel"], (0, 1)
    ),
    **dict.fromkeys(["addmm", "baddbmm"], (1, 2)),
}
"""The two arguments that are multiplied with each other; the others are added."""

CONSTANT_ARGUMENTS: Mapping[str, int] = {
    **dict.fromkeys(["div", "index", "embedding", "masked_fill"], 1),
    **dict.fromkeys(["index_select", "gather"], 2),
    "where": 0,
}
"""The argument that must not depend on a parameter; the operation is linear in the others."""


@dataclass(frozen=True)
class Verdict:
    """Whether the outputs are proved piecewise affine in each parameter, or what ended the proof.

    ``used_once`` are the parameters that the forward pass reads exactly once.
    """

    proved: bool
    reason: str
    used_once: Names = frozenset()


def analyse(model: nn.Module, free: Sequence[str], inputs: Any) -> Verdict:
    """The verdict on ``model(inputs)``, or ``model(**inputs)``, as a function of the parameters named ``free``.

    The model is in the mode in which it will be evaluated, and not changed. Only the shape of the inputs matters: a
    branch on their values ends the proof.
    """
    hooked = _hooked(model)
    if hooked:
        return Verdict(False, f"a backward hook on {hooked} may change the derivative")
    custom = _custom_function(model, inputs)
    if custom:
        return Verdict(False, f"the custom autograd function {custom} has a derivative of its own")
    try:
        traced = _traced(model, free, inputs)
    except Exception as failure:  # tracing may raise anything; the model is then not proved
        return Verdict(False, f"the forward pass cannot be traced ({described(failure)})")
    return _judged(traced, free)


def described(failure: Exception) -> str:
    """The class of a failure and the first line of its message."""
    words = (str(failure).strip().splitlines() or [""])[0][:100]
    return f"{type(failure).__name__}: {words}"


def _traced(model: nn.Module, free: Sequence[str], inputs: Any) -> fx.GraphModule:
    parameters = dict(model.named_parameters())
    fixed = {name: t.detach() for name, t in parameters.items() if name not in set(free)}
    fixed.update(dict(model.named_buffers()))

    def forward(theta: dict[str, Tensor], x: Any) -> Any:
        return applied_with(model, {**fixed, **theta}, x)

    # In-place operations and views become pure ones: the analysis follows values, not memory.
    pure = torch.func.functionalize(forward, remove="mutations_and_views")
    # Stand-ins without memory compute shapes only; constants that the model creates are real tensors among them.
    tracer = make_fx(pure, tracing_mode="fake", _allow_non_fake_inputs=True)
    # What autograd saves of a stand-in holds the graph that holds it: a reference cycle that is never freed.
    with structure_only():
        return tracer({name: parameters[name].detach().requires_grad_() for name in free}, inputs)


def _judged(traced: fx.GraphModule, free: Sequence[str]) -> Verdict:
    graph = traced.graph
    depends: dict[fx.Node, Names] = {}
    placeholders = [node for node in graph.nodes if node.op == "placeholder"]
    for node, name in itertools.zip_longest(placeholders, free):  # the inputs come last
        depends[node] = frozenset() if name is None else frozenset({name})
    once = frozenset(name for node, name in zip(placeholders, free, strict=False) if len(node.users) == 1)
    for node in graph.nodes:
        if node.op in ("placeholder", "output"):
            continue
        if node.op == "get_attr":
            constant = getattr(traced, str(node.target))
            if isinstance(constant, Tensor) and constant.requires_grad:
                return Verdict(False, "a weight is read past the module that owns it", once)
            depends[node] = frozenset()
            continue
        dependence = _dependence(node, depends)
        if isinstance(dependence, str):
            return Verdict(False, dependence, once)
        depends[node] = dependence
    return Verdict(True, "", once)


def _dependence(node: fx.Node, depends: Mapping[fx.Node, Names]) -> Names | str:
    """The parameters a node's value depends on, piecewise affinely in each; or why that is not known."""
    everything = frozenset().union(*(depends[n] for n in node.all_input_nodes))
    if node.target is operator.getitem:
        return everything
    value = node.meta.get("val")
    if everything and isinstance(value, Tensor) and value.is_complex():
        return "complex numbers"
    packet = getattr(node.target, "overloadpacket", node.target)
    short = getattr(packet, "__name__", str(packet))
    arguments = [_of(argument, depends) for argument in node.args]
    if short in LOCALLY_CONSTANT or not everything:
        return frozenset()
    if short in LINEAR or short in PIECEWISE_LINEAR:
        named = any(depends[n] for n in node.kwargs.values() if isinstance(n, fx.Node))
        return f"{short} with an argument that depends on a parameter" if named else everything
    if short in PRODUCTS:
        i, j = PRODUCTS[short]
        shared = arguments[i] & arguments[j]
        return f"{short}: both factors depend on {min(shared)}" if shared else everything
    if short in CONSTANT_ARGUMENTS:
        i = CONSTANT_ARGUMENTS[short]
        varying = arguments[i] if i < len(arguments) else frozenset()
        return f"{short}: argument {i} depends on {min(varying)}" if varying else everything
    if short in ("native_batch_norm", "_native_batch_norm_legit_no_training"):
        if short == "native_batch_norm" and node.args[5] is not False:
            return "batch norm with the statistics of the batch"
        inputs, weight, _, mean, variance, *_ = arguments
        return (
            f"{short}: its factors depend on the same parameter"
            if inputs & weight or mean or variance
            else everything
        )
    return f"{short} is not piecewise linear"


def _of(argument: Any, depends: Mapping[fx.Node, Names]) -> Names:
    """The parameters that an argument depends on, which may be a list of tensors."""
    names: list[Names] = []
    fx.node.map_arg(argument, lambda n: names.append(depends[n]))
    return frozenset().union(*names)


def _hooked(model: nn.Module) -> str:
    """The name of a module or parameter with a backward hook, which torch keeps in private attributes only."""
    for name, module in model.named_modules():
        if module._backward_hooks or module._backward_pre_hooks:
            return f"'{name}' ({type(module).__name__})"
    hooked = (name for name, parameter in model.named_parameters() if parameter._backward_hooks)
    return next((f"'{name}'" for name in hooked), "")


def _custom_function(model: nn.Module, inputs: Any) -> str:
    """The name of an ``autograd.Function`` in the graph that autograd records; empty if there is none."""
    with torch.enable_grad():
        outputs = applied(model, inputs)
    function = next(custom_functions([outputs] if isinstance(outputs, Tensor) else []), None)
    return "" if function is None else type(function).__name__.removesuffix("Backward")
