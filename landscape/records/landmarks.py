"""Points of parameter space as they appear on a plane: checkpoints, the path of a training run, a curve."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Landmarks:
    """K points in the coordinates of a plane, and their distances from it.

    Attributes:
        coordinates: ``(K, 2)``, of the nearest points of the plane; ``(K, 1)`` on a line.
        distances: ``(K,)``, lengths in parameter space; 0 for a point that the plane goes through.
        labels: K names: ``"sgd"``, ``"epoch 3"``.
    """

    coordinates: NDArray[np.float64]
    distances: NDArray[np.float64]
    labels: tuple[str, ...]

    def __post_init__(self) -> None:
        count = len(self.labels)
        for name, shapes in (("coordinates", [(count, 1), (count, 2)]), ("distances", [(count,)])):
            array = np.array(getattr(self, name), np.float64)
            if array.shape not in shapes:
                raise ValueError(
                    f"{name} of {count} landmarks have shape {array.shape}; expected {shapes[-1]}"
                )
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        object.__setattr__(self, "labels", tuple(str(label) for label in self.labels))

    def __len__(self) -> int:
        return len(self.labels)

    def to_dict(self) -> dict[str, object]:
        """The fields as lists, for JSON; ``Landmarks(**fields)`` reads them back."""
        return {
            "coordinates": self.coordinates.tolist(),
            "distances": self.distances.tolist(),
            "labels": list(self.labels),
        }
