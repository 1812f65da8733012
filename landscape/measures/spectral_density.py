"""The density of the Hessian's eigenvalues."""

from collections.abc import Sequence

import torch
from torch import Tensor

from landscape.curvature import OPERATORS, OperatorName
from landscape.linalg import stochastic_lanczos_quadrature
from landscape.measures.expected import Settings, Short
from landscape.measures.reading import Reading, measure_named
from landscape.objective import Objective
from landscape.records.estimate import Cost
from landscape.registry.bounds import Positive, PositiveInt, Seed

GRID_POINTS = 201  # about two for each standard deviation at the default smoothing


def _short(first: Objective, short: Settings, settings: Settings) -> Short:
    few, many = (min(each["steps"], first.dimension) for each in (short, settings))
    size = (many - few) * first.point.nbytes
    return Short(lambda products: size if products > 1 else 0)


@measure_named(
    "spectral-density",
    unit="loss/θ²",
    cost=lambda objective, options: Cost(
        gradients=1, products=options["probes"] * min(options["steps"], objective.dimension)
    ),
    short=_short,
)
def spectral_density(
    objective: Objective,
    *,
    probes: PositiveInt = 8,
    steps: PositiveInt = 40,
    smoothing: Positive = 0.01,
    operator: OperatorName = "hessian",
    seed: Seed = 0,
) -> Reading:
    """The density of the eigenvalues of ∇²L(θ), by stochastic Lanczos quadrature; the value is their mean, Tr H / n.

    The details hold the nodes and weights of every probe, and the density on a grid, each node a Gaussian, with
    its standard error over probes.

    Args:
        objective: The point.
        probes: Independent random starts.
        steps: Lanczos steps from each.
        smoothing: Standard deviation of the Gaussian, as a fraction of the width of the spectrum.
        operator: The matrix: the Hessian, the generalised Gauss–Newton or the empirical Fisher matrix.
        seed: Of the probes.

    Reference:
        Ghorbani, Krishnan and Xiao 2019, arXiv 1901.10159; Yao et al. 2020, arXiv 1912.07145.
    """
    total = probes * min(steps, objective.dimension)
    quadrature = stochastic_lanczos_quadrature(
        OPERATORS[operator](objective),
        probes=probes,
        steps=steps,
        generator=torch.Generator().manual_seed(seed),
        on_step=lambda products: objective.ledger.tell(f"{products} of {total} products", products / total),
    )
    grid, width = grid_over([quadrature.nodes], smoothing)
    density, error = quadrature.density(grid, width)
    means = (quadrature.nodes * quadrature.weights).sum(dim=1)
    return Reading(
        float(means.mean()),
        float(means.std() / probes**0.5) if probes > 1 else None,
        details={
            "nodes": quadrature.nodes.tolist(),
            "weights": quadrature.weights.tolist(),
            "grid": grid.tolist(),
            "density": density.tolist(),
            "density_error": error.tolist() if probes > 1 else None,
            "width": width,
        },
    )


def grid_over(nodes: Sequence[Tensor], smoothing: float) -> tuple[Tensor, float]:
    """Eigenvalues ``(points,)`` that reach over all nodes, and the standard deviation of the Gaussians."""
    low, high = min(float(each.min()) for each in nodes), max(float(each.max()) for each in nodes)
    width = smoothing * max(high - low, 1e-30)  # above 0 for a multiple of the identity, too
    points = torch.linspace(low - 5 * width, high + 5 * width, GRID_POINTS, dtype=torch.float64, device="cpu")
    return points, width
