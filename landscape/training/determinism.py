"""What the bits of a run depend on: the random numbers of its seed and epoch, and the machine it is computed on."""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor

from landscape.isolation.randomness import RANDOMNESS, DeviceGenerator
from landscape.version import __version__, version_of

Generators = dict[str, Tensor]
Environment = Mapping[str, str | int]

_ABSENT: Environment = {"compiled": "no", "processes": 1}  # what it means that a name is not there
# They compute the steps, the images and the bundled data.
_PACKAGES = ("torch", "torchvision", "numpy", "scikit-learn")


def derived_seed(seed: int, epoch: int, purpose: str) -> int:
    """A seed for one purpose in one epoch: the first 63 bits of the SHA-256 of the three."""
    digest = hashlib.sha256(f"{seed}/{epoch}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1  # torch's generators take signed 64-bit seeds


def epoch_order(examples: int, *, seed: int, epoch: int) -> list[int]:
    """The order in which an epoch visits the examples: a permutation of ``range(examples)``."""
    generator = torch.Generator().manual_seed(derived_seed(seed, epoch, "order"))
    order: list[int] = torch.randperm(examples, generator=generator, device="cpu").tolist()
    return order


def seed_generators(seed: int, device: torch.device) -> None:
    """Seeds the global generators of the CPU and of ``device``, which dropout draws from."""
    with RANDOMNESS:  # another thread may be drawing the initial weights of a network
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would touch every device
        DeviceGenerator(device).seed(seed)


def generators_state(device: torch.device) -> Generators:
    """The state of the global generators, by device type."""
    with RANDOMNESS:
        states = {device.type: DeviceGenerator(device).state(), "cpu": torch.get_rng_state()}
    return {kind: state for kind, state in states.items() if state is not None}


def restore_generators(state: Generators, device: torch.device) -> None:
    """Restores what :func:`generators_state` returned; a state of another device type is ignored."""
    with RANDOMNESS:
        torch.set_rng_state(state["cpu"])
        DeviceGenerator(device).restore(state.get(device.type))


def environment(device: torch.device, *, compiled: bool = False, processes: int = 1) -> dict[str, str | int]:
    """The threads, versions and processor of this process, one of several or alone, for a run on ``device``."""
    if device.type == "cuda":
        processor = torch.cuda.get_device_name(device)
    else:
        processor = f"{device.type} with {torch.backends.cpu.get_cpu_capability()}"
    return {
        "threads": torch.get_num_threads(),
        "processor": processor,
        "landscape": __version__,
        **{name: version_of(name) for name in _PACKAGES},
        **({"compiled": "yes"} if compiled else {}),
        **({"processes": processes} if processes > 1 else {}),
    }


def difference(old: Environment, new: Environment) -> str | None:
    """A text that says in what two environments differ; ``None`` if they agree."""
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    if not names:
        return None
    before, after = (
        ", ".join(f"{name}={each.get(name, _ABSENT.get(name, 'unknown'))}" for name in names)
        for each in (old, new)
    )
    return f"{before}, and continues with {after}"
