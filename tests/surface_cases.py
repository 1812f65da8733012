"""What one of several processes does in the tests of shared surfaces."""

import signal
import threading

import torch
from torch import nn

from landscape.objective import Objective
from landscape.surfaces.directions import Waypoint
from landscape.surfaces.journal import Journal
from landscape.surfaces.sampling_together import sample_together
from landscape.surfaces.shared import Shared

HELD = 1  # points of a hanging process


def network():
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
            nn.Linear(16, 3),
        )  # fmt: skip
    images = torch.randn(30, 1, 6, 6, generator=generator)
    labels = torch.randint(3, (30,), generator=generator)
    return model, [(images[i : i + 8], labels[i : i + 8]) for i in range(0, 30, 8)]


def objectives():
    """The objective of the network, of another checkpoint with other batch-norm statistics, and the test data."""
    model, batches = network()
    objective = Objective(model, nn.CrossEntropyLoss(), batches, processes="alone")
    test = Objective(model, nn.CrossEntropyLoss(), batches[1:3], processes="alone")
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.is_floating_point():
                tensor.mul_(1.1)
    other = Objective(model, nn.CrossEntropyLoss(), batches, processes="alone")
    other_test = Objective(model, nn.CrossEntropyLoss(), batches[1:3], processes="alone")
    return objective, other, test, other_test


def kinds():
    """The arguments of surfaces of all kinds."""
    objective, other, test, other_test = objectives()
    through = [Waypoint.of("a", objective, test=test), Waypoint.of("b", other, test=other_test)]
    return objective, {
        "random": {"plane": "random", "points": (5, 4)},
        "eigenvectors": {"plane": "eigenvectors:max_products=6", "points": 4, "span": 0.1},
        "barrier": {"plane": "interpolation", "points": 9, "through": through, "test": test},
        "gradient": {"plane": "line", "points": 7, "gradient_norm": True},
    }


def computes(folder, rank, world):
    """Computes surfaces of all kinds together with the others; leaves their bytes, and how many points were its own."""
    objective, requests = kinds()
    left = {}
    for name, request in requests.items():
        with Shared(folder / name, workers=world, journal=folder / f"{name}.journal") as shared:
            surface = sample_together(shared, objective, **request)
            content = torch.frombuffer(bytearray(surface.to_bytes()), dtype=torch.uint8)
            left |= {name: content, f"{name} points": torch.tensor(shared.computed)}
    torch.save(left, folder / f"{rank}.pt")


def hangs(folder):
    """Hangs for ever in a point of each of two surfaces, with others of their piece computed."""
    append = Journal.append

    def hanging(self, index, value):
        if len(self.values) == HELD:
            (folder / f"{threading.current_thread().name}.hangs").touch()
            signal.sigwait([signal.SIGUSR1])
        append(self, index, value)

    Journal.append = hanging

    def begins(name, objective, requests):
        with Shared(folder / name, workers=1) as shared:
            sample_together(shared, objective, **requests["random"])

    # Each has an objective of its own, whose private network it alone moves.
    threads = [
        threading.Thread(target=begins, args=(name, *kinds()), name=name) for name in ("alive", "dead")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
