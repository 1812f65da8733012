"""The plane of the first two principal components of a training run."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from landscape.errors import InputError
from landscape.objective import Objective
from landscape.objective.shards import Shards
from landscape.reductions import exact
from landscape.surfaces.directions import Directions, Waypoint, around, checked, located

_CHUNK = 1 << 20  # coordinates at a time: float64 copies of all checkpoints together need not fit in memory


def trajectory(objective: Objective, *, through: Sequence[Waypoint], margin: float = 0.2) -> Directions:
    """The first two principal components of a run's checkpoints, as a plane through the last one, the objective's.

    The file records the share of the variance that each of the two explains, the share that they would explain of a
    random walk of as many steps, and the distance of each checkpoint from the plane. A plane that explains no more
    than that of a random walk shows nothing of the run but its length.

    Reference:
        Li et al., "Visualizing the loss landscape of neural nets", 2018, arXiv:1712.09913, section 7; Antognini and
        Sohl-Dickstein, "PCA of high dimensional random walks with comparison to neural network training", 2018,
        arXiv:1806.08805.
    """
    origin = objective.point
    checked("trajectory", through, objective, least=3)
    points = [waypoint.point.to(origin.device) for waypoint in through]
    variances, shares = np.linalg.eigh(objective.shards.total(_gram(points)).numpy())
    variances = np.maximum(variances[::-1], 0.0)  # rounding can make the smallest negative
    if variances[1] <= 1e-12 * variances[0]:
        raise InputError(
            f"the {len(points)} checkpoints lie on one line, so that there is no second principal component; use "
            "--plane interpolation between the first and the last"
        )
    x, y = (_combined(points, shares[:, -1 - k], objective.shards) for k in range(2))
    marks = located(objective, x, y, through)
    explained = variances[:2] / variances.sum()
    return Directions(
        x=x.to(origin),
        y=y.to(origin),
        labels=tuple(f"principal component {k + 1}, {share:.1%}" for k, share in enumerate(explained)),
        extent=around(marks, margin),
        trajectory=marks,
        details={
            "explained_variance": explained.tolist(),
            "explained_variance_of_a_random_walk": random_walk_shares(len(points))[:2].tolist(),
        },
    )


def random_walk_shares(count: int) -> NDArray[np.float64]:
    """The shares of variance, ``(count − 1,)``, that the principal components of a random walk explain.

    Share k is proportional to ``1/sin²(πk/2n)`` for n points in many more dimensions: their centred Gram matrix is the
    pseudo-inverse of the Laplacian of a path of n nodes. For long walks the first is 6/π² ≈ 61 %, the second 15 %
    (Antognini and Sohl-Dickstein, section 2).
    """
    shares = 1 / np.sin(np.pi * np.arange(1, count) / (2 * count)) ** 2
    return np.asarray(shares / shares.sum())


def _gram(points: Sequence[Tensor]) -> Tensor:
    """Scalar products of the points about their mean, in float64, as far as coordinates are held here."""
    total = torch.zeros(len(points), len(points), dtype=torch.float64, device="cpu")
    for block in _blocks(points):
        total += (block @ block.T).cpu()
    return total


def _combined(points: Sequence[Tensor], weights: NDArray[np.float64], shards: Shards) -> Tensor:
    """The unit vector along ``Σᵢ wᵢ (pᵢ − mean)``, in float64."""
    # An eigenvector has no sign of its own: the largest weight is made positive, so that runs can be compared.
    signed = torch.from_numpy(weights * np.sign(weights[np.argmax(np.abs(weights))]))
    vector = torch.cat([signed.to(block) @ block for block in _blocks(points)])
    return vector.div_(shards.norm(vector))


def _blocks(points: Sequence[Tensor]) -> Iterator[Tensor]:
    for start in range(0, points[0].numel(), _CHUNK):
        block = torch.stack([exact(point[start : start + _CHUNK]) for point in points])
        yield block - block.mean(0)
