"""The diagonal matrix by which an optimizer divides its step, and the curvature from which on it is unstable."""

from dataclasses import dataclass, replace

from torch import Tensor

from landscape.curvature.operators import hessian
from landscape.linalg import SymmetricOperator
from landscape.objective import Objective


@dataclass(frozen=True, eq=False)
class Preconditioner:
    """P of an optimizer whose step is θ ← θ − η P⁻¹ m, with m a mean of gradients.

    Attributes:
        diagonal: P ``(n,)``, positive; ``None`` for the identity.
        threshold: The eigenvalue of P⁻½HP⁻½ above which the step on a quadratic diverges, such as 2/η.
        decay: The weight decay that the optimizer adds to the gradient, and with it to the Hessian's diagonal.
        optimizer: What it belongs to, in words.
    """

    diagonal: Tensor | None
    threshold: float
    decay: float = 0.0
    optimizer: str = ""


def preconditioned_hessian(objective: Objective, given: Preconditioner) -> SymmetricOperator:
    """P⁻½ (∇²L(θ) + λI) P⁻½, by products."""
    operator, root = hessian(objective), None if given.diagonal is None else given.diagonal.rsqrt()

    def product(vectors: Tensor) -> Tensor:
        scale = None if root is None else root if vectors.ndim == 1 else root[:, None]
        inner = vectors if scale is None else scale * vectors
        image = operator @ inner
        if given.decay:
            image = image + given.decay * inner
        return image if scale is None else scale * image

    return replace(operator, product=product)
