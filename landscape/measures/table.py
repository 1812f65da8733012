"""The measures by name."""

from collections.abc import Callable

from landscape.measures.accuracy import accuracy
from landscape.measures.adaptive_sharpness import adaptive_sharpness
from landscape.measures.approximation_ratio import approximation_ratio
from landscape.measures.average_sharpness import average_sharpness
from landscape.measures.basin_width import basin_width
from landscape.measures.block_spectra import block_spectra
from landscape.measures.critical_sharpness import critical_sharpness
from landscape.measures.directional_sharpness import directional_sharpness
from landscape.measures.dominant_eigenvalue import dominant_eigenvalue
from landscape.measures.fisher_rao_norm import fisher_rao_norm
from landscape.measures.geodesic_sharpness import geodesic_sharpness
from landscape.measures.gradient_noise import gradient_noise
from landscape.measures.gradient_norm import gradient_norm
from landscape.measures.hessian_trace import hessian_trace
from landscape.measures.layer_eigenvalues import layer_eigenvalues
from landscape.measures.layer_traces import layer_traces
from landscape.measures.loss import loss
from landscape.measures.noise_scale import noise_scale
from landscape.measures.normalized_trace import normalized_trace
from landscape.measures.pacbayes_sigma import pacbayes_sigma
from landscape.measures.path_norm import path_norm
from landscape.measures.preconditioned_sharpness import preconditioned_sharpness
from landscape.measures.reading import HIDDEN
from landscape.measures.relative_flatness import relative_flatness
from landscape.measures.spectral_density import spectral_density
from landscape.measures.subset_accuracy import subset_accuracy
from landscape.measures.surrogate_gap import surrogate_gap
from landscape.measures.top_eigenvalues import top_eigenvalues
from landscape.records.estimate import Estimate
from landscape.registry.names import NameTable, Row


def _row(build: Callable[..., Estimate], summary: str, reference: str = "") -> Row[Estimate]:
    return Row(build.__name__.replace("_", "-"), build, summary, reference, HIDDEN)


_ROWS = [
    _row(loss, "L, the mean loss over the data"),
    _row(accuracy, "fraction of examples whose largest output is the target"),
    _row(subset_accuracy, "the same among the classes that occur in the data", "Hendrycks et al. 2021"),
    _row(gradient_norm, "‖∇L‖, the norm of the full gradient", "Wu et al. 2024"),
    _row(
        gradient_noise, "E‖∇L_B‖² over the batches, its spread, quantiles and normality", "Jiang et al. 2023"
    ),
    _row(surrogate_gap, "L(θ + ρ∇L/‖∇L‖) − L(θ)", "Zhuang et al. 2022"),
    _row(dominant_eigenvalue, "Hessian eigenvalue of largest magnitude, signed", "Yao et al. 2020"),
    _row(top_eigenvalues, "the k Hessian eigenvalues at one end, with residuals", "Wu and Simon 2000"),
    _row(hessian_trace, "Tr ∇²L", "Hutchinson 1989"),
    _row(layer_traces, "Tr ∇²L by parameter tensor", "Yao et al. 2020"),
    _row(layer_eigenvalues, "dominant eigenvalue of ∇²L by tensor, block or head", "Yao et al. 2020"),
    _row(normalized_trace, "Tr ∇²L / ‖∇L‖", "Wu et al. 2024"),
    _row(approximation_ratio, "one-step rise / best rise of a 20-step ascent", "Wu et al. 2024"),
    _row(adaptive_sharpness, "largest rise over ‖T⁻¹ε‖ ≤ ρ with T = |θ| + η, by ascent", "Kwon et al. 2021"),
    _row(
        geodesic_sharpness, "the same, where the symmetry of attention is divided out", "da Silva et al. 2025"
    ),
    _row(
        average_sharpness, "mean rise under noise in proportion to each weight", "Andriushchenko et al. 2023"
    ),
    _row(spectral_density, "density of the Hessian eigenvalues, with a band", "Ghorbani et al. 2019"),
    _row(critical_sharpness, "2/η_c, with the learning rate that no longer lowers L", "Kalra et al. 2026"),
    _row(directional_sharpness, "ΔᵀHΔ/‖Δ‖² along the next update, by layer", "Pan and Li 2023"),
    _row(
        preconditioned_sharpness, "λ_max(P⁻½HP⁻½) with the optimizer's P, and threshold", "Cohen et al. 2022"
    ),
    _row(noise_scale, "tr Σ/‖G‖² of single examples' gradients, a batch size", "McCandlish et al. 2018"),
    _row(block_spectra, "Jensen–Shannon distance between blocks' densities", "Zhang et al. 2024"),
    _row(relative_flatness, "Σ ⟨w_s, w_t⟩ Tr H_st over the neurons of a linear layer", "Petzka et al. 2021"),
    _row(fisher_rao_norm, "√(θᵀFθ) with the Fisher matrix F", "Liang et al. 2019"),
    _row(pacbayes_sigma, "σ of the noise that costs 10 % of accuracy; magnitude=true", "Jiang et al. 2020"),
    _row(path_norm, "√(Σ over paths of products of squared weights)", "Neyshabur et al. 2015"),
    _row(basin_width, "how far until L rises by 0.1, on most or the worst directions", "Chen et al. 2025"),
]

MEASURES: NameTable[Estimate] = NameTable("measure", _ROWS)

DEFAULT = (
    "loss",
    "accuracy",
    "gradient-norm",
    "gradient-noise",
    "surrogate-gap",
    "dominant-eigenvalue",
    "hessian-trace",
    "normalized-trace",
    "approximation-ratio",
)
"""The standard set, which is measured if no names are given."""
