"""Short forms of model, loss and data that are completed, and what they must not be taken for."""

from types import SimpleNamespace

import numpy as np
import problems
import pytest
import torch
from landscape.cli.options import chosen_device
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

import landscape
from landscape.errors import InputError, UsageError
from landscape.objective import BatchLoss, Objective, arguments
from landscape.objective.arguments import device_named
from landscape.training import Recipe
from landscape.training.trainer import device_of

CE = nn.CrossEntropyLoss()
X, Y = problems.classification()
NET = problems.small_net()
PLAIN = Objective(NET, CE, [(X, Y)])


def over_batch(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return functional.cross_entropy(model(batch[0]), batch[1])


@pytest.mark.parametrize(
    ("loss", "data", "options"),
    [
        (CE, (X, Y), {}),
        (CE, [X, Y], {}),
        (CE, next(iter(DataLoader(TensorDataset(X, Y), batch_size=100))), {}),
        (CE, (X.numpy(), Y.numpy()), {}),
        (CE, (X.numpy().astype(">f8"), Y.numpy().astype(np.int16)), {}),
        (CE, {"input": X, "labels": Y}, {}),
        (CE, [(X.numpy(), Y)], {}),
        (CE, (batch for batch in [(X, Y)]), {}),
        (CE, (X, Y), {"batch_size": 100}),
        (CE, [(x, int(y)) for x, y in zip(X, Y, strict=True)], {}),
        ("cross-entropy", (X, Y), {}),
        (over_batch, [(X, Y)], {}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_short_form_is_the_objective_of_the_long_one(
    loss: object, data: object, options: dict[str, int]
) -> None:
    objective = Objective(NET, loss, data, **options)  # type: ignore[arg-type]
    assert objective.loss == pytest.approx(PLAIN.loss, rel=1e-14)
    assert objective.num_examples == 100
    torch.testing.assert_close(objective.gradient, PLAIN.gradient, rtol=1e-12, atol=1e-15)
    assert objective.provenance.examples == PLAIN.provenance.examples or isinstance(data, dict)


def test_a_batch_size_divides_a_pair() -> None:
    assert Objective(NET, CE, (X, Y), batch_size=30).batch_sizes == [30, 30, 30, 10]
    with pytest.raises(InputError, match="leave it out"):
        Objective(NET, CE, [(X, Y)], batch_size=30)


def test_arrays_are_copied() -> None:
    x, y = X.numpy().copy(), Y.numpy()
    x.setflags(write=False)
    objective = Objective(NET, CE, (x[::-1], y))
    assert objective.loss == Objective(NET, CE, (X.flip(0), Y)).loss
    x = X.numpy().copy()
    objective = Objective(NET, CE, (x, y))
    x[:] = 0
    assert objective.loss == PLAIN.loss


def test_two_tensors_are_two_batches_for_a_loss_that_has_no_targets() -> None:
    loss = BatchLoss(lambda model, batch: model(batch).square().mean())
    two = Objective(NET, loss, [X[:60], X[60:]])
    assert two.batch_sizes == [60, 40]
    with pytest.raises(UsageError, match=r"\[\(x, y\)\] for one batch, \[x, y\] for two"):
        Objective(NET, loss, (X[:50], X[50:]))


def test_a_number_beside_a_batch_stays_what_it_is_for_a_loss_of_ones_own() -> None:
    seen = []

    def loss(outputs: Tensor, target: float) -> Tensor:
        seen.append((tuple(outputs.shape), target))
        return (outputs - target).square().mean()

    assert Objective(NET, loss, [(X, 0.5)]).loss > 0
    assert set(seen) >= {((100, 4), 0.5)}
    assert {type(target) for _, target in seen} == {float}


def test_pairs_of_the_same_shape_stay_batches() -> None:
    batches = ((X[:50], Y[:50]), (X[50:], Y[50:]))
    assert Objective(NET, CE, batches).batch_sizes == [50, 50]


def test_the_name_of_the_loss_is_that_of_the_command_line() -> None:
    assert Objective(NET, "cross-entropy:label_smoothing=0.0", (X, Y)).provenance.loss == "cross-entropy"
    assert Objective(NET, over_batch, [(X, Y)]).provenance.loss == "over_batch"


def test_targets_that_would_be_broadcast_are_refused() -> None:
    model, y = nn.Linear(8, 1).double(), X.sum(1)
    with pytest.raises(InputError, match=r"outputs \(100, 1\) and targets \(100,\).*y.view\(-1, 1\)"):
        _ = Objective(model, nn.MSELoss(), (X, y)).loss
    assert Objective(model, nn.MSELoss(), (X, y[:, None])).loss > 0


def test_a_measure_is_typed_alone_or_in_a_list() -> None:
    [alone] = landscape.measure(PLAIN, "gradient-norm")
    [listed] = landscape.measure(PLAIN, ["gradient-norm"])
    assert alone.value == listed.value


def test_a_pair_is_the_data_of_a_checkpoint(tmp_path) -> None:  # type: ignore[no-untyped-def]
    torch.save(NET.state_dict(), tmp_path / "net.pt")
    opened = landscape.load_checkpoint(
        tmp_path / "net.pt", model=NET, data=(X.numpy(), Y), loss="cross-entropy"
    )
    assert opened.objective(dtype=torch.float64).loss == pytest.approx(PLAIN.loss, rel=1e-12)


def test_what_an_objective_is_takes_no_computation() -> None:
    objective = Objective(NET, CE, (X, Y), parameters=["4.*"]).described(data="digits", split="test")
    assert repr(objective) == (
        "Objective(Sequential, 52 parameters (4.*); digits test, not read yet; CrossEntropyLoss; cpu, float64)"
    )
    assert not objective.ledger.passes()["evaluations"]
    _ = objective.loss
    assert f"digits test, 100 examples; CrossEntropyLoss = {objective.loss:.6g};" in repr(objective)


@pytest.mark.parametrize(
    ("cuda", "mps", "dtype", "expected"),
    [
        (True, True, torch.float64, "cuda"),
        (False, True, torch.float32, "mps"),
        (False, True, torch.float64, "cpu"),  # MPS has no float64
        (False, False, torch.float32, "cpu"),
    ],
)
def test_the_best_device_is_the_same_for_measures_and_for_training(monkeypatch, cuda, mps, dtype, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    monkeypatch.setattr(arguments, "_usable", lambda place, *_: place)
    assert device_named("auto", dtype=dtype).type == expected
    name = str(dtype).removeprefix("torch.")
    assert chosen_device("auto", name) == expected
    assert device_of(Recipe(dtype=name)).type == expected


@pytest.fixture
def two_gpus(monkeypatch):
    """What torch says of a machine with two GPUs, the second of which is broken."""

    def properties(index):
        if index == 1:
            raise RuntimeError("CUDA error: uncorrectable ECC error encountered\nCUDA kernel errors")
        return SimpleNamespace(name="NVIDIA H200", total_memory=139 << 30, major=9, minor=0)

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", properties)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("name", ["cuda:7", "mps"])
def test_an_absent_device_is_refused_with_those_that_are_there(name, two_gpus):
    here = (
        r"torch has cpu, cuda:0 \(NVIDIA H200, 139 GiB, compute capability 9.0\), cuda:1 \(cannot be used: CUDA error: "
        r"uncorrectable ECC error encountered\) here"
    )
    with pytest.raises(UsageError, match=rf"^--device {name} cannot be used: .*; {here}; leave it out"):
        device_named(name, spelling="--device ")
    with pytest.raises(UsageError, match=rf"^device='{name}' cannot be used: .*; {here}; .*device='cpu'"):
        Objective(NET, CE, (X, Y), device=name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_gpu_that_is_broken_is_not_the_best_device(two_gpus, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(
        UsageError, match=r"^--device auto, cuda here, cannot be used: .*; torch has cpu, .*; use cpu$"
    ):
        device_named("auto", spelling="--device ")
