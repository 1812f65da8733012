"""What a measure returns: a number with its uncertainty, options, provenance and cost.

The module does not import torch, so that records can be read, compared and drawn without it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from landscape.tables import Grid, rounded


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where a number comes from: enough to say whether two of them may be averaged.

    ``dimension`` counts the parameters that were free, and ``parameters`` says which, if they were selected by name.
    ``frozen`` says which were held fixed because they require no gradient.
    ``num_examples`` counts the data. ``batch_size`` is that of the largest batch: the per-batch measures depend on it.
    ``subset`` hashes the indices of the selected examples, ``examples`` the bytes of their inputs and targets.
    ``checkpoint`` is the SHA-256 of the bytes from which the weights were read, ``checkpoint_file`` the name of that
    file. ``code`` hashes the user's own Python files that were named, with every module of the user's that they import.
    ``loss_value`` is the loss at the point. Records written before these fields existed have ``None`` there.
    """

    landscape: str
    torch: str
    device: str
    dtype: str
    dimension: int
    num_examples: int
    batch_norm: str
    batch_size: int | None = None
    parameters: str | None = None
    frozen: str | None = None
    loss: str | None = None
    model: str | None = None
    data: str | None = None
    split: str | None = None
    subset: str | None = None
    examples: str | None = None
    checkpoint: str | None = None
    checkpoint_file: str | None = None
    recipe: Mapping[str, object] | None = None
    code: str | None = None
    loss_value: float | None = None


def free_parameters(origin: Provenance) -> str | None:
    """One line on which parameters a number is about; ``None`` if it is all of them."""
    parts = [] if origin.parameters is None else [f"free parameters: {origin.parameters}"]
    if origin.frozen is not None:
        parts.append(f"held fixed, as they require no gradient: {origin.frozen}")
    elif parts:
        parts.append("all others are held fixed")
    return "; ".join(parts) or None


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The cost in passes over all the data (fractions where only some batches were visited), and in time.

    A gradient is one forward and one backward pass; building the graph for products counts as one. A product is one
    of the Hessian, or a matrix like it, with one vector; an evaluation is one forward pass. What an earlier measure
    has computed costs nothing here.
    """

    gradients: float = 0.0
    products: float = 0.0
    evaluations: float = 0.0
    seconds: float = 0.0

    @property
    def gradient_equivalents(self) -> float:
        """The total in gradients: a product counts as two once its graph exists, an evaluation as a third."""
        # A backward pass costs about two forward passes, and a product differentiates both of them once more.
        return self.gradients + 2 * self.products + self.evaluations / 3


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """One number and its uncertainty.

    Attributes:
        measure: The name, as in ``landscape list measures``.
        value: The number; NaN where it is not defined, with the reason in ``details["undefined"]``.
        unit: Its unit, such as ``"loss"`` or ``"loss/parameter²"``.
        standard_error: Standard error of the estimate; ``None`` where it is exact on this data.
        converged: Whether an iteration met its tolerance; ``None`` where nothing iterates.
        settings: All options that were used.
        details: By-products: residual, iterations, quantiles, the perturbed loss, …
        provenance: Where it comes from.
        cost: The cost of computing it.
    """

    measure: str
    value: float
    unit: str
    standard_error: float | None
    converged: bool | None
    settings: Mapping[str, object]
    provenance: Provenance
    cost: Cost
    details: Mapping[str, object] = field(default_factory=dict)

    def __repr__(self) -> str:
        error = "" if self.standard_error is None else f" ± {self.standard_error:.2g}"
        notes = {True: ", converged", False: ", not converged", None: ""}[self.converged]
        if "undefined" in self.details:
            notes = f", undefined: {self.details['undefined']}"
        return f"Estimate({self.measure} = {self.value:.6g}{error} {self.unit}{notes})"

    def _repr_html_(self) -> str:
        return html_table([self])


def html_table(estimates: Iterable[Estimate]) -> str:
    """A table of measures, values with their standard errors, and units."""
    rows = []
    for estimate in estimates:
        value = rounded(estimate.value, estimate.standard_error)
        if "undefined" in estimate.details:
            value = f"undefined: {estimate.details['undefined']}"
        elif estimate.converged is False:
            value += " (not converged)"
        rows.append((estimate.measure, value, estimate.unit))
    return Grid(("measure", "value", "unit"), rows).html()
