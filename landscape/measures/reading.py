"""From a formula to an :class:`~landscape.records.estimate.Estimate`: what every measure has around it.

A measure is a function of an objective and options that returns a :class:`Reading`. :func:`measure_named`
gives it the rest: the settings (all options with their values), the cost, the provenance, and a memory, so
that asking twice costs once.
"""

import dataclasses
import functools
import inspect
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Concatenate, ParamSpec, cast

from scipy.special import stdtrit

from landscape.objective import Objective
from landscape.records.estimate import Cost, Estimate
from landscape.registry.bounds import bounds

Options = ParamSpec("Options")


@dataclass(frozen=True)
class Reading:
    """What a measure's formula yields: the number, its doubt, and what else was learned.

    ``draws`` is the number of independent draws behind the standard error.
    """

    value: float
    standard_error: float | None = None
    converged: bool | None = None
    draws: int | None = None
    details: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Spending:
    """What a measure is likely to spend by itself, in passes over the data, and how many products at the most.

    What it shares with other measures is counted in full. ``most`` is ``None`` where the number is known beforehand.
    """

    gradients: float = 0.0
    products: float = 0.0
    evaluations: float = 0.0
    most: Cost | None = None

    @property
    def typical(self) -> Cost:
        """The likely cost; its seconds are not known."""
        return Cost(gradients=self.gradients, products=self.products, evaluations=self.evaluations)


Spends = Callable[[Objective, Mapping[str, Any]], Spending]
SPENDS: dict[str, Spends] = {}
"""How each measure's cost follows from its options, by name."""


def measure_named(
    name: str, *, unit: str, spends: Spends
) -> Callable[
    [Callable[Concatenate[Objective, Options], Reading]], Callable[Concatenate[Objective, Options], Estimate]
]:
    """Makes a measure of a formula.

    Args:
        name: As the user types it.
        unit: Of the value; θ stands for the unit of a parameter.
        spends: What it is likely to spend, from the objective and all options; computes nothing.
    """
    SPENDS[name] = spends

    def wrap(
        formula: Callable[Concatenate[Objective, Options], Reading],
    ) -> Callable[Concatenate[Objective, Options], Estimate]:
        signature, limits = inspect.signature(formula), bounds(formula)

        @functools.wraps(formula)
        def taken(objective: Objective, *args: Options.args, **options: Options.kwargs) -> Estimate:
            bound = signature.bind(objective, *args, **options)
            bound.apply_defaults()
            settings = dict(list(bound.arguments.items())[1:])
            for option, limit in limits.items():
                limit.check(option, settings[option])
            ledger = objective.ledger
            before = ledger.passes()
            start = time.perf_counter()
            key = (name, *settings.items())
            reading = objective.remembered(key, lambda: formula(objective, *args, **options))
            seconds = time.perf_counter() - start
            spent = {kind: passes - before[kind] for kind, passes in ledger.passes().items()}
            return Estimate(
                measure=name,
                value=reading.value,
                unit=unit,
                standard_error=reading.standard_error,
                converged=reading.converged,
                settings=settings,
                details={**reading.details, **_interval(reading), **_overflow(reading, objective)},
                provenance=dataclasses.replace(objective.provenance, loss_value=objective.known_loss),
                cost=Cost(**spent, seconds=seconds),
            )

        taken.__annotations__ = {**formula.__annotations__, "return": Estimate}
        return cast(Callable[Concatenate[Objective, Options], Estimate], taken)

    return wrap


def _overflow(reading: Reading, objective: Objective) -> dict[str, object]:
    """Why a value is not finite, where its formula does not say so."""
    if math.isfinite(reading.value) or "undefined" in reading.details:
        return {}
    dtype = objective.provenance.dtype
    hint = "" if dtype == "float64" else "; dtype=float64 reaches further"
    return {"undefined": f"the loss or a derivative is not finite in {dtype}{hint}"}


def _interval(reading: Reading) -> dict[str, object]:
    """The 95 % interval by Student's t: ± 1.96 standard errors of 8 draws cover only 91 %."""
    error, draws = reading.standard_error, reading.draws
    if error is None or draws is None or draws < 2 or not math.isfinite(reading.value + error):
        return {}
    half = float(stdtrit(draws - 1, 0.975)) * error
    return {"interval_95": [reading.value - half, reading.value + half]}
