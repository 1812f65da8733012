"""What examples hold is hashed as it is read: every byte counts, how they are divided into batches does not."""

import copy
import warnings

import numpy as np
import pytest
import torch
from problems import batches, classification, small_net
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from landscape import Objective
from landscape.objective import batches as module
from landscape.objective.batches import Batches

X, Y = classification(60, dtype=torch.float32)
WHOLE = Batches([(X, Y)]).content
CPU = torch.device("cpu")


class Counted(TensorDataset):
    """A data set that remembers what is read from it."""

    def __init__(self, *tensors: torch.Tensor) -> None:
        super().__init__(*tensors)
        self.read: list[int] = []

    def __getitem__(self, index: int):
        self.read.append(index)
        return super().__getitem__(index)


@pytest.mark.parametrize("size", [1, 7, 60])
@pytest.mark.parametrize("form", ["list", "loader", "data set"])
def test_the_hash_is_of_the_examples_and_not_of_their_batches(size, form):
    data = TensorDataset(X, Y)
    source = {"list": batches(X, Y, size), "loader": DataLoader(data, size), "data set": data}[form]
    taken = Batches(source, batch_size=size if form == "data set" else None)
    assert taken.content == WHOLE
    assert len(WHOLE) == 12


def test_every_bit_counts_and_so_do_types_shapes_and_order():
    bit = X.clone()
    bit.view(torch.int32)[30, 4] ^= 1
    label = Y.clone()
    label[59] = (label[59] + 1) % 4
    others = {
        "a bit": (bit, Y),
        "a label": (X, label),
        "order": (X.flip(0), Y.flip(0)),
        "type": (X, Y.float()),
        "precision": (X.double(), Y),
        "shape": (X.reshape(60, 2, 4), Y),
        "swapped": (Y, X),
        "more": (torch.cat([X, X[:1]]), torch.cat([Y, Y[:1]])),
        "names": {"0": X, "1": Y},
    }
    hashes = {name: Batches([batch]).content for name, batch in others.items()}
    assert len({WHOLE, *hashes.values()}) == len(others) + 1


def test_views_and_copies_of_the_same_values_have_the_same_hash():
    strided = torch.empty(60, 16)[:, ::2].copy_(X)
    assert Batches([(strided, Y.clone().requires_grad_(False))]).content == WHOLE
    half = torch.arange(6, dtype=torch.bfloat16)
    assert Batches([half]).content == Batches([half[:2], half[2:]]).content != Batches([half + 1]).content
    turned = torch.tensor([1 + 2j, 3 - 1j])
    assert Batches([turned.conj()]).content == Batches([turned.conj().clone()]).content


def test_what_stands_beside_tensors_counts_and_what_has_no_bytes_makes_the_hash_unknown():
    def of(**beside):
        return Batches([{"x": X, **beside}]).content

    assert len({of(), of(scale=1.0), of(scale=2.0), of(names=["a", "b"]), of(mask=None)}) == 5
    assert len({of(y=np.arange(3)), of(y=np.arange(3, dtype=np.int32)), of(y=np.array([0, 1, 3]))}) == 3
    assert of(graph=object()) is None


def test_data_too_large_to_keep_is_hashed_in_the_one_reading(monkeypatch):
    monkeypatch.setattr(module, "KEPT_BYTES", 100)
    data = Counted(X, Y)
    taken = Batches(data, batch_size=7)
    assert taken.content == WHOLE
    assert len(data.read) == 60 + 2  # the first example is looked at twice, whether it is random


def test_an_objective_says_which_bytes_it_is_of_also_where_statistics_are_recalibrated():
    model = nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(4)).eval()

    def origin(x=X, **options):
        return Objective(model, nn.CrossEntropyLoss(), [(x, Y)], **options).provenance.examples

    assert origin() == WHOLE
    assert origin(batch_norm="recalibrate") == WHOLE
    hashes = [
        origin(batch_norm="recalibrate", calibration=[(x, Y)], x=inputs)
        for x, inputs in ((X, X), (X + 1, X), (X, X + 1))
    ]
    assert len({WHOLE, *hashes}) == 4


def test_each_batch_of_an_objective_has_the_hash_of_its_own_examples():
    model = copy.deepcopy(small_net(dtype=torch.float32))
    objective = Objective(model, nn.CrossEntropyLoss(), batches(X, Y, 40))
    parts = [part.provenance.examples for part in objective.per_batch()]
    assert parts == [Batches([(X[:40], Y[:40])]).content, Batches([(X[40:], Y[40:])]).content]


