"""A network as a graph in which convolutions do the work of the batch norms behind them.

A batch norm with stored statistics is an affine map, so that the convolution before it can take it in. That is done
anew at each point, since the weights of both move.
"""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

_NOTHING = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)


class _Value(fx.Proxy):
    """A value in a network that is traced; ``x += y`` stays in place, which fx would make a new tensor."""


def _in_place(name: str) -> Callable[[_Value, object], fx.Proxy]:
    function = getattr(operator, name)

    def record(value: _Value, operand: object) -> fx.Proxy:
        found: fx.Proxy = value.tracer.create_proxy("call_function", function, (value, operand), {})
        return found

    return record


for _name in (
    "iadd",
    "isub",
    "imul",
    "itruediv",
    "ifloordiv",
    "imod",
    "ipow",
    "iand",
    "ior",
    "ixor",
    "imatmul",
):
    setattr(_Value, f"__{_name}__", _in_place(_name))


class _Tracer(fx.Tracer):
    def proxy(self, node: fx.Node) -> _Value:
        """The value of a node."""
        return _Value(node, self)


@dataclass(frozen=True)
class Fold:
    """A convolution and the batch norm behind it, and the convolution that does the work of both."""

    convolution: nn.Conv2d
    norm: nn.BatchNorm2d
    both: nn.Conv2d

    def refresh(self) -> None:
        """Takes over the weights from where the network stands now."""
        norm, convolution = self.norm, self.convolution
        assert norm.running_mean is not None
        assert norm.running_var is not None
        assert self.both.bias is not None
        scale = torch.rsqrt(norm.running_var + norm.eps)
        if norm.weight is not None:
            scale = scale * norm.weight
        shift = -norm.running_mean if convolution.bias is None else convolution.bias - norm.running_mean
        torch.mul(convolution.weight, scale.view(-1, 1, 1, 1), out=self.both.weight)
        self.both.bias.copy_(shift * scale if norm.bias is None else torch.addcmul(norm.bias, shift, scale))


def traced(model: nn.Module) -> fx.GraphModule | None:
    """The network as a graph without the layers that do nothing; ``None`` if it has none.

    It shares all modules, and so their weights, with ``model``.
    """
    if hooked(model):
        return None
    try:
        network = fx.GraphModule(model, _Tracer().trace(model))
    except Exception:  # whatever a forward pass does that cannot be traced, the plain way can
        return None
    modules = dict(network.named_modules())
    for node in list(network.graph.nodes):
        module = modules.get(str(node.target)) if node.op == "call_module" else None
        inert = type(module) is nn.Identity or (type(module) in _NOTHING and not module.training)  # type: ignore[union-attr]
        if inert and not hooked(module) and len(node.args) == 1 and not node.kwargs:  # type: ignore[arg-type]
            node.replace_all_uses_with(node.args[0])
            network.graph.erase_node(node)
    network.recompile()
    return network


def hooked(module: nn.Module) -> bool:
    """Whether calling the module does more than its own forward pass."""
    return bool(module._forward_hooks or module._forward_pre_hooks)


def fold(network: fx.GraphModule, *, channels_last: bool) -> list[Fold]:
    """Takes every batch norm into the convolution which it directly follows."""
    graph = network.graph
    modules = dict(network.named_modules())
    calls = [node.target for node in graph.nodes if node.op == "call_module"]
    folds: list[Fold] = []
    for node in list(graph.nodes):
        if node.op != "call_module" or not isinstance(node.args[0] if node.args else None, fx.Node):
            continue
        before, norm = node.args[0], modules[node.target]
        convolution = modules.get(before.target) if before.op == "call_module" else None
        if type(norm) is not nn.BatchNorm2d or norm.training or norm.running_mean is None:
            continue
        if type(convolution) is not nn.Conv2d or len(before.users) > 1:
            continue
        if calls.count(node.target) > 1 or calls.count(before.target) > 1:
            continue
        if hooked(norm) or hooked(convolution):
            continue
        both = _like(convolution, channels_last=channels_last)
        name = f"folded_{len(folds)}"
        network.add_submodule(name, both)
        folds.append(Fold(convolution, norm, both))
        before.target = name
        node.replace_all_uses_with(before)
        graph.erase_node(node)
    network.recompile()
    return folds


def overwrite(network: fx.GraphModule) -> None:
    """Lets sums and ReLUs write into their operand where it is the result of a convolution made here, or of such a sum.

    Nobody else reads that: a pass over memory and its allocation are saved.
    """
    modules = dict(network.named_modules())
    fresh: set[fx.Node] = set()
    for node in network.graph.nodes:
        own = [arg for arg in node.args if isinstance(arg, fx.Node) and arg in fresh and len(arg.users) == 1]
        if made_here(node):
            fresh.add(node)
        elif not own:
            continue
        elif is_sum(node):
            first, second = node.args if node.args[0] in own else reversed(node.args)
            node.target, node.args = _added, (first, second)
            fresh.add(node)
        elif is_relu(node, modules):
            node.op, node.target, node.args, node.kwargs = "call_function", torch.relu_, (node.args[0],), {}
    network.recompile()


def made_here(node: fx.Node) -> bool:
    """Whether the node is a convolution that was put in the place of the network's own."""
    return node.op == "call_module" and str(node.target).startswith(("folded_", "fused_"))


def is_sum(node: fx.Node, *, in_place: bool = False) -> bool:
    """Whether the node is the sum of two values, in a new tensor or, with ``in_place``, in that of the first."""
    return (
        node.op == "call_function"
        and node.target in (operator.add, torch.add, *([operator.iadd] if in_place else []))
        and len(node.args) == 2
        and not node.kwargs
    )


def sums(node: fx.Node) -> bool:
    """Whether the node is the sum of two values, also after :func:`overwrite`."""
    return is_sum(node) or node.target is _added


def is_relu(node: fx.Node, modules: Mapping[str, nn.Module]) -> bool:
    """Whether the node is a ReLU, however it is written."""
    if node.op == "call_module":
        module = modules.get(str(node.target))
        return type(module) is nn.ReLU and not hooked(module)
    named = node.op == "call_method" and node.target in ("relu", "relu_")
    return named or (
        node.op == "call_function" and node.target in (torch.relu, torch.relu_, nn.functional.relu)
    )


def _added(own: Tensor, other: Tensor | float) -> Tensor:
    """The sum, in the place of the first where it has that shape."""
    fits = isinstance(other, Tensor) and other.shape == own.shape and other.dtype == own.dtype
    return own.add_(other) if fits else own + other


def _like(convolution: nn.Conv2d, *, channels_last: bool) -> nn.Conv2d:
    both = nn.Conv2d(
        convolution.in_channels,
        convolution.out_channels,
        convolution.kernel_size,  # type: ignore[arg-type]
        convolution.stride,  # type: ignore[arg-type]
        convolution.padding,  # type: ignore[arg-type]
        convolution.dilation,  # type: ignore[arg-type]
        convolution.groups,
        bias=True,
        padding_mode=convolution.padding_mode,
        device="meta",
        dtype=convolution.weight.dtype,
    ).to_empty(device=convolution.weight.device)
    both.requires_grad_(False)
    return both.to(memory_format=torch.channels_last) if channels_last else both
