"""Other implementations agree on a trained network, and a wrong number is noticed."""

import dataclasses
from pathlib import Path

import pytest
from torch import Tensor, nn

from landscape.checkpoints import load_checkpoint
from landscape.training import Recipe, train
from landscape.verification import other_tools
from landscape.verification.other_tools import verify


def test_every_implementation_agrees_on_a_trained_network(tmp_path: Path) -> None:
    recipe = Recipe(model="mlp:width=12,depth=1", optimizer="sam", epochs=5, device="cpu")
    run = train(recipe, output=tmp_path / "run")
    found = list(verify(load_checkpoint(run.checkpoint), limit=256))
    assert [(c.measure, c.other) for c in found] == [
        ("gradient-norm", "dense float64"),
        ("dominant-eigenvalue", "dense float64"),
        ("hessian-trace", "dense float64"),
        ("dominant-eigenvalue", "scipy eigsh"),
        ("dominant-eigenvalue", "PyHessian"),
        ("hessian-trace", "PyHessian"),
    ]
    assert all(c.agrees for c in found)
    assert found[0].ours.provenance.num_examples == 256
    exact = found[1]
    assert exact.difference == pytest.approx(0, abs=1e-4 * abs(exact.value))
    wrong = dataclasses.replace(exact, value=exact.value * 1.01)
    assert not wrong.agrees


def test_every_implementation_is_restricted_to_the_same_parameters(tmp_path: Path) -> None:
    recipe = Recipe(model="mlp:width=6,depth=1", optimizer="sgd", epochs=2, device="cpu")
    checkpoint = load_checkpoint(train(recipe, output=tmp_path / "run").checkpoint)
    before = [p.requires_grad for p in checkpoint.model.parameters()]
    comparisons = list(verify(checkpoint, limit=64, parameters=["layers.3.*"]))
    assert len(comparisons) == 6
    assert all(c.agrees for c in comparisons), comparisons
    origin = comparisons[0].ours.provenance
    assert (origin.parameters, origin.dimension) == ("layers.3.*", 6 * 10 + 10)
    assert [p.requires_grad for p in checkpoint.model.parameters()] == before


class Standardised(nn.Module):
    """Writes to its inputs."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sub_(0.3).div_(2.0)


def test_every_implementation_gets_fresh_inputs_where_the_network_writes_to_them(tmp_path: Path) -> None:
    recipe = Recipe(model="mlp:width=6,depth=1", optimizer="sgd", epochs=1, device="cpu")
    checkpoint = load_checkpoint(train(recipe, output=tmp_path / "run").checkpoint)
    checkpoint = dataclasses.replace(checkpoint, model=nn.Sequential(Standardised(), checkpoint.model))
    assert all(comparison.agrees for comparison in verify(checkpoint, limit=64))


def test_sequences_are_fewer_and_probes_are_limited_with_their_standard_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(other_tools, "PROBES", 4)
    monkeypatch.setattr(other_tools, "TOKENS", 24)
    network = {"model": "decoder:width=8,depth=1,heads=2,length=8", "data": "text:length=8,limit=200"}
    recipe = Recipe(**network, loss="next-token", optimizer="sgd", epochs=1, device="cpu")
    checkpoint = load_checkpoint(train(recipe, output=tmp_path / "run").checkpoint)
    words: list[str] = []
    comparisons = list(
        verify(checkpoint, parameters=["blocks.*.attn.*"], tell=lambda text, fraction: words.append(text))
    )
    assert comparisons
    assert all(comparison.agrees for comparison in comparisons), comparisons
    assert {comparison.ours.provenance.num_examples for comparison in comparisons} == {3}
    trace = next(c.ours for c in comparisons if c.measure == "hessian-trace")
    assert (trace.details["probes"], trace.converged) == (4, False)
    assert {"our gradient norm", "the dense Hessian", "scipy's eigsh"} <= set(words)
    assert any(text.startswith("trace ") and "±" in text for text in words)
