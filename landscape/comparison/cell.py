"""One measure of one row of a table: a number per run."""

import math
import statistics
from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """The values of the runs of a row, one per seed.

    ``spread`` and ``monte_carlo`` are different uncertainties: the first is that of training another seed, the second
    that of estimating each run's number from samples.

    Attributes:
        values: One value per run.
        errors: Standard error of each value, ``None`` if it is exact on its data; empty if all are.
        seeds: Seeds of the runs; empty if unknown.
        converged: Whether all values have converged.
    """

    values: tuple[float, ...]
    errors: tuple[float | None, ...] = ()
    seeds: tuple[object, ...] = ()
    converged: bool = True

    @property
    def mean(self) -> float:
        """Mean over runs; not finite if one of them is not."""
        if not all(map(math.isfinite, self.values)):
            return sum(self.values)
        return statistics.fmean(self.values)

    @property
    def spread(self) -> float | None:
        """Sample standard deviation over runs (n − 1); ``None`` for one run, NaN if a value is not finite."""
        if len(self.values) < 2:
            return None
        return statistics.stdev(self.values) if all(map(math.isfinite, self.values)) else math.nan

    @property
    def monte_carlo(self) -> float | None:
        """Standard error of the mean from sampling within the runs; ``None`` if nothing is sampled."""
        errors = [error for error in self.errors if error is not None]
        return math.hypot(*errors) / len(self.values) if errors else None

    @property
    def not_finite(self) -> tuple[object, ...]:
        """The seeds whose value is not finite."""
        seeds = self.seeds or tuple(range(len(self.values)))
        return tuple(s for s, value in zip(seeds, self.values, strict=True) if not math.isfinite(value))
