"""Every error bar has a witness: over 200 independent draws the 95 % interval holds the truth 91 to 98 times in 100.

The draws are probes of a seed where a measure draws probes, and data sets where it takes batches for a sample. An
error that is divided by n instead of √n, not divided at all, or computed from the wrong quantity, covers nearly
never or nearly always. What coverage cannot see, such as n − 1 in place of n, is compared with numpy.
"""

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import problems
import pytest
import torch
from scipy.special import stdtrit
from torch import Tensor, nn

from landscape.curvature.trace import _PROBES, MIN_PASSES, quadratic_forms
from landscape.draws import Draws
from landscape.linalg import dense, hutchinson, hutchpp, stochastic_lanczos_quadrature
from landscape.linalg.hutchinson import MIN_PROBES
from landscape.measures import MEASURES, ascent
from landscape.measures.average_sharpness import MIN_PAIRS
from landscape.objective import BatchLoss, Objective
from landscape.records.estimate import Estimate

DRAWS = 200
START = torch.tensor([1.0, -2.0, 0.5, 3.0, -1.0, 0.7, 1.5, -0.4], dtype=torch.float64)
Interval = tuple[float, float, float]
"""Low, high, and the truth."""


def student(value: float, error: float, draws: int) -> tuple[float, float]:
    half = float(stdtrit(draws - 1, 0.975)) * error
    return value - half, value + half


def share_covered(intervals: Iterator[Interval]) -> float:
    return float(np.mean([low <= truth <= high for low, high, truth in intervals]))


@dataclass(frozen=True)
class Probes:
    """A measure on one objective, drawn anew with every seed.

    Attributes:
        measure: Its name and options but for the seed; they fix how much is drawn.
        objective: Where, and the dense Hessian there.
        truth: The number, from the objective and the dense Hessian.
    """

    measure: str
    objective: Callable[[], tuple[Objective, Tensor]]
    truth: Callable[[Objective, Tensor], float]

    def intervals(self) -> Iterator[Interval]:
        objective, matrix = self.objective()
        truth = self.truth(objective, matrix)
        for seed in range(DRAWS):
            yield *interval(MEASURES.build(f"{self.measure},seed={seed}", objective)), truth


def interval(estimate: Estimate) -> tuple[float, float]:
    """The interval in the details; Student's t with the number of probes where there is none."""
    if "interval_95" in estimate.details:
        low, high = estimate.details["interval_95"]  # type: ignore[misc]
        return low, high
    assert estimate.standard_error is not None
    return student(estimate.value, estimate.standard_error, int(str(estimate.settings["probes"])))


def bowl() -> tuple[Objective, Tensor]:
    return problems.quadratic([8.0, 5.0, 3.0, 2.0, 1.0, 0.5, -0.5, -1.0], START)


def average_rise(objective: Objective, matrix: Tensor) -> float:
    """E[½εᵀHε] with ε ~ N(0, ρ² diag θ²) and ρ = 0.1."""
    return 0.5 * 0.1**2 * float((objective.point.square() * matrix.diag()).sum())


def trace(_: Objective, matrix: Tensor) -> float:
    return float(matrix.trace())


PROBES = [
    Probes("average-sharpness:tolerance=1e-9,max_pairs=24", bowl, average_rise),
    Probes("hessian-trace:method=hutchinson,tolerance=1e-9,max_probes=16", bowl, trace),
    Probes("hessian-trace:method=hutch++,tolerance=1e-9,max_probes=12", problems.tiny_case, trace),
    Probes(
        "hessian-trace:tolerance=1e-9,max_probes=4", problems.tiny_case, trace
    ),  # probes for every example
    Probes("spectral-density:probes=4,steps=3", bowl, lambda o, matrix: float(matrix.trace()) / o.dimension),
]


@pytest.mark.thorough
@pytest.mark.parametrize("case", PROBES, ids=lambda case: case.measure)
def test_the_interval_covers_over_seeds(case: Probes) -> None:
    assert 0.91 <= share_covered(case.intervals()) <= 0.98


