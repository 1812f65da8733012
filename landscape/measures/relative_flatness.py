"""Relative flatness: the trace of a layer's Hessian, weighted by the inner products of its neurons' weights."""

import math

import torch
from torch import Tensor, nn

from landscape.curvature.parts import Part, block_of_hessian
from landscape.draws import Draws
from landscape.errors import UsageError
from landscape.isolation.precision import full_precision
from landscape.linalg.decay import share_of_draws
from landscape.linalg.hutchinson import BLOCK_BYTES, MIN_PROBES, mean_of_draws
from landscape.measures.expected import Expected
from landscape.measures.reading import Reading, measure_named
from landscape.objective import Objective
from landscape.records.estimate import Cost
from landscape.registry.bounds import Positive, PositiveInt, Seed
from landscape.registry.nearest import did_you_mean

MOST_EXACT = 100
"""Products that are spent instead of an estimate."""


@measure_named(
    "relative-flatness",
    unit="loss",
    cost=lambda _, options: Expected(
        Cost(gradients=1, products=48), budget={"products": options["max_probes"]}
    ),
)
def relative_flatness(
    objective: Objective,
    *,
    layer: str = "",
    tolerance: Positive = 0.05,
    max_probes: PositiveInt = 1000,
    seed: Seed = 0,
) -> Reading:
    """κ = Σ_{s,t} ⟨w_s, w_t⟩ Tr H_{st} of a linear layer, with w_s the weights of neuron s.

    H_{st} is the block of ∇²L(θ) between the weights of neurons s and t. With W the matrix of the layer and RRᵀ = WWᵀ,
    κ is the mean of vᵀHv over v = vec(RZ) with matrices Z of random signs: each probe is one product with the layer's
    block. Where at most 100 products give all entries of Z, κ is exact. It does not change if layers of a ReLU network
    are rescaled against each other.

    Args:
        objective: The point.
        layer: The name of an ``nn.Linear``; by default the last one, the head.
        tolerance: Relative standard error to reach.
        max_probes: The most probes; beyond them the value is not converged.
        seed: Of the signs.

    Raises:
        UsageError: No linear layer of that name has free weights.

    Reference:
        Petzka et al. 2021, arXiv 2001.00939, definition 3. The estimator is ours; the authors' code forms the blocks.
    """
    number = _linear_layer(objective, layer)
    if number is None:
        return Reading(math.nan, details={"undefined": "no linear layer has free weights"})
    shards, held = objective.shards, objective.layout.entries[number]
    entry = shards.whole.entries[number]
    part = objective.point[held.offset : held.offset + held.size]
    weights, here = shards.gathered(number, part).view(entry.shape), shards.held(number)
    block, draws = block_of_hessian(objective, Part(entry.name, ((number, None),))), Draws(seed)
    # WWᵀ = RRᵀ with no more columns than W has rows.
    root = torch.linalg.qr(weights.cpu().double().T, mode="r").R.T.to(weights)
    shape, directions = (root.shape[1], entry.shape[1]), root.shape[1] * entry.shape[1]
    exact = directions <= min(MOST_EXACT, max_probes)

    @full_precision()  # whatever surrounds it, such as autocast
    def forms(numbers: range) -> Tensor:
        if exact:
            probes = torch.eye(directions, dtype=root.dtype, device=root.device)[numbers.start : numbers.stop]
        else:
            probes = draws.signs(numbers, directions, like=root)
        vectors = (root @ probes.view(-1, *shape)).flatten(1)[:, here].T.contiguous()
        return block.dot(vectors, block @ vectors)

    def report(probes: int, mean: float, error: float) -> None:
        goal = tolerance * abs(mean)
        share = share_of_draws(probes, error, goal, most=max_probes) if probes >= MIN_PROBES else None
        objective.ledger.tell(f"flatness {mean:.4g} ± {error:.2g}, goal ± {goal:.2g}", share)

    details = {"layer": entry.name.removesuffix(".weight")}
    if exact:
        return Reading(float(forms(range(directions)).sum()), details={**details, "probes": directions})
    at_once = max(1, min(8, BLOCK_BYTES // (directions * root.element_size())))
    estimate = mean_of_draws(
        forms, block=at_once, limit=max_probes, minimum=MIN_PROBES, tolerance=tolerance, on_step=report
    )
    count = len(estimate.samples)
    return Reading(
        estimate.value, estimate.standard_error, estimate.converged, count, {**details, "probes": count}
    )


def _linear_layer(objective: Objective, layer: str) -> int | None:
    """The number of the weights of a linear layer in the layout; ``None`` if there is none at all."""
    modules = dict(objective.network.named_modules())
    known = {
        name.removesuffix(".weight"): number
        for number, name in enumerate(objective.layout.names)
        if name.endswith("weight") and isinstance(modules.get(name.rpartition(".")[0]), nn.Linear)
    }
    if not layer:
        return next(reversed(known.values()), None)
    if layer not in known:
        raise UsageError(
            f"relative-flatness: layer={layer} is not a linear layer with free weights{did_you_mean(layer, known)}; "
            f"there are {', '.join(list(known)[:8]) or 'none'}{', …' if len(known) > 8 else ''}"
        )
    return known[layer]
