"""Causal networks of Transformers with next-token, against dense matrices in float64; from a folder, by the command."""

import copy
import json
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from landscape import load_checkpoint
from landscape.objective import Objective

VOCABULARY = 11


def gpt() -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes = {"n_embd": 8, "n_layer": 1, "n_head": 2, "n_inner": 12, "n_positions": 8}
    return GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, attn_implementation="eager", **sizes))


def qwen() -> Any:
    """Rotary positions, root-mean-square norms, shared keys and values, tied embeddings."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1}
    config = Qwen2Config(
        vocab_size=VOCABULARY,
        intermediate_size=12,
        tie_word_embeddings=True,
        attn_implementation="eager",
        **sizes,
    )
    return Qwen2ForCausalLM(config)


BLOCKS = {"gpt": (gpt, "transformer.h.0.attn"), "qwen": (qwen, "model.layers.0.self_attn")}


def network(name: str) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = BLOCKS[name][0]().eval()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return model


def tokens() -> Tensor:
    return (torch.arange(5)[:, None] * 3 + torch.arange(7) ** 2) % VOCABULARY


def block_loss(model: Any, names: list[str], batch: dict[str, Tensor]) -> tuple[Any, Any, Tensor]:
    """The loss and the scores as functions of the block's weights, and the weights."""
    model = copy.deepcopy(model).double()
    parts = [dict(model.named_parameters())[name].detach() for name in names]
    ids, real = batch["input_ids"], batch["attention_mask"].bool()
    counted = (real[:, 1:] & real[:, :-1]).flatten()

    def scores(theta: Tensor) -> Tensor:
        pieces = theta.split([part.numel() for part in parts])
        named = {name: piece.view_as(part) for name, piece, part in zip(names, pieces, parts, strict=True)}
        returned = torch.func.functional_call(model, named, kwargs={**batch, "use_cache": False})
        logits: Tensor = returned.logits[:, :-1].flatten(0, 1)[counted]
        return logits

    labels = ids[:, 1:].flatten()[counted]
    return (
        lambda theta: functional.cross_entropy(scores(theta), labels),
        scores,
        torch.cat([p.flatten() for p in parts]),
    )


@pytest.mark.parametrize("name", BLOCKS)
def test_products_of_a_block_are_those_of_dense_matrices(name: str) -> None:
    model, block = network(name), BLOCKS[name][1]
    batch = {"input_ids": tokens(), "attention_mask": torch.ones(5, 7, dtype=torch.int64)}
    batch["attention_mask"][1, 4:] = 0
    names = [other for other, _ in model.named_parameters() if other.startswith(block)]
    loss, scores, theta = block_loss(model, names, batch)
    objective = Objective(model, "next-token", [batch], parameters=names, dtype=torch.float64)
    # Its norms and its rotary positions are computed in float32, whatever the precision of the weights.
    close = {"rtol": 1e-8, "atol": 1e-12} if name == "gpt" else {"rtol": 1e-4, "atol": 1e-6}
    assert objective.loss == pytest.approx(float(loss(theta).detach()), rel=1e-10 if name == "gpt" else 1e-6)
    hessian = torch.autograd.functional.hessian(loss, theta)
    jacobian, p = torch.autograd.functional.jacobian(scores, theta), scores(theta).softmax(1)
    bend = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    inner = torch.einsum("tci,tcd,tdj->ij", jacobian, bend, jacobian) / len(p)
    vectors = torch.eye(len(theta), dtype=torch.float64)[:, ::29].contiguous()
    assert torch.allclose(objective.hessian_product(vectors), hessian[:, ::29], **close)
    assert torch.allclose(objective.gauss_newton_product(vectors), inner[:, ::29], **close)
    assert objective.independence().holds
    assert objective.accuracy is not None
    assert objective.network.config.use_cache is False
    assert model.config.use_cache is True


def test_a_block_of_a_folder_is_measured_by_the_command(landscape: Any) -> None:
    model = network("gpt")
    model.save_pretrained("gpt")
    np.savez("ids.npz", input_ids=tokens().numpy())
    names = [name for name, _ in model.named_parameters() if ".attn." in name]
    batch = {"input_ids": tokens(), "attention_mask": torch.ones(5, 7, dtype=torch.int64)}
    loss, _, theta = block_loss(model, names, batch)
    hessian = torch.autograd.functional.hessian(loss, theta)
    arguments = [
        "-m",
        "hf:gpt",
        "-d",
        "npz:ids.npz",
        "--loss",
        "next-token",
        "--parameters",
        "transformer.h.*.attn.*",
    ]
    measures = ["--dtype", "float64", "-M", "loss,accuracy,dominant-eigenvalue:tolerance=1e-4"]
    result = landscape("measure", "gpt/model.safetensors", *arguments, *measures, "--format", "jsonl")
    assert result.code == 0, result.err
    rows = {row["measure"]: row["value"] for row in map(json.loads, result.out.splitlines())}
    values = torch.linalg.eigvalsh(hessian)
    assert rows["loss"] == pytest.approx(float(loss(theta).detach()), rel=1e-10)
    assert rows["dominant-eigenvalue"] == pytest.approx(float(values[values.abs().argmax()]), rel=1e-3)
    assert load_checkpoint("hf:gpt", data=[batch]).model.config.use_cache is False