@pytest.mark.thorough
def test_the_intervals_of_trace_normalized_trace_and_layers_cover() -> None:
    """The three share the probes, here fresh ones for every batch as the outputs are hidden."""
    objective, matrix = problems.tiny_case(hidden=True)
    layers = [float(part.sum()) for part in objective.layout.split(matrix.diag())]
    whole, norm, probes = sum(layers), float(objective.gradient.norm()), 16
    covered: dict[str, list[bool]] = {}
    for seed in range(DRAWS):
        options = f":tolerance=1e-9,max_probes={probes},seed={seed}"
        for name, truth in (("hessian-trace", whole), ("normalized-trace", whole / norm)):
            low, high = interval(MEASURES.build(name + options, objective))
            covered.setdefault(name, []).append(low <= truth <= high)
        details = MEASURES.build("layer-traces" + options, objective).details
        for layer, truth in zip(objective.layout.names, layers, strict=True):
            low, high = student(details["layers"][layer], details["standard_errors"][layer], probes)  # type: ignore[index]
            covered.setdefault(layer, []).append(low <= truth <= high)
    shares = {name: float(np.mean(hits)) for name, hits in covered.items()}
    assert all(0.91 <= share <= 0.98 for share in shares.values()), shares


@pytest.mark.thorough
def test_the_band_of_the_spectral_density_covers() -> None:
    _, matrix = bowl()
    grid, width, probes = torch.tensor([-0.8, 0.7, 2.5, 6.0], dtype=torch.float64), 0.8, 8
    spectrum = torch.linalg.eigvalsh(matrix)
    bumps = torch.exp(-0.5 * ((grid[:, None] - spectrum) / width) ** 2) / (width * (2 * torch.pi) ** 0.5)
    truth = bumps.mean(dim=1)

    def intervals() -> Iterator[Interval]:
        for seed in range(DRAWS):
            quadrature = stochastic_lanczos_quadrature(
                dense(matrix), probes=probes, steps=8, generator=torch.Generator().manual_seed(seed)
            )
            density, error = quadrature.density(grid, width)
            for value, half, exact in zip(density.tolist(), error.tolist(), truth.tolist(), strict=True):
                yield *student(value, half, probes), exact

    assert 0.91 <= share_covered(intervals()) <= 0.98


def batches_of_bowls(seed: int, count: int) -> tuple[Objective, np.ndarray]:
    """``L_B(w) = ½ w·diag(s_B)w`` with the slopes of every batch drawn; their squared gradient norms too."""
    spectra = torch.from_numpy(np.random.default_rng(seed).gamma(4.0, size=(count, 3)))
    loss = BatchLoss(lambda model, batch: 0.5 * (batch[0] * model.w.square()).sum(), size=lambda batch: 1)
    w = torch.tensor([1.0, -0.5, 2.0], dtype=torch.float64)
    objective = Objective(problems.Point(w), loss, list(spectra[:, None]))
    return objective, (spectra * w).square().sum(1).numpy()


@pytest.mark.thorough
def test_the_error_of_the_gradient_noise_covers_over_data_sets() -> None:
    # E‖g_B‖² = Σ wⱼ² E[sⱼ²], and E[s²] = 4 + 16 for a gamma distribution of shape 4.
    truth = 20 * (1 + 0.25 + 4)

    def intervals() -> Iterator[Interval]:
        for seed in range(DRAWS):
            objective, _ = batches_of_bowls(seed, 24)
            estimate = MEASURES.build("gradient-noise", objective)
            yield *student(estimate.value, estimate.standard_error, 24), truth  # type: ignore[arg-type]

    assert 0.91 <= share_covered(intervals()) <= 0.98


