"""Stochastic gradient norms: their mean, spread and distribution over the batches."""

import numpy as np

from landscape.measures.reading import Reading, measure_named
from landscape.objective import Objective
from landscape.records.estimate import Cost

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
QQ_POINTS = 101  # so that a record stays short, however many batches there are


@measure_named("gradient-noise", unit="loss²/θ²", cost=Cost(gradients=1))
def gradient_noise(objective: Objective) -> Reading:
    """E_B ‖∇L_B(θ)‖² over the batches B, each weighted by what its mean is over.

    With those weights ``Var(∇L_B) = E‖∇L_B‖² − ‖∇L‖²`` holds exactly on the data; it is in the details,
    with the standard deviation and quantiles of ‖∇L_B‖², a test of its normality (D'Agostino and Pearson,
    from 20 batches on) and the points of a Q–Q plot against the normal distribution. The value depends on
    the batch size by its nature. The standard error is that of a mean over the batches, as a sample of all
    batches that could have been drawn; ``None`` if there is only one. Nothing is spent beyond the gradient.

    Reference:
        Jiang, Yang, Zhang and Kwok 2023, arXiv 2304.14647, section 3.
    """
    batches = objective.batch_gradients
    norms, sizes = batches.squared_norms.numpy(), batches.sizes.numpy()
    weights = batches.weights.numpy() / float(batches.weights.sum())
    mean = float(weights @ norms)
    variance = max(0.0, mean - float(objective.shards.norm(objective.gradient)) ** 2)
    spread = float(np.sqrt(weights @ (norms - mean) ** 2))
    details: dict[str, object] = {
        "gradient_variance": variance,
        "standard_deviation": spread,
        "batches": len(norms),
        "batch_size": int(sizes.max()),
        "quantiles": {str(q): float(np.quantile(norms, q)) for q in QUANTILES},
        **_normality(norms),
    }
    effective = 1.0 / float(weights @ weights)
    error = float(spread / np.sqrt(effective - 1)) if len(norms) > 1 else None
    return Reading(mean, error, details=details)


def _normality(norms: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]") -> dict[str, object]:
    """The test's p-value, skewness and excess kurtosis, and the Q–Q points; empty for constant norms."""
    if len(norms) < 2 or np.ptp(norms) <= 1e-12 * abs(norms.mean()):
        return {}
    from scipy import stats  # here, because its import takes a second and only this measure needs it

    (theoretical, ordered), _ = stats.probplot(norms)
    points = np.unique(np.linspace(0, len(norms) - 1, min(QQ_POINTS, len(norms))).round().astype(int))
    details: dict[str, object] = {
        "skewness": float(stats.skew(norms)),
        "excess_kurtosis": float(stats.kurtosis(norms)),
        "qq": {"theoretical": theoretical[points].tolist(), "ordered": ordered[points].tolist()},
    }
    if len(norms) >= 20:  # the test's null distribution is asymptotic; scipy warns below 20
        details["normality_p"] = float(stats.normaltest(norms).pvalue)
    return details
