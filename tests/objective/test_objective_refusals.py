"""What an objective refuses: randomness, numbers that are not finite, data that do not fit."""

import problems
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from landscape.errors import InputError, UsageError
from landscape.losses import build_loss
from landscape.objective import Objective, batches

CE = nn.CrossEntropyLoss()


class TestBadInput:
    """One clear line each."""

    x, y = problems.classification()

    def make(
        self, model: nn.Module | None = None, loss: object = CE, data: object = None, **options: object
    ) -> Objective:
        return Objective(
            model or problems.small_net(), loss, [(self.x, self.y)] if data is None else data, **options
        )  # type: ignore[arg-type]

    def test_dropout_in_training_mode(self) -> None:
        model = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.3), nn.Linear(8, 4)).double()
        with pytest.raises(UsageError, match=r"'1' \(Dropout, p=0.3\).*model.eval\(\)"):
            self.make(model)

    def test_functional_randomness(self) -> None:
        class Noisy(nn.Linear):
            def forward(self, x: Tensor) -> Tensor:
                return super().forward(nn.functional.dropout(x))

        with pytest.raises(InputError, match="the model is random"):
            _ = self.make(Noisy(8, 4).double()).loss

    def test_random_data(self) -> None:
        class Augmented(TensorDataset):
            def __getitem__(self, index: int) -> tuple[Tensor, ...]:
                x, y = super().__getitem__(index)
                return x + torch.randn(8), y

        with pytest.raises(InputError, match="the data set is random"):
            _ = self.make(data=Augmented(self.x, self.y)).loss

    @pytest.mark.parametrize("bad", [float("nan"), float("inf")])
    def test_non_finite_weights(self, bad: float) -> None:
        model = problems.small_net()
        with torch.no_grad():
            model[2].weight[0, 0] = bad
        with pytest.raises(InputError, match=r"1 of 568 weights are NaN or infinite: 2\.weight \(1\)"):
            self.make(model)

    def test_non_finite_data(self) -> None:
        x = self.x.clone()
        x[3, 2] = float("nan")
        with pytest.raises(InputError, match="batch 0 of the data holds 1 values"):
            _ = self.make(data=[(x, self.y)]).loss

    @pytest.mark.parametrize("data", [TensorDataset(torch.zeros(0, 8), torch.zeros(0)), iter([])])
    def test_empty_data(self, data: object) -> None:
        with pytest.raises(InputError, match="empty"):
            _ = self.make(data=data).loss

    def test_a_loss_without_reduction(self) -> None:
        with pytest.raises(UsageError, match="reduction='none'"):
            self.make(loss=nn.CrossEntropyLoss(reduction="none"))
        with pytest.raises(UsageError, match=r"not a scalar \(shape \(100,\)\)"):
            _ = self.make(loss=lambda f, t: nn.functional.cross_entropy(f, t, reduction="none")).loss
        with pytest.raises(UsageError, match=r"not a scalar \(float\)"):
            _ = self.make(loss=lambda f, t: 1.0).loss

    def test_data_that_does_not_fit_the_model(self) -> None:
        with pytest.raises(InputError, match=r"cannot be evaluated on this data \(inputs \(100, 5\)"):
            _ = self.make(data=[(self.x[:, :5], self.y)]).loss

    def test_labels_out_of_range(self) -> None:
        with pytest.raises(InputError, match="labels 10 to 13, and the network has 4 classes"):
            _ = self.make(data=[(self.x, self.y + 10)]).loss

    def test_labels_that_are_ignored_are_not_out_of_range(self) -> None:
        y = self.y.clone()
        y[:3] = -100
        assert self.make(data=[(self.x, self.y), (self.x, y)]).loss > 0
        y[:3], y[3] = 255, 300
        loss = nn.CrossEntropyLoss(ignore_index=255)
        with pytest.raises(InputError, match="batch 1 of the data has labels 0 to 300"):
            _ = self.make(loss=loss, data=[(self.x, self.y), (self.x, y)]).loss

    def test_batches_that_are_not_pairs(self) -> None:
        with pytest.raises(InputError, match="BatchLoss"):
            _ = self.make(data=[{"x": self.x}]).loss

    def test_no_free_parameters(self) -> None:
        model = problems.small_net()
        model.requires_grad_(False)
        with pytest.raises(UsageError, match="no free parameter"):
            self.make(model)

    def test_vectors_and_points_of_the_wrong_shape(self) -> None:
        objective = self.make()
        with pytest.raises(ValueError, match=r"expected \(568,\) or \(568, K\)"):
            objective.hessian_product(torch.ones(5))
        with pytest.raises(ValueError, match="n = 568"):
            objective.at(torch.ones(5))


@pytest.mark.parametrize("later", [False, True])
def test_labels_out_of_range_do_not_reach_a_device(device, later, monkeypatch) -> None:
    """A GPU would be lost to the process: also labels of pixels, and data that are not kept."""
    monkeypatch.setattr(batches, "KEPT_BYTES", 0)
    x, y = torch.randn(8, 3, 4, 4), torch.randint(0, 5, (8, 4, 4))
    y[6 if later else 1, 2, 2] = 5
    loader = DataLoader(TensorDataset(x, y), batch_size=4)
    objective = Objective(nn.Conv2d(3, 5, 1), nn.CrossEntropyLoss(), loader, device=device)
    where = "cannot be evaluated on this data" if later and device.type == "cpu" else "network has 5 classes"
    with pytest.raises(InputError, match=where):
        _ = objective.loss


class Words(nn.Module):
    """A language model with ten words."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.scores = nn.Embedding(10, 4), nn.Linear(4, 10)

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.scores(self.words(input_ids))


@pytest.mark.parametrize("kept", [0, 1 << 20])
@pytest.mark.parametrize("word", [-1, 10])
def test_tokens_beyond_the_vocabulary_do_not_reach_a_device(device, kept, word, monkeypatch) -> None:
    monkeypatch.setattr(batches, "KEPT_BYTES", kept)
    texts = torch.randint(0, 10, (8, 6))
    texts[7, 3] = word
    loader = DataLoader(Texts(texts), batch_size=4)
    where = "embeddings of 10: is it another tokenizer"
    if device.type == "cpu" and not kept:
        where = "cannot be evaluated on this data"
    with pytest.raises(InputError, match=where):
        _ = Objective(Words(), build_loss("next-token"), loader, device=device).loss


class Texts(Dataset):
    def __init__(self, texts: Tensor) -> None:
        self.texts = texts

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"input_ids": self.texts[index]}
