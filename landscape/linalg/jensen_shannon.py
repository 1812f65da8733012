"""The Jensen–Shannon distance of densities, and its standard error where they are means over probes."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Distances:
    """Distances of all pairs of densities.

    Attributes:
        values: ``(B, B)``, symmetric with zeros on the diagonal.
        errors: Their standard errors, ``(B, B)``; infinite for a single probe.
        mean: The mean over the pairs, 0 for one density.
        mean_error: Its standard error.
    """

    values: Tensor
    errors: Tensor
    mean: float
    mean_error: float


def jensen_shannon(densities: Tensor) -> Tensor:
    """√JS of all pairs of densities on one grid ``(B, points)``, as ``(B, B)``: 0 for equal ones, 1 for disjoint ones.

    JS(p, q) = ½ KL(p ‖ m) + ½ KL(q ‖ m) with m = ½ (p + q), in bits; each density is divided by its sum.

    Reference:
        Endres and Schindelin, "A new metric for probability distributions", IEEE Trans. Inf. Theory 49(7), 2003.
    """
    shares = densities / densities.sum(dim=1, keepdim=True)
    entropies = torch.special.entr(shares).sum(dim=1)
    rows = []
    for share, entropy in zip(
        shares, entropies, strict=True
    ):  # row by row: all pairs at once take too much memory
        between = torch.special.entr((shares + share) / 2).sum(dim=1)
        rows.append(between - (entropies + entropy) / 2)
    divergences = torch.stack(rows) / torch.log(
        torch.tensor(2.0, dtype=densities.dtype, device=densities.device)
    )
    distances = divergences.clamp(0, 1).sqrt()
    return distances.fill_diagonal_(0)


def distances_over_probes(curves: Tensor) -> Distances:
    """The distances of densities that are means over probes, with standard errors by the jackknife.

    Args:
        curves: The density of every probe on one grid, ``(B, probes, points)``. Probes of one number may depend on each
            other between densities, those of different numbers may not.

    Reference:
        Efron and Stein, "The jackknife estimate of variance", Ann. Statist. 9(3), 1981.
    """
    probes, total = curves.shape[1], curves.sum(dim=1)
    values = jensen_shannon(total)
    without = (
        torch.stack([jensen_shannon(total - curves[:, j]) for j in range(probes)]) if probes > 1 else None
    )
    return Distances(
        values,
        torch.full_like(values, torch.inf) if without is None else _spread(without),
        float(_over_pairs(values)),
        float("inf") if without is None else float(_spread(_over_pairs(without))),
    )


def _over_pairs(distances: Tensor) -> Tensor:
    """The mean of the last two dimensions over the pairs."""
    count = distances.shape[-1]
    return distances.sum(dim=(-2, -1)) / max(1, count * (count - 1))


def _spread(without: Tensor) -> Tensor:
    """The jackknife standard error from the values that are left without each of the probes, ``(probes, …)``."""
    probes = len(without)
    return ((probes - 1) / probes * (without - without.mean(dim=0)).square().sum(dim=0)).sqrt()
