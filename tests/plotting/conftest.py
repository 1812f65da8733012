"""Surfaces computed from formulas, with the metadata of sampled ones."""

from collections.abc import Callable

import numpy as np
import pytest

from landscape.records.surface import Surface

META = {
    "schema": "landscape.surface/1",
    "plane": {
        "kind": "random",
        "settings": {"normalisation": "filter", "seed": 0},
        "cosine": -0.0123,
        "norms": [12.5, 11.25],
        "ignored": ["conv.bias", "bn.weight", "bn.bias", "fc.bias"],
        "labels": ["filter-normalised direction 1", "filter-normalised direction 2"],
        "sha256": "0" * 64,
    },
    "centre": {"sha256": "1" * 64, "loss": 0.01},
    "provenance": {
        "model": "resnet20",
        "data": "cifar10",
        "split": "train",
        "num_examples": 5000,
        "batch_norm": "stored",
        "checkpoint": "3f2a" * 16,
    },
}


@pytest.fixture(scope="session")
def bowl() -> Callable[..., Surface]:
    """A function that makes ``0.01 + 10 (a² + 2 b²)`` on a grid, with what is asked changed."""

    def make(*, points=21, span=(1.0, 1.0), scale=1.0, shift=0.0, holes=False, **meta: object) -> Surface:
        x, y = np.linspace(-span[0], span[0], points), np.linspace(-span[1], span[1], points)
        loss = (0.01 + 10 * (x[None, :] ** 2 + 2 * y[:, None] ** 2)) * scale + shift
        computed = np.ones_like(loss, bool)
        if holes:
            loss[:4, :5] = np.nan
            loss[10, 18] = np.inf
            loss[-1, -1] = np.nan
            computed[-1, -1] = False
        return Surface(x=x, y=y, loss=loss, accuracy=None, computed=computed, meta={**META, **meta})

    return make
