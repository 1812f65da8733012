"""The diagonal matrix by which an optimizer divides its step, and the curvature from which on it is unstable."""

from dataclasses import dataclass, replace

from torch import Tensor

from landscape.linalg import SymmetricOperator


@dataclass(frozen=True, eq=False)
class Preconditioner:
    """P of an optimizer whose step is θ ← θ − η P⁻¹ m, with m a mean of gradients.

    Attributes:
        diagonal: P ``(n,)``, positive, and infinite where nothing moves.
        threshold: The eigenvalue of P⁻½HP⁻½ above which the step on a quadratic diverges, such as 2/η.
        decay: The weight decay that the optimizer adds to the gradient, and with it to the Hessian's diagonal.
        optimizer: What it belongs to, in words.
    """

    diagonal: Tensor
    threshold: float
    decay: float = 0.0
    optimizer: str = ""

    def root(self) -> Tensor:
        """P⁻½ ``(n,)``."""
        return self.diagonal.rsqrt()


def preconditioned(matrix: SymmetricOperator, given: Preconditioner) -> SymmetricOperator:
    """P⁻½ (A + λI) P⁻½, by products with A."""
    root = given.root()

    def product(vectors: Tensor) -> Tensor:
        scale = root if vectors.ndim == 1 else root[:, None]
        inner = scale * vectors
        image = matrix @ inner
        if given.decay:
            image = image + given.decay * inner
        return scale * image

    return replace(matrix, product=product)
