"""A language model as a user would train and measure it, against the dense Hessian of a block."""

import json

import pytest
import torch
from torch.func import functional_call
from torch.nn import functional

from landscape import load_checkpoint

DATA = "text:length=8,limit=400"
MODEL = "decoder:width=8,depth=2,heads=2,length=8,vocabulary=128"
ATTENTION = "blocks.1.attn.*"


def dense(model, tokens, names):
    """The Hessian of the mean over all predicted tokens with respect to some parameters, by autograd alone."""
    chosen = {name: p.detach() for name, p in model.named_parameters() if name in names}

    def mean(vector):
        parts = vector.split([p.numel() for p in chosen.values()])
        tensors = {name: part.view_as(p) for (name, p), part in zip(chosen.items(), parts, strict=True)}
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            logits = functional_call(model, tensors, (tokens,))
        return functional.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())

    return torch.autograd.functional.hessian(mean, torch.cat([p.flatten() for p in chosen.values()]))


def test_an_attention_block_of_a_trained_decoder_has_the_measures_of_its_dense_hessian(landscape, tmp_path):
    trained = landscape(
        *("train", "-d", DATA, "-m", MODEL, "--loss", "next-token", "--optimizer", "sam", "--base", "adamw"),
        *("--lr", "0.01", "-b", "16", "--epochs", "2", "--dtype", "float64", "--device", "cpu", "-o", "run"),
    )
    assert trained.code == 0
    assert "bytes of the language reference" in trained.err
    measured = landscape(
        *("measure", "run", "--parameters", ATTENTION, "--dtype", "float64", "--format", "json"),
        *("-M", "loss", "-M", "dominant-eigenvalue:method=lanczos,tolerance=1e-6", "-M", "hessian-trace"),
    )
    assert measured.code == 0
    loss, eigenvalue, trace = json.loads(measured.out)
    checkpoint = load_checkpoint(tmp_path / "run")
    model, tokens = checkpoint.model.double(), checkpoint.data.train.inputs
    names = [name for name, _ in model.named_parameters() if name.startswith("blocks.1.attn.")]
    matrix = dense(model, tokens, names)
    values = torch.linalg.eigvalsh(matrix)
    assert len(matrix) == 4 * 8 * 8 + 4 * 8 == eigenvalue["provenance"]["dimension"]
    assert eigenvalue["provenance"]["parameters"] == ATTENTION
    assert loss["provenance"]["data"] == DATA
    assert eigenvalue["value"] == pytest.approx(float(values[values.abs().argmax()]), rel=1e-5)
    exact = float(matrix.trace())
    assert abs(trace["value"] - exact) <= 4 * (trace["standard_error"] or 0) + 1e-9 * abs(exact)
