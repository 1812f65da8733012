"""Progressive sharpening and the edge of stability, of gradient descent and of three SAMs: Cohen et al. 2021.

Full-batch gradient descent on the bundled digits, with λ₁ measured by :class:`landscape.Tracker` on the way. Gradient
descent is unstable above λ₁ = 2/η. SAM of radius ρ is unstable above λ = ‖∇L‖/(2ρ) · (√(1 + 8ρ/(η‖∇L‖)) − 1), its own
edge, which is below 2/η and falls with the gradient (Long and Bartlett 2024, arXiv 2309.12488, eq. 3).
"""

import math
from collections.abc import Sequence
from typing import Any

from claims import Claim, Record, close_to, ordered
from setups import Setup
from study import Results, Study, Work, main

EXAMPLES, WIDTH, STEPS, LATE = 500, 48, 6000, 0.5
MEASURED = 120  # times in a run
RATES = (1.0, 2.0, 4.0)
RHO = 0.05
DESCENT = {f"GD, η = {rate:g}": ("sgd", rate) for rate in RATES}
SAMS = {"SAM": ("sam", 2.0), "GSAM": ("gsam", 2.0), "CR-SAM": ("cr-sam", 2.0)}
ARMS = {**DESCENT, **SAMS}
SETUP = Setup(
    "digits",
    f"{EXAMPLES} of scikit-learn's digits, mlp 64-{WIDTH}-{WIDTH}-10 with tanh, squared error, {STEPS} steps with all "
    f"of them, λ₁ every {STEPS // MEASURED}",
    "digits",
    {"epochs": STEPS},  # of full batches
)
MEASURES = ("loss", "gradient-norm", "dominant-eigenvalue:tolerance=0.01")


def compute(work: Work) -> Results:
    """Where λ₁ starts and where it stays, in units of 2/η, and of SAM's own edge; the curves of the first seed."""
    found: Results = {}
    steps = int(work.setup.fields["epochs"])
    for label, (optimizer, rate) in ARMS.items():
        for seed in work.seeds:
            curves = work.remember(
                f"{label}-{seed}".replace("=", ""),
                lambda o=optimizer, r=rate, s=seed: trained(o, r, s, steps),
            )
            for name, value in _summary(curves, rate).items():
                found.setdefault(label, {}).setdefault(name, []).append(value)
    return found


def trained(optimizer: str, rate: float, seed: int, steps: int) -> dict[str, Any]:
    """The steps at which it was measured, with loss, gradient norm and λ₁, and what that took."""
    import torch
    from sklearn.datasets import load_digits
    from torch import nn

    from landscape import Tracker
    from landscape.optim import OPTIMIZERS

    digits = load_digits()
    x = torch.tensor(digits.data[:EXAMPLES] / 16.0, dtype=torch.float32)
    x = x - x.mean(0)
    target = nn.functional.one_hot(torch.tensor(digits.target[:EXAMPLES]), 10).float()
    torch.manual_seed(seed)
    layers = nn.Linear(64, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, 10)
    model, loss = nn.Sequential(*layers), nn.MSELoss()
    base = torch.optim.SGD(model.parameters(), lr=rate)
    moving = base if optimizer == "sgd" else OPTIMIZERS.build(f"{optimizer}:rho={RHO}", base, model=model)
    tracker = Tracker(model, "mse", [(x, target)], measures=MEASURES, every=max(1, steps // MEASURED))

    def closure() -> torch.Tensor:
        moving.zero_grad()
        value: torch.Tensor = loss(model(x), target)
        value.backward()
        return value

    for _ in range(steps):
        moving.step(closure)
        tracker.step(moving)
    curves: dict[str, Any] = {"step": [step for step, _ in tracker.history]}
    for name in MEASURES:
        curves[name.partition(":")[0]] = [found[name].value for _, found in tracker.history]
    return curves


def edge(rate: float, gradient: float, rho: float = RHO) -> float:
    """SAM's edge of stability, of a quadratic whose gradient lies along the eigenvector."""
    return gradient / (2 * rho) * (math.sqrt(1 + 8 * rho / (rate * gradient)) - 1)


def _summary(curves: dict[str, Any], rate: float) -> dict[str, float]:
    values, norms = curves["dominant-eigenvalue"], curves["gradient-norm"]
    late = range(int(LATE * len(values)), len(values))
    return {
        "first": values[0] * rate / 2,
        "late": sum(values[k] for k in late) / len(late) * rate / 2,
        "share within a tenth": sum(abs(values[k] * rate / 2 - 1) <= 0.1 for k in late) / len(late),
        "of its own edge": sum(values[k] / edge(rate, norms[k]) for k in late) / len(late),
        "loss": curves["loss"][-1],
    }


def claims(record: Record) -> Sequence[Claim]:
    """That gradient descent reaches 2/η and stays there, and that a SAM stays below."""
    results, rows = record["results"], []
    for label in DESCENT:
        name = f"λ₁η/2 of {label}, mean of the second half"
        words = f"λ₁ reaches 2/η and stays there, {label}"
        rows.append(
            close_to(
                words, "hovers at or just above 2/η", name, results[label]["late"], target=1.0, within=0.1
            )
        )
    below = results[f"GD, η = {SAMS['SAM'][1]:g}"]["late"]
    for label in SAMS:
        words = f"{label} with ρ = {RHO:g} holds λ₁ below the edge of gradient descent"
        rows.append(ordered(words, "below 2/η", (label, results[label]["late"]), ("GD", below)))
    name, own = "λ₁ over SAM's edge, mean of the second half", results["SAM"]["of its own edge"]
    words = "SAM's λ₁ is at the edge of its own"
    rows.append(close_to(words, "at it, also early", name, own, target=1.0, within=0.1))
    return rows


STUDY = Study(
    name="edge_of_stability",
    title="Progressive sharpening and the edge of stability",
    source="Cohen et al. 2021, arXiv 2103.00065; Long and Bartlett 2024, arXiv 2309.12488",
    compute=compute,
    claims=claims,
    setups={"digits": SETUP},
    paper=None,
    arms={"cpu": {label: optimizer for label, (optimizer, _) in ARMS.items()}},
    columns={
        "first": "λ₁η/2 after 50 steps",
        "late": "of the second half",
        "share within a tenth": "share of it within a tenth of 1",
        "of its own edge": "λ₁ over SAM's edge",
        "loss": "loss at the end",
    },
    seeds=3,
)

if __name__ == "__main__":
    main(STUDY)