def test_the_error_of_the_approximation_ratio_covers_with_batches_of_several_sizes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The rises are drawn here: what is tested is the error of their weighted mean."""
    rng, sizes = np.random.default_rng(0), [10] * 8 + [5] * 8
    module = importlib.import_module("landscape.measures.approximation_ratio")
    monkeypatch.setattr(module, "rises", lambda *_, **__: (rng.normal(0.8, 0.1), 1.0))
    loss = BatchLoss(lambda model, batch: 0 * batch.sum() + model.w.sum())
    objective = Objective(problems.Point(START), loss, [torch.zeros(size).double() for size in sizes])
    effective = sum(sizes) ** 2 / sum(size**2 for size in sizes)

    def intervals() -> Iterator[Interval]:
        for _ in range(DRAWS):
            estimate = module.approximation_ratio(objective.at(objective.point))
            yield *student(estimate.value, estimate.standard_error, round(effective)), 0.8  # type: ignore[arg-type]

    assert 0.91 <= share_covered(intervals()) <= 0.98


def test_errors_are_those_of_numpy_with_one_degree_of_freedom_less() -> None:
    matrix = bowl()[1]
    generator = torch.Generator().manual_seed(0)
    for estimate in (
        hutchinson(dense(matrix), tolerance=1e-9, max_probes=16, generator=generator),
        hutchpp(dense(matrix), sketch=2, tolerance=1e-9, max_products=20, generator=generator),
    ):
        samples = estimate.samples.numpy()
        assert estimate.standard_error == pytest.approx(samples.std(ddof=1) / len(samples) ** 0.5, rel=1e-12)

    objective, _ = problems.tiny_case(hidden=True)
    estimate = MEASURES.build("layer-traces:tolerance=1e-9,max_probes=12,seed=3", objective)
    draws = Draws(3).fold(_PROBES)
    forms = quadratic_forms(objective, draws=draws, numbers=range(12), less_gauss_newton=False)
    samples = forms.numpy()
    assert estimate.value == pytest.approx(samples.sum(1).mean(), rel=1e-12)
    assert estimate.standard_error == pytest.approx(samples.sum(1).std(ddof=1) / 12**0.5, rel=1e-12)
    errors = list(estimate.details["standard_errors"].values())  # type: ignore[attr-defined]
    assert errors == pytest.approx(samples.std(0, ddof=1) / 12**0.5, rel=1e-12)

    objective, _ = batches_of_bowls(1, 9)
    ratios = [
        MEASURES.build("approximation-ratio:rho=0.5,steps=3", part).value for part in objective.per_batch()
    ]
    ratio = MEASURES.build("approximation-ratio:rho=0.5,steps=3", objective)
    assert ratio.value == pytest.approx(np.mean(ratios), rel=1e-12)
    assert ratio.standard_error == pytest.approx(np.std(ratios, ddof=1) / 3, rel=1e-9)

    objective, norms = batches_of_bowls(0, 9)
    noise = MEASURES.build("gradient-noise", objective).standard_error
    assert noise == pytest.approx(norms.std(ddof=1) / 3, rel=1e-9)


@pytest.mark.parametrize(
    ("measure", "count", "fewest"),
    [
        ("hessian-trace:tolerance=1e9", "probes", MIN_PASSES),
        ("hessian-trace:method=hutchinson,tolerance=1e9", "probes", 16),
        ("average-sharpness:tolerance=1e9", "pairs", 8),
    ],
)
def test_nothing_stops_before_its_standard_error_is_known(measure: str, count: str, fewest: int) -> None:
    """The fewest draws are what the documentation of each estimator says: 8 passes, 16 probes, 8 pairs."""
    assert (MIN_PASSES, MIN_PROBES, MIN_PAIRS) == (8, 16, 8)
    objective, _ = problems.tiny_case(hidden=True)
    assert MEASURES.build(measure, objective).details[count] == fewest


def test_an_interval_has_the_quantile_of_as_many_draws_as_it_is_made_of() -> None:
    objective, _ = problems.tiny_case(hidden=True)
    for name, count in (
        ("hessian-trace:tolerance=1e-9,max_probes=12", 12),
        ("hessian-trace:method=hutchinson,tolerance=1e-9,max_probes=16", 16),
        ("normalized-trace:tolerance=1e-9,max_probes=12", 12),
        ("layer-traces:tolerance=1e-9,max_probes=12", 12),
        ("average-sharpness:tolerance=1e-9,max_pairs=9", 9),
    ):
        estimate = MEASURES.build(name, objective)
        assert estimate.standard_error is not None
        expected = student(estimate.value, estimate.standard_error, count)
        assert estimate.details["interval_95"] == pytest.approx(expected, rel=1e-9), name


def test_the_best_of_an_ascent_includes_the_one_step_point() -> None:
    """A peak straight ahead that the path, drawn aside by the slope, misses: no point of it is as high."""

    def hill(model: nn.Module, batch: Tensor) -> Tensor:
        x, y = model.w
        return 0.1 * x + 5 * x * y + 3 * torch.exp(-50 * ((x - 1) ** 2 + y**2)) + 0 * batch.sum()

    start = torch.zeros(2, dtype=torch.float64)
    objective = Objective(problems.Point(start), BatchLoss(hill), [torch.zeros(1).double()])
    one, best = ascent.rises(objective, rho=1.0, steps=20)
    assert one == pytest.approx(3.1, rel=1e-9)
    assert best == one
    assert MEASURES.build("approximation-ratio:rho=1.0", objective).value == 1.0
