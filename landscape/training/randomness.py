"""Where every random number of a run comes from: its seed and its epoch, and nothing that happened before."""

import hashlib

import torch
from torch import Tensor

Generators = dict[str, Tensor]


def derived_seed(seed: int, epoch: int, purpose: str) -> int:
    """A seed of 63 bits for one purpose in one epoch: the start of the SHA-256 of the three."""
    digest = hashlib.sha256(f"{seed}/{epoch}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def epoch_order(examples: int, *, seed: int, epoch: int) -> list[int]:
    """The order in which an epoch visits the examples: a permutation of ``range(examples)``."""
    generator = torch.Generator().manual_seed(derived_seed(seed, epoch, "order"))
    order: list[int] = torch.randperm(examples, generator=generator).tolist()
    return order


def seed_generators(seed: int, device: torch.device) -> None:
    """Seed the global generators of the CPU and of ``device``, for dropout and the like."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


def generators_state(device: torch.device) -> Generators:
    """The state of the global generators, by device type."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def restore_generators(state: Generators, device: torch.device) -> None:
    """Put back what :func:`generators_state` returned, as far as it is of this kind of device."""
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
