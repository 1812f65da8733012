"""One measure of one row of a table: a number a run."""

import math
import statistics
from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """The values of the runs of a row, one a seed.

    ``spread`` is the standard deviation over runs (n − 1), ``monte_carlo`` the standard error that the runs' own
    estimates contribute to the mean; they are different doubts and are shown apart.

    Attributes:
        values: One a run.
        errors: The standard error of each, ``None`` where it is exact on its data; empty for none at all.
        seeds: Of the runs; empty where they have none.
        converged: Whether all of them did.
    """

    values: tuple[float, ...]
    errors: tuple[float | None, ...] = ()
    seeds: tuple[object, ...] = ()
    converged: bool = True

    @property
    def mean(self) -> float:
        """The mean over runs; NaN or infinite if one of them is."""
        if not all(map(math.isfinite, self.values)):
            return sum(self.values)
        return statistics.fmean(self.values)

    @property
    def spread(self) -> float | None:
        """Sample standard deviation over runs; ``None`` for a single one, NaN if one is not finite."""
        if len(self.values) < 2:
            return None
        return statistics.stdev(self.values) if all(map(math.isfinite, self.values)) else math.nan

    @property
    def monte_carlo(self) -> float | None:
        """Standard error of the mean from sampling within the runs alone; ``None`` where nothing is sampled."""
        errors = [error for error in self.errors if error is not None]
        return math.hypot(*errors) / len(self.values) if errors else None

    @property
    def not_finite(self) -> tuple[object, ...]:
        """The seeds whose value is not a finite number."""
        named = self.seeds or tuple(range(len(self.values)))
        return tuple(s for s, value in zip(named, self.values, strict=True) if not math.isfinite(value))
