"""Batches of several tensors: in order, by name, sliced, accumulated, in lower precision, and what is refused."""

import pytest
import torch
from optim.battery import VARIANTS, batch, build, weights
from torch import Tensor, nn

from landscape.errors import UsageError
from landscape.optim import BatchClosure, MicroBatches

CROSS_ENTROPY = nn.CrossEntropyLoss(reduction="none")
X, Y = batch()


class Two(nn.Module):
    """A network of two inputs, which is the one of their concatenation."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5), nn.Tanh(), nn.Linear(5, 3)).double()

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return self.layers(torch.cat([left, right], 1))


FORMS = {
    "tuple": (X[:, :1], X[:, 1:]),
    "list": [X[:, :1], X[:, 1:]],
    "dict": {"right": X[:, 1:], "left": X[:, :1]},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", [BatchClosure, MicroBatches])
@pytest.mark.parametrize("name", ["sam", "esam", "m-sam:m=4", "ssam-f"])
def test_the_step_is_that_of_one_tensor(form, kind, name):
    options = {"size": 5} if kind is MicroBatches else {}
    ends = []
    for inputs, whole in ((FORMS[form], False), (X, True)):
        model = Two()
        network = model.layers if whole else model
        optimizer = build(name, network)
        for _ in range(3):
            optimizer.step(
                kind(network, CROSS_ENTROPY, inputs=inputs, targets=Y, indices=torch.arange(16), **options)
            )
        ends.append(weights(model))
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-12, atol=1e-14)


def test_whole_numbers_go_in_and_lower_precision_comes_out_as_the_weights():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(7, 4), nn.Flatten(), nn.Linear(8, 3))
    tokens = torch.arange(32).reshape(16, 2) % 7
    closure = BatchClosure(model, CROSS_ENTROPY, inputs=tokens, targets=Y, autocast=torch.bfloat16)
    loss = closure()
    assert loss.dtype == torch.float32
    expected = nn.functional.cross_entropy(model(tokens), Y)
    assert loss.item() == pytest.approx(expected.item(), rel=0.02)
    assert loss.item() != expected.item()


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ((X, X[:3]), "one target an input, got 3 and 16"),
        ({"left": X, "right": torch.zeros(())}, "one target an input, got 0 and 16"),
        ((X, None), r"are \['Tensor', 'NoneType'\]; give a tensor, a tuple"),
        ({"left": X, "right": [X]}, r"are \['Tensor', 'list'\]"),
        ((), r"are \[\]"),
        ("text", "are str"),
    ],
)
def test_what_is_no_batch_is_refused(inputs, message):
    with pytest.raises(UsageError, match=message):
        BatchClosure(Two(), CROSS_ENTROPY, inputs=inputs, targets=Y)


def test_a_network_that_answers_with_something_else_is_refused():
    class Wrapped(Two):
        def forward(self, left, right):
            return {"logits": super().forward(left, right)}

    with pytest.raises(UsageError, match=r"returned dict.*whose forward returns the tensor"):
        BatchClosure(Wrapped(), CROSS_ENTROPY, inputs=FORMS["dict"], targets=Y)()


def test_the_form_of_the_inputs_is_kept_by_every_optimizer_that_looks_at_examples():
    looking = []
    for name in VARIANTS:
        model = Two()
        optimizer = build(name, model)
        if optimizer.needs_batch:
            looking.append(name)
            data = {"inputs": FORMS["dict"], "targets": Y, "indices": torch.arange(16)}
            assert torch.isfinite(optimizer.step(BatchClosure(model, CROSS_ENTROPY, **data)))
    assert "esam" in looking
