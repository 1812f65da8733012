"""Language models: padding, ragged batches and their partition change no number, whichever mean is asked for."""

import functools

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.functional import hessian as hessian_of
from torch.autograd.functional import jacobian as jacobian_of
from torch.nn import functional

from landscape.losses import build_loss, loss_name
from landscape.measures import accuracy, hessian_trace
from landscape.objective import Objective

VOCABULARY, WIDTH = 5, 3
LENGTHS = 6, 3, 2, 5


class Decoder(nn.Module):
    """One layer of causal attention, which does not see padding; the scores are the second of what it returns."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(8, WIDTH)
        self.mix = nn.Linear(WIDTH, 3 * WIDTH)
        self.head = nn.Linear(WIDTH, VOCABULARY)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> dict[str, Tensor]:
        real = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        places = (real.cumsum(1) - 1).clamp(min=0)
        x = self.words(input_ids) + self.places(places)
        q, k, v = self.mix(x).chunk(3, dim=-1)
        sees = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril() & real.bool()[:, None, :]
        scores = (q @ k.mT).masked_fill(~sees, -1e9)
        return {"hidden": x, "logits": self.head(torch.tanh(x + scores.softmax(-1) @ v))}


def decoder() -> Decoder:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return Decoder().double()


def sequences() -> list[Tensor]:
    return [(torch.arange(n)[None] ** 2 + n * torch.arange(n)[None]) % VOCABULARY for n in LENGTHS]


def padded(side: str, form: str) -> dict[str, Tensor]:
    """The sequences as one batch; padding is told by a mask, or by labels beside it."""
    ids = torch.zeros(len(LENGTHS), 7, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for row, tokens in enumerate(sequences()):
        place = slice(0, tokens.shape[1]) if side == "right" else slice(7 - tokens.shape[1], 7)
        ids[row, place], mask[row, place] = tokens[0], 1
    labels = {"labels": ids.masked_fill(mask == 0, -100)} if form == "labels" else {}
    return {"input_ids": ids, "attention_mask": mask, **labels}


@functools.cache
def truth(mean: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Loss, gradient, Hessian and Gauss–Newton matrix from single sequences without padding, by autograd alone."""
    model = decoder()
    names = [name for name, _ in model.named_parameters()]
    parts = [p.detach() for p in model.parameters()]
    theta = torch.cat([p.flatten() for p in parts])

    def logits(vector: Tensor, tokens: Tensor) -> Tensor:
        pieces = vector.split([p.numel() for p in parts])
        named = {name: piece.view_as(p) for name, piece, p in zip(names, pieces, parts, strict=True)}
        return torch.func.functional_call(model, named, (tokens,))["logits"][0, :-1]

    total = sum(length - 1 for length in LENGTHS)
    shares = [1 / len(LENGTHS) if mean == "sequence" else (length - 1) / total for length in LENGTHS]

    def loss(vector: Tensor) -> Tensor:
        means = [functional.cross_entropy(logits(vector, tokens), tokens[0, 1:]) for tokens in sequences()]
        return torch.stack([share * each for share, each in zip(shares, means, strict=True)]).sum()

    inner = torch.zeros(len(theta), len(theta), dtype=theta.dtype)
    for share, tokens in zip(shares, sequences(), strict=True):
        jacobian = jacobian_of(lambda vector, tokens=tokens: logits(vector, tokens), theta)
        p = logits(theta, tokens).softmax(-1)
        bend = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
        inner += share * torch.einsum("tci,tcd,tdj->ij", jacobian, bend, jacobian) / len(p)
    return loss(theta), jacobian_of(loss, theta), hessian_of(loss, theta), inner


FORMS = {
    "apart": lambda: list(sequences()),
    "right": lambda: [padded("right", "mask")],
    "left": lambda: [padded("left", "mask")],
    "labels": lambda: [padded("left", "labels")],
    "divided": lambda: [
        {key: value[rows] for key, value in padded("right", "mask").items()}
        for rows in (slice(0, 1), slice(1, 4))
    ],
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("mean", ["token", "sequence"])
def test_padding_and_partition_change_no_number(form: str, mean: str) -> None:
    model = decoder()
    loss, gradient, hessian, inner = truth(mean)
    objective = Objective(model, build_loss(f"next-token:mean={mean}"), FORMS[form]())
    assert objective.loss == pytest.approx(float(loss), rel=1e-12)
    assert objective.num_examples == len(LENGTHS)
    assert ("mean over sequences" in " ".join(objective.notes)) == (mean == "sequence")
    assert objective.provenance.loss == loss_name(f"next-token:mean={mean}")
    assert torch.allclose(objective.gradient, gradient, rtol=1e-10, atol=1e-14)
    vectors = torch.eye(objective.dimension, dtype=torch.float64)[:, ::9].contiguous()
    assert torch.allclose(objective.hessian_product(vectors), hessian[:, ::9], rtol=1e-9, atol=1e-13)
    assert torch.allclose(objective.gauss_newton_product(vectors), inner[:, ::9], rtol=1e-9, atol=1e-13)
    assert objective.independence().holds
    right = [model(x)["logits"][0, :-1].argmax(-1) == x[0, 1:] for x in sequences()]
    assert accuracy(objective).value == pytest.approx(float(torch.cat(right).double().mean()), rel=1e-12)
    if form not in ("apart", "labels"):
        return
    trace = hessian_trace(objective, tolerance=0.2, seed=1)
    assert abs(trace.value - float(hessian.trace())) <= 4.5 * (trace.standard_error or 1e-9)


@pytest.mark.parametrize("mean", ["token", "sequence"])
def test_an_example_is_a_sequence(mean: str) -> None:
    model = decoder()
    objective = Objective(model, f"next-token:mean={mean}", [padded("left", "mask")])
    parts = list(objective.per_example())
    assert len(parts) == len(LENGTHS)
    weights = torch.tensor([1.0 if mean == "sequence" else n - 1.0 for n in LENGTHS]).double()
    outer = torch.zeros(objective.dimension, objective.dimension, dtype=torch.float64)
    for weight, part, tokens in zip(weights, parts, sequences(), strict=True):
        single = Objective(model, "next-token", [tokens])
        assert part.loss == pytest.approx(single.loss, rel=1e-12)
        outer += weight / weights.sum() * torch.outer(single.gradient, single.gradient)
    identity = torch.eye(objective.dimension, dtype=torch.float64)
    assert torch.allclose(objective.empirical_fisher_product(identity), outer, rtol=1e-10, atol=1e-14)


def test_examples_that_see_each_other_are_found_among_sequences() -> None:
    class Centred(Decoder):
        """Subtracts the mean over the batch, as a layer that mixes sequences does."""

        def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> dict[str, Tensor]:
            logits = super().forward(input_ids, attention_mask)["logits"]
            return {"logits": logits - logits.mean(0, keepdim=True)}

    with torch.random.fork_rng():
        torch.manual_seed(3)
        objective = Objective(Centred().double(), "next-token", [padded("right", "mask")])
    assert objective.independence().mixed
