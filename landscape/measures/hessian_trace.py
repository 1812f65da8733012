"""The trace of the Hessian."""

from collections.abc import Callable
from typing import Literal

import torch

from landscape.curvature import hessian
from landscape.curvature.trace import HessianTrace
from landscape.curvature.trace import hessian_trace as best_trace
from landscape.draws import Draws
from landscape.linalg import hutchinson, hutchpp
from landscape.linalg.decay import share_of_draws
from landscape.measures.expected import Expected, Settings
from landscape.measures.reading import Reading, measure_named
from landscape.objective import Objective
from landscape.records.estimate import Cost
from landscape.registry.bounds import Positive, PositiveInt, Seed


def trace_cost(objective: Objective, options: Settings) -> Expected:
    """The passes that all three trace measures take."""
    # An exact trace costs a gradient a class, of which 10 are usual; two pairs of probes cost 4 products.
    is_auto = options.get("method", "auto") == "auto"
    typical = Cost(gradients=12, products=4) if is_auto else Cost(gradients=1, products=64)
    return Expected(typical, budget={"products": options["max_probes"]})


@measure_named("hessian-trace", unit="loss/θ²", cost=trace_cost)
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
      gradients. No standard error; in single precision the details estimate the ``rounding`` error.
    - ``sampled-classes``: the same for more than 64 classes, of which one is sampled for every example and pass.
    - ``example-probes``: every parameter is used once by an operation that is linear in it (linear and convolution
      layers, norms, embeddings, attention of a sequence with itself, …), so that every example can have probes of its
      own at the price of one Hessian product for all. They estimate Tr (H − G) if Tr G is exact.
    - ``gauss-newton-residual``: Tr G, and Tr (H − G) from Rademacher probes drawn afresh for every batch.
    - ``probes``: Tr H from such probes.
    - ``deflated-probes``: where the first draws show that the last three would take long: Tr H exactly on a Krylov
      space that grows as long as that spares more probes than it costs, and from probes on the rest.

    ``method="hutchinson"`` is the plain estimator of the papers, with the same probes over all the data;
    ``method="hutch++"`` computes the trace on a sketched subspace and estimates the rest. Whatever
    is random stops on its standard error, never on the change of the mean: at ``tolerance`` times the
    estimate, or times max(|Tr H|, Tr G) where Tr G is known.

    Args:
        objective: The point.
        method: See above.
        tolerance: Relative standard error to reach.
        max_probes: The most probes (``hutch++``: products); beyond them the estimate is not converged.
        seed: Of the probes.

    Reference:
        Hutchinson 1989; Meyer et al. 2021, arXiv 2010.09649.
        Wu, Luo and Wunsch 2024, arXiv 2312.13555, eq. 5. That Tr H = Tr G for networks that
        are piecewise affine in each parameter follows from H = G + Σ_c (∂ℓ/∂f_c) ∇²f_c.
    """
    if method == "auto":
        trace = objective.cached(trace_by_layer, tolerance=tolerance, max_probes=max_probes, seed=seed)
        return Reading(
            trace.value, trace.standard_error, trace.converged, trace.draws, details=described(trace)
        )
    generator = torch.Generator().manual_seed(seed)
    report = _progress(objective, tolerance, max_probes)
    a = hessian(objective)
    if method == "hutchinson":
        estimate = hutchinson(
            a, tolerance=tolerance, max_probes=max_probes, generator=generator, on_step=report
        )
    else:
        estimate = hutchpp(
            a, tolerance=tolerance, max_products=max_probes, generator=generator, on_step=report
        )
    draws = len(estimate.samples)
    details = {"method": method, "probes": draws}
    return Reading(estimate.value, estimate.standard_error, estimate.converged, draws, details)


def trace_by_layer(objective: Objective, *, tolerance: float, max_probes: int, seed: int) -> HessianTrace:
    """The trace that all three trace measures share, through the objective's cache."""
    return best_trace(
        objective,
        tolerance=tolerance,
        max_passes=max_probes,
        draws=Draws(seed),
        on_step=_progress(objective, tolerance, max_probes),
    )


def described(trace: HessianTrace) -> dict[str, object]:
    """How a trace was computed, for the details of an estimate."""
    details: dict[str, object] = {
        "method": trace.way,
        "proof": trace.proof,
        "gauss_newton_trace": trace.gauss_newton,
        "probes": trace.passes,
    }
    return details if trace.rounding is None else {**details, "rounding": trace.rounding}


def _progress(objective: Objective, tolerance: float, max_probes: int) -> Callable[..., None]:
    def report(probes: int, value: float, error: float, goal: float | None = None) -> None:
        goal = tolerance * abs(value) if goal is None else goal
        words = f"trace {value:.4g} ± {error:.2g}, goal ± {goal:.2g}"
        objective.ledger.tell(words, share_of_draws(probes, error, goal, most=max_probes))

    return report
