"""The trace of the Hessian."""

from collections.abc import Mapping
from typing import Any, Literal

import torch

from landscape.curvature import hessian
from landscape.curvature.trace import hessian_trace as best_trace
from landscape.linalg import hutchinson, hutchpp
from landscape.measures.reading import Reading, Spending, measure_named
from landscape.objective import Objective
from landscape.records.estimate import Cost
from landscape.registry.bounds import Positive, PositiveInt, Seed


def trace_spends(objective: Objective, options: Mapping[str, Any]) -> Spending:
    """What a trace is likely to spend; if it turns out to be exact, it is a few gradients only."""
    if options.get("method", "auto") != "auto":
        return Spending(gradients=1, products=64, most=Cost(gradients=1, products=options["max_probes"]))
    most = Cost(gradients=12, products=options["max_probes"])
    return Spending(gradients=12, products=4, most=most)


@measure_named("hessian-trace", unit="loss/θ²", spends=trace_spends)
def hessian_trace(
    objective: Objective,
    *,
    method: Literal["auto", "hutchinson", "hutch++"] = "auto",
    tolerance: Positive = 0.02,
    max_probes: PositiveInt = 1000,
    seed: Seed = 0,
) -> Reading:
    """Tr ∇²L(θ), the sum of all Hessian eigenvalues.

    ``method="auto"`` takes the cheapest way that applies, and the details say which and why:

    - ``exact``: the outputs are proved piecewise affine in each single parameter (linear and convolution layers,
      batch norm with stored statistics, ReLU, pooling, …) and the loss is cross-entropy or squared error.
      Then Tr H = Tr G, the trace of the Gauss–Newton matrix, which is a sum of squared per-example
      gradients. No standard error, unless there are so many classes that they are sampled; in single precision the
      details say about how large the ``rounding`` error is.
    - ``example-probes``: every parameter is used once by an operation that is linear in it (linear and convolution
      layers, norms, embeddings, attention of a sequence with itself, …), so that every example can have probes of its
      own at the price of one Hessian product for all. For H − G, with Tr G added exactly, where that can be had.
    - ``gauss-newton-residual``: Tr G exactly, and Tr (H − G) from Rademacher probes drawn afresh for every batch.
    - ``probes``: Tr H from such probes.

    ``method="hutchinson"`` is the plain estimator of the papers, with the same probes over all the data;
    ``method="hutch++"`` computes the trace on a sketched subspace and estimates the rest. Whatever
    is random stops on its standard error, never on the change of the mean: at ``tolerance`` times the
    estimate, or times max(|Tr H|, Tr G) where Tr G is known.

    Args:
        objective: Where.
        method: See above.
        tolerance: Relative standard error to reach.
        max_probes: Probes (``hutch++``: products) at the most; beyond them the estimate is not converged.
        seed: Of the probes.

    Reference:
        Hutchinson 1989; Meyer et al. 2021, arXiv 2010.09649.
        Wu, Luo and Wunsch 2024, arXiv 2312.13555, eq. 5. That Tr H = Tr G for networks that
        are piecewise affine in each parameter follows from H = G + Σ_c (∂ℓ/∂f_c) ∇²f_c.
    """
    generator = torch.Generator().manual_seed(seed)

    def report(probes: int, value: float, error: float) -> None:
        needed = probes * (error / (tolerance * abs(value))) ** 2 if value else max_probes
        objective.ledger.tell(
            f"trace {value:.4g} ± {error:.2g}", probes / max(probes, min(needed, max_probes))
        )

    if method != "auto":
        a = hessian(objective)
        if method == "hutchinson":
            plain = hutchinson(
                a, tolerance=tolerance, max_probes=max_probes, generator=generator, on_step=report
            )
        else:
            plain = hutchpp(
                a, tolerance=tolerance, max_products=max_probes, generator=generator, on_step=report
            )
        details = {"method": method, "probes": len(plain.samples)}
        return Reading(plain.value, plain.standard_error, plain.converged, len(plain.samples), details)
    found = objective.remembered(
        ("trace by layer", tolerance, max_probes, seed),
        lambda: best_trace(
            objective, tolerance=tolerance, max_passes=max_probes, generator=generator, on_step=report
        ),
    )
    return Reading(
        found.value,
        found.standard_error,
        found.converged,
        found.draws,
        {
            "method": found.way,
            "proof": found.proof,
            "gauss_newton_trace": found.gauss_newton,
            "probes": found.passes,
            **({} if found.rounding is None else {"rounding": found.rounding}),
        },
    )
