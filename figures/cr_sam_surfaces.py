"""Loss surfaces after SGD, SAM and CR-SAM, along the same two directions: Wu et al. 2024, Fig. 4, on the digits."""

import tempfile
from pathlib import Path

import numpy as np
from gallery import Data, main
from matplotlib.figure import Figure

from landscape.plotting import reliefs
from landscape.records.surface import Surface

NAME = "cr_sam_surfaces"
OPTIMIZERS = {"SGD": "sgd", "SAM": "sam:rho=0.1", "CR-SAM": "cr-sam:rho=0.1"}


def recompute() -> Data:
    """Trains the three networks from the same weights and samples their surfaces."""
    from landscape import load_checkpoint, train
    from landscape.surfaces.sampling import sample_surface
    from landscape.training import Recipe

    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for title, optimizer in OPTIMIZERS.items():
            recipe = Recipe(optimizer=optimizer, epochs=40, device="cpu")
            run = train(recipe, output=Path(folder) / title)
            surface = sample_surface(load_checkpoint(run.checkpoint).objective("train"), points=31)
            found[title] = {
                "x": surface.x.tolist(),
                "y": surface.y.tolist(),
                "loss": surface.loss.tolist(),
                "labels": surface.meta["plane"]["labels"],  # type: ignore[index]
                "test_accuracy": run.metrics["test_accuracy"],
            }
    return found


def draw(data: Data) -> Figure:
    """One relief an optimizer, on one scale."""
    surfaces = [
        Surface(
            x=np.array(one["x"]),
            y=np.array(one["y"]),
            loss=np.array(one["loss"]),
            accuracy=None,
            computed=np.ones_like(one["loss"], dtype=bool),
            meta={"loss": "cross-entropy", "plane": {"labels": one["labels"]}},
        )
        for one in data.values()
    ]
    return reliefs(surfaces, list(data), venue="neurips", width="text")


if __name__ == "__main__":
    main(NAME, draw, recompute)
