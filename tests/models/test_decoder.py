"""The decoder: its size, that it is causal, and what does not fit it."""

from functools import partial

import pytest
import torch
from torch.nn import functional

from landscape.errors import InputError, UsageError
from landscape.models import build_model

TINY = "decoder:width=8,depth=2,heads=2,length=6,vocabulary=11"


def tokens(seed=0):
    return torch.randint(11, (3, 6), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("tied", "heads"), [(False, 2), (True, 1)])
def test_the_number_of_parameters_is_the_computed_one(tied, heads):
    model = build_model("decoder", input_shape=(128,))
    block = 4 * 128 * 128 + 4 * 128 + 8 * 128 * 128 + 5 * 128 + 4 * 128
    count = (256 + 128) * 128 + 4 * block + 2 * 128
    assert sum(p.numel() for p in model.parameters()) == count + 256 * 128
    model = build_model(f"decoder:tied={tied},heads={heads}")
    assert sum(p.numel() for p in model.parameters()) == count + (not tied) * 256 * 128


def test_a_token_changes_the_scores_at_and_after_it_alone():
    model = build_model(TINY, seed=0).eval()
    first = tokens()
    second = first.clone()
    second[:, 3] = (second[:, 3] + 1) % 11
    changed = (model(first) != model(second)).any(-1)
    assert not changed[:, :3].any()
    assert changed[:, 3:].all()


def test_a_position_changes_the_scores():
    model = build_model(TINY, seed=0).eval()
    same = model(torch.full((1, 6), 4))
    assert not torch.allclose(same[0, 0], same[0, 5])


def test_shorter_sequences_have_the_scores_of_the_beginning():
    model = build_model(TINY, seed=0).eval()
    assert torch.allclose(model(tokens())[:, :4], model(tokens()[:, :4]), atol=1e-6)


def test_one_block_is_the_formula_it_claims():
    model = build_model("decoder:width=4,depth=1,heads=1,length=6,vocabulary=11", seed=0).double()
    block = model.blocks[0]
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5, generator=torch.Generator().manual_seed(parameter.numel()))
    hidden = model.embedding.weight[tokens()] + model.positions.weight[:6]
    queries, keys, values = (block.norm1(hidden) @ block.attn.qkv.weight.T + block.attn.qkv.bias).chunk(3, -1)
    scores = (queries @ keys.mT / 2).masked_fill(torch.ones(6, 6).triu(1).bool(), -torch.inf)
    hidden = hidden + block.attn.out(scores.softmax(-1) @ values)
    hidden = hidden + block.mlp[2](functional.gelu(block.mlp[0](block.norm2(hidden))))
    assert torch.allclose(model(tokens()), model.norm(hidden) @ model.head.weight.T)


@pytest.mark.parametrize(
    ("specification", "expected"),
    [
        ("decoder:width=0", "width=0"),
        ("decoder:depth=0", "depth=0"),
        ("decoder:depth=1001", "depth=1001 is more than 1,000"),
        ("decoder:width=10,heads=4", "width=10 is not a multiple of heads=4"),
        ("decoder:legnth=3", "did you mean 'length'"),
    ],
)
def test_what_cannot_be_asked_for_is_a_usage_error_of_one_line(specification, expected):
    with pytest.raises(UsageError, match=expected) as caught:
        build_model(specification)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ({"input_shape": (7,)}, r"6 positions, but a sequence has 7 tokens; use decoder:length=7"),
        ({"input_shape": (3, 8, 8)}, r"shape \(3, 8, 8\); use -d text"),
        (torch.zeros(2, 7, dtype=torch.int64), "6 positions, but a sequence has 7 tokens"),
        (torch.zeros(2, 6), r"token numbers \(B, T\), not torch.float32"),
        (torch.zeros(6, dtype=torch.int64), r"of the shape \(6,\)"),
    ],
)
def test_what_does_not_fit_is_an_input_error_of_one_line(inputs, expected):
    call = (
        partial(build_model, TINY, **inputs)
        if isinstance(inputs, dict)
        else partial(build_model(TINY), inputs)
    )
    with pytest.raises(InputError, match=expected) as caught:
        call()
    assert "\n" not in str(caught.value)
