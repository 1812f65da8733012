"""The densities of the eigenvalues of the Hessian's diagonal blocks, and how different they are."""

import torch

from landscape.curvature.parts import Partition, block_of_hessian, parts_by
from landscape.linalg import Quadrature, stochastic_lanczos_quadrature
from landscape.linalg.jensen_shannon import distances_over_probes
from landscape.measures.reading import Reading, measure_named
from landscape.measures.spectral_density import grid_over
from landscape.objective import Objective
from landscape.records.estimate import Cost
from landscape.registry.bounds import Positive, PositiveInt, Seed


@measure_named(
    "block-spectra",
    unit="1",
    cost=lambda objective, options: Cost(
        gradients=1, products=len(parts_by(objective, options["by"])) * options["probes"] * options["steps"]
    ),
)
def block_spectra(
    objective: Objective,
    *,
    by: Partition = "block",
    probes: PositiveInt = 8,
    steps: PositiveInt = 20,
    smoothing: Positive = 0.01,
    seed: Seed = 0,
) -> Reading:
    """The mean Jensen–Shannon distance between the spectral densities of the diagonal blocks of ∇²L(θ).

    It is 0 where all blocks have one density, and 1 where no two share an eigenvalue. The details hold the density of
    every block on one grid (each node of the quadrature a Gaussian) with its standard error, the mean eigenvalue, and
    the distances of all pairs. Standard errors are over probes; those of distances are by the jackknife. Noise in
    the densities makes a distance larger, by less the more probes there are.

    Args:
        objective: The point.
        by: What a block is: a ``"block"`` of the network or a layer outside them, a parameter ``"tensor"``, or a
            ``"head"`` of attention.
        probes: Independent random starts for each block.
        steps: Lanczos steps from each.
        smoothing: Standard deviation of the Gaussian, as a fraction of the width of all spectra together.
        seed: Of the probes.

    Reference:
        Zhang et al. 2024, arXiv 2402.16788, who smooth with a fixed standard deviation of 0.003 and average the
        distance over all pairs. The distance here is the root of the divergence in bits.
    """
    blocks = {part.name: block_of_hessian(objective, part) for part in parts_by(objective, by)}
    quadratures = dict[str, Quadrature]()
    for k, (name, block) in enumerate(blocks.items()):
        quadratures[name] = stochastic_lanczos_quadrature(
            block,
            probes=probes,
            steps=steps,
            generator=torch.Generator().manual_seed(seed),
        )
        objective.ledger.tell(f"{k + 1} of {len(blocks)} blocks", (k + 1) / len(blocks))
    grid, width = grid_over([quadrature.nodes for quadrature in quadratures.values()], smoothing)
    curves = torch.stack([quadrature.curves(grid, width) for quadrature in quadratures.values()])
    distances, several = distances_over_probes(curves), probes > 1
    errors = curves.std(dim=1) / probes**0.5 if several else None
    return Reading(
        distances.mean,
        distances.mean_error if several else None,
        details={
            "blocks": list(quadratures),
            "sizes": {name: block.dimension for name, block in blocks.items()},
            "means": {
                name: float((each.nodes * each.weights).sum(dim=1).mean())
                for name, each in quadratures.items()
            },
            "grid": grid.tolist(),
            "width": width,
            "densities": curves.mean(dim=1).tolist(),
            "density_errors": None if errors is None else errors.tolist(),
            "distances": distances.values.tolist(),
            "distance_errors": distances.errors.tolist() if several else None,
            "iterations": sum(each.products for each in quadratures.values()),
        },
    )
