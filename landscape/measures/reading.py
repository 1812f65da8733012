"""What surrounds the formula of every measure: settings, bounds, cache, cost and provenance.

A measure is a function of an objective and options that returns a :class:`Reading`; :func:`measure_named` makes an
:class:`~landscape.records.estimate.Estimate` of that. Measuring the same twice at a point costs once.
"""

import dataclasses
import functools
import inspect
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Concatenate, ParamSpec, cast

from scipy.special import stdtrit

from landscape.errors import UsageError
from landscape.measures.expected import COSTS, SHORT, CostOf, ShortOf
from landscape.objective import Objective
from landscape.records.estimate import Cost, Estimate
from landscape.registry.bounds import bounds

Options = ParamSpec("Options")
Formula = Callable[Concatenate[Objective, Options], "Reading"]
Measure = Callable[Concatenate[Objective, Options], Estimate]

HIDDEN = frozenset({"start", "update", "preconditioner"})
"""Arguments that change how a value is computed and not what it is: no settings, and not typed by a user."""


@dataclass(frozen=True)
class Reading:
    """What the formula of a measure returns: see :class:`~landscape.records.estimate.Estimate`.

    ``draws`` is the number of independent draws behind the standard error.
    """

    value: float
    standard_error: float | None = None
    converged: bool | None = None
    draws: int | None = None
    details: Mapping[str, object] = field(default_factory=dict)


FORWARD_PASS = Cost(evaluations=1)


def measure_named(
    name: str, *, unit: str, cost: Cost | CostOf = FORWARD_PASS, short: ShortOf | None = None
) -> Callable[[Formula[Options]], Measure[Options]]:
    """Makes a measure of a formula.

    Args:
        name: As a user types it.
        unit: The unit of its value; θ stands for the unit of a parameter.
        cost: What it is expected to cost by itself; a function of the objective and the settings if they matter.
        short: What of its memory a run with a small budget does not show, or how else to see it; by default nothing.
    """
    COSTS[name] = cost
    if short is not None:
        SHORT[name] = short

    def wrap(formula: Formula[Options]) -> Measure[Options]:
        signature, limits = inspect.signature(formula), bounds(formula)
        evaluate = cast(Callable[Concatenate[Objective, ...], Reading], formula)

        @functools.wraps(formula)
        def measure(objective: Objective, *args: Options.args, **options: Options.kwargs) -> Estimate:
            require_objective(objective)
            arguments = signature.bind(objective, *args, **options)
            arguments.apply_defaults()  # so that a default and the same value written out are cached as one
            settings = {key: value for key, value in arguments.kwargs.items() if key not in HIDDEN}
            for option, limit in limits.items():
                limit.check(option, arguments.kwargs[option])
            before, start = objective.ledger.passes(), time.perf_counter()
            reading = objective.cached(evaluate, **arguments.kwargs)
            seconds = time.perf_counter() - start
            spent = {kind: passes - before[kind] for kind, passes in objective.ledger.passes().items()}
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

        return cast(Measure[Options], measure)

    return wrap


def require_objective(objective: object) -> None:
    """Raises a :class:`UsageError` for anything but an objective, such as the network itself."""
    if not isinstance(objective, Objective):
        raise UsageError(
            f"a measure is of an objective, not of a {type(objective).__name__}: pass "
            "landscape.Objective(model, loss, batches), or load_checkpoint(…).objective()"
        )


def _overflow(reading: Reading, objective: Objective) -> dict[str, object]:
    """The reason why a value is not finite if its formula does not give one."""
    if math.isfinite(reading.value) or "undefined" in reading.details:
        return {}
    dtype = objective.provenance.dtype
    hint = "" if dtype == "float64" else "; dtype=float64 reaches further"
    return {"undefined": f"the loss or a derivative is not finite in {dtype}{hint}"}


def _interval(reading: Reading) -> dict[str, object]:
    """The 95 % interval by Student's t: ± 1.96 standard errors of 8 draws would cover only 91 %."""
    error, draws = reading.standard_error, reading.draws
    if error is None or draws is None or draws < 2 or not math.isfinite(reading.value + error):
        return {}
    half = float(stdtrit(draws - 1, 0.975)) * error
    return {"interval_95": [reading.value - half, reading.value + half]}
