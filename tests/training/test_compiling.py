"""A compiled run is the eager run up to rounding, and what cannot be compiled is refused before anything is written."""

import dataclasses
import signal

import pytest
import torch
from torch import nn

from landscape.errors import Remark, UsageError
from landscape.losses.loss_functions import BatchLoss
from landscape.models import MODELS
from landscape.registry.names import Row
from landscape.training import Recipe, train
from landscape.training.session import Session
from landscape.training.subject import subject_of

# 70 examples in batches of 32, 32 and 6, the last of which is not compiled.
RECIPE = Recipe(data="moons:samples=100", epochs=2, batch_size=32, lr=0.05, dtype="float64")


def noisy(*, classes: int = 10, input_shape: tuple[int, ...] = (2,)) -> nn.Module:
    del input_shape
    return nn.Sequential(
        nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.4), nn.Linear(8, 8), nn.Dropout(0.2),
        nn.ReLU(), nn.Linear(8, classes),
    )  # fmt: skip


@pytest.fixture(autouse=True)
def noisy_model(monkeypatch):
    row = Row("mlp", noisy, "for these tests", hidden=frozenset({"classes", "input_shape"}))
    monkeypatch.setitem(MODELS._rows, "mlp", row)


@pytest.fixture
def graphs(monkeypatch):
    """Torch's capture and its derivation of the backward pass, without a C++ compiler; the graphs it has made."""
    import torch._dynamo
    from torch._dynamo.backends.debugging import aot_eager

    made, compiler = [], torch.compile

    def backend(graph, inputs):
        made.append(graph)
        return aot_eager(graph, inputs)

    def compiled(function, *, dynamic, options):
        assert options["fallback_random"]
        return compiler(function, dynamic=dynamic, backend=backend)

    monkeypatch.setattr(torch, "compile", compiled)
    torch._dynamo.reset()
    yield made
    torch._dynamo.reset()


def weights(run):
    return torch.load(run.checkpoint, weights_only=True)["state_dict"]


def assert_alike(run, other):
    expected = weights(other)
    for name, tensor in weights(run).items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-9, atol=1e-11)
    assert run.metrics == pytest.approx(other.metrics, rel=1e-9)


@pytest.mark.parametrize(
    "fields",
    [
        {"optimizer": "sgd"},
        {"optimizer": "cr-sam", "ema": 0.9, "max_grad_norm": 0.5},
        {"optimizer": "sam", "accumulate": 2, "accumulation": "m-sam", "base": "adamw"},
    ],
    ids=str,
)
def test_a_compiled_run_is_the_eager_one(tmp_path, graphs, fields):
    """Dropout masks, batch-norm statistics, counters and averages too."""
    recipe = dataclasses.replace(RECIPE, **fields)
    eager = train(recipe, output=tmp_path / "eager")
    assert not graphs
    compiled = train(dataclasses.replace(recipe, compile=True), output=tmp_path / "compiled")
    # One graph that updates batch-norm statistics and one that does not, for all batches.
    assert len(graphs) == (1 if fields["optimizer"] == "sgd" else 2)
    assert_alike(compiled, eager)


@pytest.mark.parametrize(
    "place",
    ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))],
)
def test_every_step_is_the_eager_one_also_as_cuda_graphs(place, request):
    """On CUDA by torch's own compiler: dropout masks, inputs and outputs of graphs that are run again and again."""
    if place == "cpu":
        request.getfixturevalue("graphs")
    runs = []
    for compile in (False, True):
        recipe = dataclasses.replace(RECIPE, optimizer="gsam", compile=compile)
        running, states = Session(recipe, subject_of(recipe), torch.device(place)), []
        for _ in range(2):
            for _ in running.train_epoch():
                states.append({name: tensor.clone() for name, tensor in running.model.state_dict().items()})
            running.finish_epoch(lambda: None)
        runs.append((states, running.metrics))
    (eager, metrics), (compiled, others) = runs
    assert len(eager) == 6
    for state, other in zip(eager, compiled, strict=True):
        torch.testing.assert_close(other, state, rtol=1e-7, atol=1e-9)
    assert others == pytest.approx(metrics, rel=1e-7)


def test_compiling_leaves_the_network_as_it_was(graphs):
    sessions = [
        Session(r, subject_of(r), torch.device("cpu"))
        for r in (RECIPE, dataclasses.replace(RECIPE, compile=True))
    ]
    eager, compiled = (each.model for each in sessions)
    assert len(graphs) == 1
    for name, tensor in eager.state_dict().items():
        assert torch.equal(compiled.state_dict()[name], tensor)
    assert all(parameter.grad is None for parameter in compiled.parameters())


def test_a_run_goes_on_compiled_or_not(tmp_path, graphs):
    recipe, compiled = (dataclasses.replace(RECIPE, optimizer="sam", compile=each) for each in (False, True))

    def stop(progress):
        if progress.step in (2, 5):
            signal.raise_signal(signal.SIGINT)

    whole = train(recipe, output=tmp_path / "whole")
    for part, change in ((compiled, None), (recipe, "compiled=yes, and continues with compiled=no")):
        with pytest.raises(KeyboardInterrupt), _remarks(change):
            train(part, output=tmp_path / "parts", progress=stop)
    with _remarks("compiled=no, and continues with compiled=yes"):
        parts = train(compiled, output=tmp_path / "parts")
    assert_alike(parts, whole)
    assert len(graphs) == 2  # those of the first process serve the third part too
    assert parts.recipe.compile
    assert "compile = true" in (tmp_path / "parts" / "recipe.toml").read_text()
    assert "compile" not in (tmp_path / "whole" / "recipe.toml").read_text()
    # A finished run is the same run.
    assert train(recipe, output=tmp_path / "parts").metrics == parts.metrics


def _remarks(text):
    import contextlib

    return contextlib.nullcontext() if text is None else pytest.warns(Remark, match=text)


def test_a_network_that_cannot_be_compiled_is_refused_and_nothing_is_written(tmp_path, monkeypatch):
    def compile_nothing(function, **_):
        def fails(inputs):
            raise RuntimeError("no compiler here\nand a long story")

        return fails

    monkeypatch.setattr(torch, "compile", compile_nothing)
    with pytest.raises(
        UsageError, match=r"torch\.compile failed \(RuntimeError: no compiler here\); leave it out"
    ):
        train(dataclasses.replace(RECIPE, compile=True), output=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_second_derivatives_are_refused_and_so_is_a_loss_that_calls_the_network():
    with pytest.raises(
        UsageError, match=r"compile=True: torch\.compile has no second derivatives, which mode=exact"
    ):
        dataclasses.replace(RECIPE, compile=True, optimizer="hessian-trace-reg")
    recipe = dataclasses.replace(RECIPE, compile=True, optimizer="hessian-trace-reg:mode=fd")
    loss = BatchLoss(lambda model, batch: nn.functional.cross_entropy(model(batch[0]), batch[1]))
    subject = dataclasses.replace(subject_of(recipe), loss=loss)
    with pytest.raises(UsageError, match=r"compile=True needs a loss of \(outputs, targets\)"):
        Session(recipe, subject, torch.device("cpu"))
