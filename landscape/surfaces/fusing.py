"""Convolutions that do the sum and the ReLU behind them in the same pass over memory, by oneDNN, on the CPU.

A ReLU or a sum of its own reads and writes what the convolution has just written. Here the convolution's kernel does it
while its result is still in registers; weights are put into the kernel's order once a point, not once a batch.

oneDNN's ReLU turns NaN into 0, which would hide that a network has overflowed. So it is shown at each point that no
convolution can overflow (``no_overflow``); a point where that fails is computed in the plain way.
"""

import functools
import operator
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from landscape.surfaces.folding import hooked, is_relu, is_sum, made_here

_SHAPE = "shape in single precision"


class FusedConvolution(nn.Module):
    """A convolution with what directly follows it.

    Args:
        source: Where weights and bias are read.

    Attributes:
        relu: Whether negative results are set to 0.
        overwrites: Whether the other operand of the sum is given up for the result.
        limits: What the inputs and the other operand may be at most, each ``None`` where that need not be looked at.
        exceeded: Whether one of them was larger since the last ``refresh``.
    """

    def __init__(self, source: nn.Conv2d) -> None:
        super().__init__()
        assert not isinstance(source.padding, str)
        self._source = [source]
        self._shape = (list(source.padding), list(source.stride), list(source.dilation), source.groups)
        self._packed: Tensor | None = None
        self.relu = self.overwrites = self.exceeded = False
        self.limits: list[float | None] = [None, None]

    def refresh(self) -> None:
        """Takes over the weights from where the network stands now."""
        weight = self._source[0].weight.detach().contiguous()
        padding, stride, dilation, groups = self._shape
        self._packed = torch._C._nn.mkldnn_reorder_conv2d_weight(
            weight.to_mkldnn(), padding, stride, dilation, groups
        )
        self.exceeded = False

    def growth(self) -> tuple[float, float]:
        """A and B such that no result is larger than A times the largest input, plus B."""
        weight, bias = self._source[0].weight.detach(), self._source[0].bias
        sums = torch.linalg.vector_norm(weight, 1, dim=(1, 2, 3))
        return float(sums.max()), 0.0 if bias is None else float(bias.detach().abs().max())

    def forward(self, inputs: Tensor, other: Tensor | None = None) -> Tensor:
        """The convolution of ``inputs``, plus ``other`` if there is one, through the ReLU if there is one."""
        self._look_at(inputs, self.limits[0])
        weights = (self._packed, self._source[0].bias, *self._shape)
        operations = torch.ops.mkldnn
        if other is None:
            kind = "relu" if self.relu else "none"
            result: Tensor = operations._convolution_pointwise(inputs, *weights, kind, [], "")
            return result
        self._look_at(other, self.limits[1])
        added: tuple[Any, ...] = (*weights, "add", 1.0, "relu" if self.relu else None, [], "")
        if self.overwrites:
            result = operations._convolution_pointwise_.binary(other, inputs, *added)
        else:
            result = operations._convolution_pointwise.binary(inputs, other, *added)
        return result

    def _look_at(self, value: Tensor, limit: float | None) -> None:
        if limit is not None:
            least, most = value.aminmax()
            self.exceeded |= not bool((least >= -limit) & (most <= limit))


@functools.cache
def available() -> bool:
    """Whether torch has these convolutions here."""
    try:
        with torch.inference_mode():
            one = FusedConvolution(nn.Conv2d(1, 1, 1, device="meta").to_empty(device="cpu"))
            one.refresh()
            one(torch.ones(1, 1, 1, 1), torch.ones(1, 1, 1, 1))
    except Exception:  # another torch, another build: there are other ways
        return False
    return True


def fuse(network: fx.GraphModule, inputs: Tensor) -> list[FusedConvolution]:
    """Makes every convolution one of these, with the sum and the ReLU behind it where nothing else reads its result.

    Args:
        network: A traced network, whose graph is changed.
        inputs: Two examples, from which the shapes are learnt.

    Returns:
        The convolutions; none, and the graph as it was, if the network is not one of pictures in single precision
        with one tensor as its result.
    """
    graph = network.graph
    try:
        _Shapes(network).run(inputs.clone())
    except Exception:  # what a graph does besides, the plain way can
        return []
    (output,) = (node for node in graph.nodes if node.op == "output")
    shape = _shape(output.args[0])
    if shape is None or shape[:1] != (len(inputs),):
        return []
    modules = dict(network.named_modules())
    calls = [node.target for node in graph.nodes if node.op == "call_module"]
    made: dict[fx.Node, FusedConvolution] = {}
    for node in graph.nodes:
        module = modules.get(str(node.target)) if node.op == "call_module" else None
        if calls.count(node.target) == 1 and _possible(node, module):
            assert isinstance(module, nn.Conv2d)
            name = f"fused_{len(made)}"
            made[node] = FusedConvolution(module)
            network.add_submodule(name, made[node])
            node.target = name
    for node, convolution in made.items():
        _take_sum(node, convolution, modules)
        _take_relu(node, convolution, modules)
    network.recompile()
    return list(made.values())


def _possible(node: fx.Node, module: nn.Module | None) -> bool:
    if type(module) is not nn.Conv2d or hooked(module) or node.kwargs or len(node.args) != 1:
        return False
    plain = module.padding_mode == "zeros" and not isinstance(module.padding, str)
    shape = _shape(node.args[0])
    return plain and module.weight.dtype == torch.float32 and shape is not None and len(shape) == 4


def _take_sum(node: fx.Node, convolution: FusedConvolution, modules: Mapping[str, nn.Module]) -> None:
    """The sum which comes right after the convolution, so that nothing is done in between, into the convolution."""
    total = node.next
    if list(node.users) != [total] or not is_sum(total, in_place=True):
        return
    other = total.args[1] if total.args[0] is node else total.args[0]
    if other is node or _shape(other) is None or _shape(other) != _shape(node):
        return
    assert isinstance(other, fx.Node)
    free = _own(other, modules) and other is not node.args[0] and _only_read_before(other, total)
    if total.target is operator.iadd and total.args[0] is other and not free:
        return
    convolution.overwrites = free
    node.args = (node.args[0], other)
    total.replace_all_uses_with(node)
    node.graph.erase_node(total)


def _own(node: fx.Node, modules: Mapping[str, nn.Module]) -> bool:
    """Whether the value is a tensor that was made in this pass and has no second name."""
    if is_relu(node, modules):
        source = node.args[0] if node.args else None
        return isinstance(source, fx.Node) and len(source.users) == 1 and _own(source, modules)
    return made_here(node) or is_sum(node)


def _only_read_before(node: fx.Node, last: fx.Node) -> bool:
    """Whether all that read the value, ``last`` aside, are convolutions before that."""
    return all(user is last or (made_here(user) and user < last) for user in node.users)


def _take_relu(node: fx.Node, convolution: FusedConvolution, modules: Mapping[str, nn.Module]) -> None:
    relu = next(iter(node.users), None)
    if relu is None or len(node.users) > 1 or not is_relu(relu, modules):
        return
    convolution.relu = True
    relu.replace_all_uses_with(node)
    node.graph.erase_node(relu)


class _Shapes(fx.Interpreter):
    """One pass that notes the shape of every tensor in single precision."""

    def run_node(self, n: fx.Node) -> Any:
        """The value of the node."""
        value = super().run_node(n)
        single = isinstance(value, Tensor) and value.dtype == torch.float32
        n.meta[_SHAPE] = tuple(value.shape) if single else None
        return value


def _shape(value: object) -> tuple[int, ...] | None:
    return value.meta.get(_SHAPE) if isinstance(value, fx.Node) else None