def test_a_sample_is_the_same_every_time_and_mixes_sorted_classes_in_whole_batches():
    labels = torch.arange(10).repeat_interleave(70)
    inputs = torch.arange(700.0)[:, None]
    parts = [(inputs[k : k + 64], {"label": labels[k : k + 64], "scale": 2}) for k in range(0, 700, 64)]
    sample, again = (list(Batches(parts).sample) for _ in range(2))
    assert [size for size, _ in sample] == [64] * 5
    for (_, (x, y)), (_, (other, _)) in zip(sample, again, strict=True):
        assert torch.equal(x, other)
        assert torch.equal(y["label"], labels[x[:, 0].long()])
        assert len(set(y["label"].tolist())) > 7
        assert y["scale"] == 2
    assert len(torch.cat([x for _, (x, _) in sample]).unique()) == 320


def test_a_sample_of_few_examples_or_of_batches_without_rows_is_made_of_what_there_is():
    assert sum(size for size, _ in Batches([(X, Y)]).sample) == 60
    assert [size for size, _ in Batches(batches(X, Y, 25)).sample] == [25, 25]
    ragged = [torch.zeros(100, width) for width in (3, 4, 5, 6)]  # as texts are padded
    assert [size for size, _ in Batches(ragged).sample] == [100, 100, 100]


@pytest.fixture
def copies(monkeypatch):
    """The number of examples in every copy that is made for the device."""
    sizes, move = [], module.moved

    def counting(batch, *place):
        sizes.append(len(batch[1]))
        return move(batch, *place)

    monkeypatch.setattr(module, "moved", counting)
    return sizes


def visited(device, *, source=None, **options):
    """Numbers of three visits of 60 examples in batches of 25, 25 and 10."""
    source = DataLoader(TensorDataset(X, Y), 25) if source is None else source
    loss = nn.CrossEntropyLoss(torch.tensor([1.0, 2.0, 0.5, 1.0]))
    objective = Objective(small_net(dtype=torch.float32), loss, source, device=device, **options)
    v = torch.linspace(-1, 1, objective.dimension, device=device)
    return [
        torch.tensor(objective.loss),
        objective.gradient.cpu(),
        objective.hessian_product(v).cpu(),
        objective.at(objective.point + 0.1).gradient.cpu(),
    ]


def assert_near(numbers, expected):
    for number, other in zip(numbers, expected, strict=True):
        torch.testing.assert_close(number, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"micro_batch": 50}, {"micro_batch": 8}], ids=str)
def test_a_batch_goes_to_the_device_once(device, copies, options):
    numbers = visited(device, **options)
    assert copies == ([] if device == CPU else [25, 25, 10])
    assert_near(numbers, visited(CPU))


def test_data_on_the_device_are_not_read_again_even_if_the_host_cannot_keep_them(device, monkeypatch):
    monkeypatch.setattr(module, "KEPT_BYTES", 100)
    data = Counted(X, Y)
    expected = visited(CPU)
    assert_near(visited(device, source=DataLoader(data, 25)), expected)
    # The random check, the reading of the hash, the weights of the labels, the first checks and one visit.
    assert (len(data.read) < 60 * 6) == (device != CPU)


def test_copies_that_would_take_too_much_of_the_device_are_made_again(device, copies, monkeypatch):
    size = 25 * (8 * 4 + 8)
    monkeypatch.setattr(module, "available_bytes", lambda _: module.DEVICE_SHARE * (2 * size - 1))
    numbers = visited(device)
    if device != CPU:
        assert copies[:3] == [25, 25, 10]
        assert copies.count(25) > 2
        assert copies.count(25) == copies.count(10) + 1  # the first one stays
    assert_near(numbers, visited(CPU))


def test_copies_are_given_up_before_a_batch_is_halved(device, copies, monkeypatch):
    loader = DataLoader(TensorDataset(X, Y), 25)
    objective = Objective(small_net(dtype=torch.float32), nn.CrossEntropyLoss(), loader, device=device)
    before, failed = objective.loss, []
    forward = objective.network.forward

    def once(x):
        if not failed:
            failed.append(len(x))
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(x)

    objective.network.forward = once
    if device == CPU:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert objective.evaluate(objective.point)[0] == pytest.approx(before, rel=1e-6)
    assert failed == [25]
    copies.clear()
    assert objective.evaluate(objective.point)[0] == pytest.approx(before, rel=1e-6)
    assert copies == [25, 25, 10]


def test_a_copy_that_does_not_fit_is_left_to_whoever_can_halve_the_batch(device, monkeypatch):
    move, failed = module.moved, []

    def once(batch, *place):
        if len(failed) < 2 and len(batch[1]) == 25:
            failed.append(25)
            raise torch.OutOfMemoryError("CUDA out of memory")
        return move(batch, *place)

    monkeypatch.setattr(module, "moved", once)
    assert_near(visited(device), visited(CPU))
    assert len(failed) == (0 if device == CPU else 2)
