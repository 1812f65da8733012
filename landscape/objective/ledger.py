"""The work done on one data set, and who is told about it."""

from collections import Counter
from collections.abc import Callable


class Ledger:
    """Work done so far on one data set, counted in examples so that fractions of a pass add up exactly.

    Attributes:
        counts: Example-visits by kind: ``gradients``, ``products``, ``evaluations``.
        total: Examples in one pass over all the data.
        listener: Called with how far a long computation is: a few words, and the fraction done, ``None`` where that
            cannot be told.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.total = 0
        self.listener: Callable[[str, float | None], None] | None = None

    def tell(self, words: str, fraction: float | None) -> None:
        """Tells the listener, if there is one."""
        if self.listener is not None:
            self.listener(words, fraction)

    def passes(self) -> dict[str, float]:
        """The work done, in passes over all the data."""
        return {
            kind: self.counts[kind] / (self.total or 1) for kind in ("gradients", "products", "evaluations")
        }
