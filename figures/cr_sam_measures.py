"""Curvature while SAM trains, on train and test: Wu et al. 2024, Fig. 1 and 2, on the digits."""

import tempfile
from pathlib import Path

import numpy as np
from gallery import Data, main
from matplotlib.figure import Figure

from landscape.plotting import history_panels
from landscape.plotting.history import Curve

NAME = "cr_sam_measures"
MEASURES = {
    "approximation-ratio:rho=0.1": "approximation ratio",
    "dominant-eigenvalue:method=lanczos": "dominant eigenvalue (loss/θ²)",
    "hessian-trace:tolerance=0.05": "Hessian trace (loss/θ²)",
    "normalized-trace:tolerance=0.05": "normalized trace (1/θ)",
}


def recompute() -> Data:
    """Trains with SAM and measures on the way, on train and on test."""
    from landscape import records, train
    from landscape.training import Measuring, Recipe

    with tempfile.TemporaryDirectory() as folder:
        run = train(
            Recipe(optimizer="sam:rho=0.1", epochs=40, device="cpu"),
            output=Path(folder) / "sam",
            measuring=Measuring(every=4, names=tuple(MEASURES)),
        )
        taken = records.read(run.path / "measures-history.jsonl").estimates
    found: Data = {"epochs": list(range(4, 41, 4))}
    for spec, title in MEASURES.items():
        of_measure = [estimate for estimate in taken if estimate.measure == spec.partition(":")[0]]
        found[title] = {
            split: {
                "value": [e.value for e in of_measure if e.provenance.split == split],
                "error": [e.standard_error for e in of_measure if e.provenance.split == split],
            }
            for split in ("train", "test")
        }
    return found


def draw(data: Data) -> Figure:
    """One panel a measure; bands are two standard errors."""
    epochs = np.array(data["epochs"], dtype=np.float64)
    quantities = {
        title: [
            Curve(
                label="SAM",
                split=split,
                x=epochs,
                y=np.array(found["value"], dtype=np.float64),
                error=np.array(found["error"], dtype=np.float64),
            )
            for split, found in splits.items()
        ]
        for title, splits in data.items()
        if title != "epochs"
    }
    return history_panels(quantities, venue="neurips", width="text")


if __name__ == "__main__":
    main(NAME, draw, recompute)
