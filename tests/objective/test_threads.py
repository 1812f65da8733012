"""Two threads that measure at once: the numbers of one alone, and every switch of the process as it was."""

import gc
import random
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import numpy as np
import problems
import pytest
import torch
from torch import Tensor, nn
from torch.utils import checkpoint as activation_checkpointing
from torch.utils.checkpoint import checkpoint

import landscape
from landscape.isolation.checkpointing import plain_checkpoints
from landscape.isolation.loaders import undisturbed
from landscape.isolation.randomness import preserved_randomness, private_randomness
from landscape.isolation.switches import no_warnings
from landscape.measures import surrogate_gap
from landscape.objective import Objective
from landscape.optim.pass_state import RandomState
from landscape.training.determinism import restore_generators, seed_generators

ROUNDS = 10


class Encoder(nn.Module):
    """Attention of both kinds, a recurrent layer, checkpointing of both kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 8, dropout=0.0, batch_first=True)
        self.recurrent = nn.GRU(8, 4, batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer(x)
        x = nn.functional.scaled_dot_product_attention(x, x, x)
        x = checkpoint(torch.tanh, x, use_reentrant=True)
        x = checkpoint(torch.sin, x, use_reentrant=False)
        return self.head(self.recurrent(x)[0][:, -1])


def encoder() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Encoder().double().eval()


def data() -> torch.utils.data.DataLoader[tuple[Tensor, ...]]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(12, 4, 8, generator=generator, dtype=torch.float64)
    y = torch.randint(0, 3, (12,), generator=generator)
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=5)


def measured(model: nn.Module) -> list[float]:
    objective = Objective(model, nn.CrossEntropyLoss(), data())
    product = objective.hessian_product(torch.ones_like(objective.point))
    return [
        objective.loss,
        objective.evaluate(2 * objective.point)[0],
        float(objective.gradient.norm()),
        float(product.norm()),
    ]


def state() -> dict[str, object]:
    return {
        "torch": torch.get_rng_state().tolist(),
        "numpy": np.random.get_state()[1].tolist(),
        "python": random.getstate(),
        "attention": (
            torch.backends.cuda.flash_sdp_enabled(),
            torch.backends.cuda.mem_efficient_sdp_enabled(),
            torch.backends.cuda.math_sdp_enabled(),
        ),
        "fast path": torch.backends.mha.get_fastpath_enabled(),
        "checkpointing": activation_checkpointing.CheckpointFunction,
        "fused kernels": (torch.backends.mkldnn.enabled, torch.backends.cudnn.enabled),
        # Libraries add to both when they are first used.
        "warnings": ("ignore", None, Warning, None, 0) in warnings.filters,
        "loading": [
            str(known) for known in torch.serialization.get_safe_globals() if "landscape" in str(known)
        ],
        "path": list(sys.path),
    }


def together(*jobs: Callable[[], object]) -> None:
    """Runs the jobs in threads that begin at once, with switches between them as often as Python allows."""
    failures: list[BaseException] = []
    start = threading.Barrier(len(jobs))

    def run(job: Callable[[], object]) -> None:
        start.wait(60)
        try:
            job()
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
    finally:
        sys.setswitchinterval(before)
    assert not any(thread.is_alive() for thread in threads)
    if failures:
        raise failures[0]


@pytest.mark.thorough
def test_measures_in_two_threads_are_those_of_one_and_leave_everything_as_it_was() -> None:
    model = encoder()
    expected = measured(model)  # and what libraries change when they are first used
    before = state()
    found: list[list[float]] = []
    for _ in range(ROUNDS):
        together(*[lambda: found.append(measured(model))] * 2)
        assert state() == before
    assert found == [pytest.approx(expected, rel=1e-9)] * (2 * ROUNDS)
    gc.collect()


class Drawing(nn.Module):
    """Draws a number, on which nothing depends."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = problems.small_net()

    def forward(self, x: Tensor) -> Tensor:
        noise = torch.rand(()) + np.random.rand() + random.random()
        return self.inner(x) + 0 * noise


