"""Estimates made up for tests of what reads and prints them."""

from landscape.records.estimate import Cost, Estimate, Provenance


def recipe(**fields):
    return {
        "model": "mlp",
        "data": "digits",
        "optimizer": "sgd",
        "lr": 0.1,
        "seed": 0,
        "device": "cpu",
        **fields,
    }


def provenance(**fields):
    known = {
        "landscape": "0.1.0",
        "torch": "2.6.0",
        "device": "cpu",
        "dtype": "float32",
        "dimension": 610,
        "num_examples": 200,
        "batch_norm": "stored",
        "batch_size": 128,
        "loss": "cross-entropy",
        "model": "mlp",
        "data": "digits",
        "split": "train",
        "subset": "0123456789ab",
        "examples": "ba9876543210",
        "checkpoint": "a" * 64,
        "checkpoint_file": "checkpoint.pt",
        "recipe": recipe(),
        "loss_value": 0.5,
    }
    return Provenance(**{**known, **fields})


def estimate(value=1.0, *, measure="hessian-trace", error=None, settings=None, origin=None, **fields):
    known = {
        "unit": "loss/θ²",
        "converged": None,
        "cost": Cost(gradients=1.0, products=2.5, evaluations=0.0, seconds=0.1),
        "details": {"probes": 8},
    }
    return Estimate(
        measure=measure,
        value=value,
        standard_error=error,
        settings=settings or {},
        provenance=origin or provenance(),
        **{**known, **fields},
    )


def run(value, *, seed=0, checkpoint=None, optimizer="sgd", measure="hessian-trace", **fields):
    """The estimate of one trained run: its own checkpoint and recipe."""
    inside = {key: fields.pop(key) for key in ("lr", "batch", "model", "base") if key in fields}
    origin = {key: fields.pop(key) for key in ("data", "split", "dimension", "num_examples") if key in fields}
    known = recipe(seed=seed, optimizer=optimizer, **inside)
    name = checkpoint or f"{optimizer}-{seed}-{sorted(inside.items())}"
    return estimate(
        value, measure=measure, origin=provenance(checkpoint=name, recipe=known, **origin), **fields
    )
