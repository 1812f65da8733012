"""A sweep that a process of its own makes: run by test_sweeps.py."""

import time
from pathlib import Path

import torch
from torch import nn

from landscape.objective import Objective
from landscape.surfaces.sampling import sample_surface


def swept(journal: Path, output: Path, *, slow: bool) -> None:
    """A surface of 36 points; slow enough to be killed on the way."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    objective = Objective(model, nn.CrossEntropyLoss(), [(torch.randn(20, 4), torch.arange(20) % 3)])

    def progress(done: int, total: int) -> None:
        time.sleep(0.05 if slow else 0)

    sample_surface(objective, points=6, journal=journal, progress=progress).save(output)