class Reproducible(nn.Module):
    """Draws the same numbers each time, from the global generator: the loss depends on them."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = problems.small_net()

    def forward(self, x: Tensor) -> Tensor:
        torch.manual_seed(3)
        parts = [torch.rand(4, dtype=x.dtype) for _ in range(20)]
        return self.inner(x) + torch.stack(parts).sum(0)


@pytest.mark.parametrize("kind", [Drawing, Reproducible])
def test_networks_that_draw_from_the_global_generators_do_not_mix(kind: type[nn.Module]) -> None:
    model = kind()
    x, y = problems.classification(40)

    def values() -> list[float]:
        objective = Objective(model, nn.CrossEntropyLoss(), problems.batches(x, y, 15))
        return [
            objective.loss,
            surrogate_gap(objective).value,
            float(objective.hessian_product(objective.point).norm()),
        ]

    expected, before = values(), state()
    found: list[list[float]] = []
    for _ in range(ROUNDS // 2):
        together(*[lambda: found.append(values())] * 2)
        assert state() == before
    assert found == [expected] * (ROUNDS)


def test_what_another_thread_draws_is_not_taken_back() -> None:
    """The user's own training goes on with the numbers that it would have had without a measure beside it."""
    model = problems.small_net()
    x, y = problems.classification(40)

    def drawn(beside: Callable[[], object] | None) -> list[float]:
        torch.manual_seed(11)
        numbers: list[float] = []

        def draw() -> None:
            numbers.extend(float(torch.rand(())) for _ in range(2000))

        together(draw, *([beside] if beside else []))
        return numbers

    def measure() -> None:
        for _ in range(2):
            landscape.measure(
                Objective(model, nn.CrossEntropyLoss(), problems.batches(x, y, 15)),
                ["gradient-norm", "hessian-trace"],
            )

    with torch.random.fork_rng():
        alone = drawn(None)
        assert drawn(measure) == alone


def test_the_users_own_checkpointing_in_another_thread_stays_on() -> None:
    """Its recomputation is what saves memory; only the private copy does without it."""
    calls: list[int] = []
    inside, done = threading.Event(), threading.Event()

    class Waiting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = problems.small_net()

        def forward(self, x: Tensor) -> Tensor:
            inside.set()
            assert done.wait(60)
            return self.inner(x)

    def counted(x: Tensor) -> Tensor:
        calls.append(1)
        return torch.tanh(x)

    def train() -> None:
        assert inside.wait(60)
        try:
            x = torch.ones(3, requires_grad=True)
            checkpoint(counted, x, use_reentrant=True).sum().backward()
        finally:
            done.set()

    x, y = problems.classification(40)
    together(train, lambda: Objective(Waiting(), nn.CrossEntropyLoss(), [(x, y)]).gradient.sum())
    assert len(calls) == 2


def test_training_in_two_threads_leaves_the_global_state(tmp_path) -> None:
    recipe = landscape.Recipe(model="mlp:width=6,depth=1", optimizer="sam", epochs=1, device="cpu")
    runs = [landscape.train(recipe, output=tmp_path / "alone").checkpoint]
    before = state()
    together(
        *[
            lambda k=k: runs.append(landscape.train(recipe, output=tmp_path / str(k)).checkpoint)
            for k in range(2)
        ]
    )
    assert state() == before
    weights = [landscape.load_checkpoint(run).objective(limit=20).point for run in runs]
    assert all(torch.equal(weights[0], other) for other in weights[1:])


@pytest.mark.parametrize(
    "seed",
    [
        lambda: seed_generators(5, torch.device("cpu")),
        lambda: restore_generators(
            {"cpu": torch.Generator().manual_seed(5).get_state()}, torch.device("cpu")
        ),
        lambda: replayed_draw(),
    ],
    ids=["training begins", "training goes on", "a second pass of a step"],
)
def test_a_thread_that_trains_does_not_seed_what_another_initialises_weights_from(
    seed: Callable[[], object],
) -> None:
    seeded, tried = threading.Event(), threading.Event()
    drawn: list[Tensor] = []

    def build() -> None:
        with private_randomness(seed=3):
            seeded.set()
            tried.wait(0.3)  # the other thread cannot come so far
            drawn.append(torch.rand(4))

    def train() -> None:
        assert seeded.wait(60)
        seed()
        tried.set()

    with torch.random.fork_rng():
        together(build, train)
    assert torch.equal(drawn[0], torch.rand(4, generator=torch.Generator().manual_seed(3)))


