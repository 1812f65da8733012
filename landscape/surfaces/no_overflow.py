"""Shows, from the weights and a few looks at activations, that no convolution of a network overflows at a point.

No result of a convolution is larger than the largest input times the largest sum of |weights|, plus the largest |bias|.
From layer to layer that grows far quicker than activations do, so that after some twenty layers it no longer says
anything. There a convolution looks at its inputs, one pass over memory, and the bound starts anew.
"""

from torch import fx, nn

from landscape.surfaces.folding import is_relu, sums
from landscape.surfaces.fusing import FusedConvolution

_LARGEST = 1e36
"""Below the largest number in single precision, 3.4e38, with room for rounding."""

_LOOKED_AT = 1e12
"""What activations may be where they are looked at: the bound starts anew there."""

_POOLING = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)


class NoOverflow:
    """The fused convolutions of a network, each told where to look.

    Args:
        network: The network with its fused convolutions.
        largest: The largest absolute value of the data.

    Attributes:
        bounds: What the results are at most at the point of the last ``refresh``, where that is known.
    """

    def __init__(self, network: fx.GraphModule, largest: float) -> None:
        self._graph, self._largest = network.graph, largest
        self._modules = dict(network.named_modules())
        self._convolutions = [m for m in self._modules.values() if isinstance(m, FusedConvolution)]
        self._shown = False
        self.bounds: dict[fx.Node, float] = {}

    def refresh(self) -> None:
        """Finds where to look at the point where the network stands now."""
        self.bounds.clear()
        self._shown = True
        for node in self._graph.nodes:
            bound = self._bound(node)
            if node.op == "output":
                return
            if bound is None:
                self.bounds.clear()  # what else a network does may have written to any of them
            else:
                self.bounds[node] = bound
                self._shown &= self._convolution(node) is None or bound <= _LARGEST

    def held(self) -> bool:
        """Whether nothing can have overflowed since."""
        return self._shown and not any(convolution.exceeded for convolution in self._convolutions)

    def _bound(self, node: fx.Node) -> float | None:
        convolution = self._convolution(node)
        operands = [self.bounds.get(value) for value in node.args if isinstance(value, fx.Node)]
        if convolution is not None:
            return _after(convolution, operands)
        if node.op == "placeholder":
            return self._largest
        first = operands[0] if operands else None
        if sums(node) and len(operands) == 2:
            return None if first is None or operands[1] is None else first + operands[1]
        module = self._modules.get(str(node.target)) if node.op == "call_module" else None
        return first if is_relu(node, self._modules) or type(module) in _POOLING else None

    def _convolution(self, node: fx.Node) -> FusedConvolution | None:
        module = self._modules.get(str(node.target)) if node.op == "call_module" else None
        return module if isinstance(module, FusedConvolution) else None


def _after(convolution: FusedConvolution, operands: list[float | None]) -> float:
    """The bound of its results, after looking where an operand has none or too large a one."""
    factor, summand = convolution.growth()
    factors = [factor, 1.0]
    for look in (False, True):
        limits = [_LOOKED_AT if bound is None or look else None for bound in operands]
        used = [bound if limit is None else limit for bound, limit in zip(operands, limits, strict=True)]
        total = summand + sum(f * b for f, b in zip(factors, used, strict=False) if b is not None)
        if total <= _LARGEST:
            break
    convolution.limits = [*limits, None][:2]
    return total
