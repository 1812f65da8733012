"""logits-SAM: the rule in numpy, what is displaced, how the layer is found, and SAM on a network of one layer."""

import numpy as np
import pytest
import torch
from optim.battery import Watch, batch, closure, mlp, sgd, weights
from optim.numpy_network import Loss, assert_same_run
from torch import nn

from landscape.errors import UsageError
from landscape.optim import ERM, SAM, LogitsSAM

RHO = 0.3


def test_twenty_steps_agree_with_the_rule_in_numpy() -> None:
    def rule(w: np.ndarray, loss: Loss) -> np.ndarray:
        g = np.zeros_like(w)
        g[25:40] = loss(w)[1][25:40]  # W₂ of θ = (W₁, b₁, W₂, b₂)
        return loss(w + RHO * g / np.linalg.norm(g))[1]

    assert_same_run(lambda model, base: LogitsSAM(base, model=model, rho=RHO), rule)


def test_only_the_weights_of_the_last_layer_are_displaced_by_rho() -> None:
    model = mlp()
    optimizer = LogitsSAM(sgd(model), model=model, rho=RHO)
    watch = Watch(closure(optimizer, model), model)
    optimizer.step(watch)
    [displacement] = watch.displacements
    assert displacement[25:40].norm().item() == pytest.approx(RHO, rel=1e-9)
    assert not displacement[:25].any()
    assert not displacement[40:].any()


def test_on_a_network_of_one_matrix_it_is_sam() -> None:
    ends, (x, y) = [], batch()
    for kind in (LogitsSAM, SAM, ERM):
        torch.manual_seed(0)
        model = nn.Linear(4, 3, bias=False).double()
        optimizer = kind(sgd(model), model=model, **({} if kind is ERM else {"rho": 0.2}))
        for _ in range(5):

            def evaluate(optimizer=optimizer, model=model):
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(model(x), y)
                loss.backward()
                return loss

            optimizer.step(evaluate)
        ends.append(weights(model))
    assert torch.equal(ends[0], ends[1])
    assert not torch.allclose(ends[0], ends[2])


class Language(nn.Module):
    """A network that says itself which layer is its last, as those of Transformers do."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder, self.body = nn.Linear(4, 3), nn.Linear(4, 4)

    def get_output_embeddings(self) -> nn.Module:
        return self.decoder


def test_the_layer_is_the_one_that_is_named_or_that_the_network_says() -> None:
    model = Language()
    assert LogitsSAM(sgd(model), model=model)._head is model.decoder.weight
    assert LogitsSAM(sgd(model), model=nn.ModuleDict({"inner": model}))._head is model.decoder.weight
    assert LogitsSAM(sgd(model), model=model, head="body")._head is model.body.weight
    plain = mlp()
    assert LogitsSAM(sgd(plain), model=plain)._head is plain[2].weight


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (None, {}, "needs the network"),
        (
            nn.Sequential(nn.Conv2d(1, 1, 3)),
            {},
            r"Sequential\(…\) has no linear layer; name its output layer",
        ),
        (mlp(), {"head": "fc"}, "has no layer 'fc' with weights"),
        (mlp(), {"head": "1"}, "has no layer '1' with weights"),
        (mlp(), {"rho": -1.0}, "is not allowed"),
    ],
)
def test_what_cannot_be_found_is_refused(
    model: nn.Module | None, options: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        LogitsSAM(sgd(mlp() if model is None else model), model=model, **options)  # type: ignore[arg-type]


def test_a_layer_that_is_not_trained_is_refused() -> None:
    model = mlp()
    with pytest.raises(UsageError, match="the base optimizer does not train them"):
        LogitsSAM(torch.optim.SGD(model[0].parameters(), lr=0.1), model=model)