def replayed_draw() -> None:
    state = RandomState(torch.device("cpu"))
    state._recorded = [torch.Generator().manual_seed(5).get_state()]
    with state:
        pass


def test_a_sound_file_is_read_by_many_threads_at_once(tmp_path) -> None:
    file = tmp_path / "checkpoint.pt"
    torch.save(
        {"state_dict": problems.small_net().state_dict(), "seen": torch.Size([3]), "dtype": np.float64}, file
    )
    from landscape.checkpoints.opening import open_file

    before = state()

    def read() -> None:
        for _ in range(15):
            open_file(file, trust=False)

    together(*[read] * 4)
    assert state() == before


def overlapping(
    context: Callable[[], AbstractContextManager[object]], inside: Callable[[], object]
) -> list[object]:
    """What ``inside`` sees when a first thread has left a context that a second one, which came later, is still in."""
    seen: list[object] = []
    second_is_in, first_is_out = threading.Event(), threading.Event()

    def first() -> None:
        with context():
            seen.append(inside())
            assert second_is_in.wait(60)
        seen.append(inside())
        first_is_out.set()

    def second() -> None:
        with context():
            second_is_in.set()
            assert first_is_out.wait(60)
        seen.append(inside())

    together(first, second)
    return seen


SWITCHES = {
    "checkpointing": (
        plain_checkpoints,
        lambda: activation_checkpointing.CheckpointFunction.__name__ == "CheckpointFunction",
    ),
    "warnings": (lambda: no_warnings, lambda: warnings.filters[0][:3] != ("ignore", None, Warning)),
}


@pytest.mark.parametrize("name", SWITCHES)
def test_a_switch_is_turned_back_when_the_last_thread_has_left(name: str) -> None:
    context, is_as_before = SWITCHES[name]
    assert is_as_before()
    assert overlapping(context, is_as_before) == [False, False, True]


def test_preserved_randomness_ends_where_it_began_whoever_leaves_last() -> None:
    before = torch.get_rng_state().tolist()

    def draw() -> bool:
        same = torch.get_rng_state().tolist() == before
        torch.rand(())
        return same

    overlapping(preserved_randomness, draw)
    # The last draw was made outside, from the state that was restored.
    with torch.random.fork_rng():
        torch.set_rng_state(torch.tensor(before, dtype=torch.uint8))
        torch.rand(())
        after = torch.get_rng_state()
    assert torch.equal(torch.get_rng_state(), after)


def test_within_a_thread_preserved_randomness_ends_where_each_began() -> None:
    with preserved_randomness():
        torch.rand(3)
        middle = torch.get_rng_state()
        with preserved_randomness():
            torch.rand(3)
        assert torch.equal(torch.get_rng_state(), middle)


def test_a_loader_draws_from_a_stream_of_its_own_between_whose_items_none_has_drawn() -> None:
    def items() -> Iterator[float]:
        for _ in range(3):
            yield float(torch.rand(()))

    torch_state = torch.get_rng_state()
    alone = list(items())
    torch.set_rng_state(torch_state)
    found = []
    for item in undisturbed(items()):
        assert torch.equal(torch.get_rng_state(), torch_state)
        found.append(item)
    assert found == alone
    assert torch.equal(torch.get_rng_state(), torch_state)


class Reseeding(nn.Module):
    """Seeds the global generator and draws nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = problems.small_net()

    def forward(self, x: Tensor) -> Tensor:
        torch.manual_seed(3)
        return self.inner(x)


def test_a_network_that_only_seeds_leaves_the_state_too(monkeypatch: pytest.MonkeyPatch) -> None:
    # Other tests may have left threads of libraries, beside which seeding cannot be told from their draws.
    monkeypatch.setattr("threading.enumerate", lambda: [threading.current_thread()])
    objective = Objective(Reseeding(), nn.CrossEntropyLoss(), [problems.classification(20)])
    before = torch.get_rng_state()
    objective.hessian_product(objective.point)
    assert torch.equal(torch.get_rng_state(), before)
