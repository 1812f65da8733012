"""Tokens and sequences that an embedding has no row for are named in one line."""

import pytest
import torch
from torch import Tensor, nn

from landscape import Objective
from landscape.errors import InputError


class Decoder(nn.Module):
    def __init__(self, first: int = 0) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(10, 4), nn.Embedding(6 + first, 4)
        self.first, self.head = first, nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        positions = torch.arange(x.shape[1]) + self.first
        return self.head((self.wte(x) + self.wpe(positions)).mean(1))


LABELS = torch.tensor([0, 1, 2])


@pytest.mark.parametrize("first", [0, 2])
def test_a_sequence_that_is_longer_than_the_positions(first: int) -> None:
    short, long = torch.ones(3, 6, dtype=torch.long), torch.ones(3, 7, dtype=torch.long)
    assert Objective(Decoder(first), "cross-entropy", [(short, LABELS)]).loss > 0
    says = (
        r"^the sequences have 7 tokens, and Decoder has 6 positions \(wpe\.weight\): cut them to 6 or fewer$"
    )
    with pytest.raises(InputError, match=says):
        _ = Objective(Decoder(first), "cross-entropy", [(long, LABELS)]).loss
    with pytest.raises(InputError, match=says[1:-1]):  # in a later batch
        _ = Objective(Decoder(first), "cross-entropy", [(short, LABELS), (long, LABELS)]).loss


def test_a_language_model_without_its_loss_is_said_to_see_what_it_predicts() -> None:
    tokens = torch.randint(0, 10, (4, 6))
    network = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 10)).eval()
    for targets, loss, expected in (
        (tokens, "cross-entropy", True),
        (tokens.roll(1, dims=1), "cross-entropy", False),
        (tokens, "next-token", False),
    ):
        batch = tokens if loss == "next-token" else (tokens, targets)
        objective = Objective(network, loss, [batch])
        assert objective.loss > 0
        assert any("is next-token" in note for note in objective.notes) is expected


def test_a_token_that_the_network_does_not_know() -> None:
    with pytest.raises(
        InputError, match=r"^the data have tokens 1 to 10, and wte\.weight of Decoder has rows 0 to 9"
    ):
        _ = Objective(Decoder(), "cross-entropy", [(torch.tensor([[1, 10], [2, 3], [4, 5]]), LABELS)]).loss


def test_positions_that_are_a_plain_parameter() -> None:
    class Added(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wte, self.head = nn.Embedding(10, 4), nn.Linear(4, 3)
            self.positions = nn.Parameter(torch.zeros(1, 6, 4))

        def forward(self, x: Tensor) -> Tensor:
            return self.head((self.wte(x) + self.positions[:, : x.shape[1]]).mean(1))

    with pytest.raises(
        InputError, match=r"fewer positions than the 7 tokens of a sequence, cut the sequences$"
    ):
        _ = Objective(Added(), "cross-entropy", [(torch.ones(3, 7, dtype=torch.long), LABELS)]).loss
