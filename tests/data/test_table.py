"""The contract of the data table: every row, with files generated in the layout that torchvision reads."""

import pickle
import struct

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from landscape.data import DATA, Data, data_name, load_data
from landscape.errors import InputError, UsageError

TRAIN, TEST = 40, 20


def write_mnist(root, folder, train=TRAIN, test=TEST):
    raw = root / folder / "raw"
    raw.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for split, count in (("train", train), ("t10k", test)):
        pixels = generator.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        (raw / f"{split}-images-idx3-ubyte").write_bytes(
            struct.pack(">IIII", 0x803, count, 28, 28) + pixels.tobytes()
        )
        (raw / f"{split}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 0x801, count) + labels.tobytes())


def write_cifar(root, folder, batches, classes):
    (root / folder).mkdir(parents=True)
    generator = np.random.default_rng(0)
    for name, count in batches.items():
        entry = {
            "data": generator.integers(0, 256, (count, 3072), dtype=np.uint8),
            "labels" if classes == 10 else "fine_labels": [i % classes for i in range(count)],
        }
        (root / folder / name).write_bytes(pickle.dumps(entry))
    key, meta = ("label_names", "batches.meta") if classes == 10 else ("fine_label_names", "meta")
    (root / folder / meta).write_bytes(pickle.dumps({key: [f"class {i}" for i in range(classes)]}))


def write_pictures(root, splits=("train", "test"), classes=("cat", "dog"), count=4):
    generator = np.random.default_rng(0)
    for split in splits:
        for name in classes:
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = generator.integers(0, 256, (20, 30, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{index}.png")


@pytest.fixture
def files(tmp_path, monkeypatch):
    """The specification of every row, by name, over files made for the test."""
    import torchvision.datasets.cifar

    monkeypatch.setattr(torchvision.datasets.cifar, "check_integrity", lambda path, md5=None: True)
    write_mnist(tmp_path, "MNIST")
    write_mnist(tmp_path, "FashionMNIST")
    parts = {f"data_batch_{i}": TRAIN // 5 for i in range(1, 6)}
    write_cifar(tmp_path, "cifar-10-batches-py", {**parts, "test_batch": TEST}, 10)
    write_cifar(tmp_path, "cifar-100-python", {"train": TRAIN, "test": TEST}, 100)
    write_pictures(tmp_path / "pictures")
    return {
        "digits": "digits",
        "moons": "moons:samples=100",
        "text": "text:length=16,limit=1000",
        "imagefolder": f"imagefolder:{tmp_path / 'pictures'}:size=16",
        **{name: f"{name}:root={tmp_path}" for name in ("mnist", "fashion-mnist", "cifar10", "cifar100")},
    }


@pytest.mark.parametrize("name", list(DATA))
def test_every_row_gives_two_splits_of_the_shape_it_declares(name, files):
    data = load_data(files[name])
    assert isinstance(data, Data)
    for split in (data.train, data.test):
        inputs, targets = next(iter(DataLoader(split, batch_size=8)))
        assert inputs.shape == (len(targets), *data.input_shape)
        assert targets.dtype == torch.int64
        if data.classes is None:
            assert name == "text"
            continue
        assert inputs.dtype == torch.float32
        assert 0 <= int(targets.min()) <= int(targets.max()) < data.classes


@pytest.mark.parametrize("name", list(DATA))
def test_the_name_of_a_data_set_loads_the_same_data_again(name, files):
    data = load_data(files[name])
    again = load_data(data.name)
    assert again.name == data.name
    for split in ("train", "test"):
        for (x, y), (again_x, again_y) in zip(getattr(data, split), getattr(again, split), strict=True):
            assert torch.equal(x, again_x)
            assert torch.equal(y, again_y)


@pytest.mark.parametrize("name", list(DATA))
def test_one_example_is_a_row_of_a_batch(name, files):
    data = load_data(files[name])
    batch = data.train.__getitems__([3, 1])
    assert torch.equal(batch[1][0], data.train[1][0])
    assert torch.equal(batch[0][1], data.train[3][1])


@pytest.mark.parametrize("name", list(DATA))
def test_loading_leaves_the_global_random_state_as_it_was(name, files):
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    load_data(files[name])
    assert torch.equal(torch.get_rng_state(), before)
    assert (np.random.get_state()[1] == numpy_before).all()


def test_a_name_leaves_out_defaults_and_the_wish_to_download():
    assert data_name("moons:noise=0.30,samples=2000") == "moons"
    assert data_name("moons:noise=0.20") == "moons:noise=0.2"
    assert data_name("cifar10:download=true,root=data") == "cifar10"
    assert data_name("fashion_mnist:root=x,download=yes") == "fashion-mnist:root=x"


@pytest.mark.parametrize(
    ("specification", "expected"),
    [
        ("digitz", "did you mean 'digits'"),
        ("moons:noize=1", "did you mean 'noise'"),
        ("moons:samples=many", "samples=many is not a whole number"),
        ("moons:noise=nan", "noise=nan must be a finite number"),
        ("moons:noise=-1", "noise=-1"),
        ("moons:samples=3", "samples=3"),
        ("moons:samples=5000001", "samples=5000001 is more than 5,000,000"),
        ("moons:seed=-1", "seed=-1"),
        ("imagefolder", "needs root"),
        ("imagefolder:somewhere:size=0", "size=0"),
    ],
)
def test_what_cannot_be_asked_for_is_a_usage_error_of_one_line(specification, expected):
    with pytest.raises(UsageError, match=expected) as caught:
        load_data(specification)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "cifar10", "cifar100"])
def test_missing_files_are_not_fetched_but_the_way_to_fetch_them_is_told(name, tmp_path, capsys):
    with pytest.raises(InputError, match="download=true") as caught:
        load_data(f"{name}:root={tmp_path}")
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not any(tmp_path.iterdir())
    assert capsys.readouterr().out == ""


def test_a_truncated_file_is_named_as_damaged(tmp_path):
    write_mnist(tmp_path, "MNIST")
    images = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte"
    images.write_bytes(images.read_bytes()[:1000])
    with pytest.raises(InputError, match="missing or damaged"):
        load_data(f"mnist:root={tmp_path}")


def test_a_missing_file_in_an_existing_folder_is_an_input_error(tmp_path):
    write_mnist(tmp_path, "MNIST")
    (tmp_path / "MNIST" / "raw" / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(InputError, match="download=true"):
        load_data(f"mnist:root={tmp_path}")


def test_changed_cifar_files_are_refused_before_they_are_unpickled(tmp_path):
    write_cifar(tmp_path, "cifar-100-python", {"train": TRAIN, "test": TEST}, 100)
    with pytest.raises(InputError, match="missing or damaged"):
        load_data(f"cifar100:root={tmp_path}")


def test_an_empty_data_set_is_an_input_error(tmp_path):
    write_mnist(tmp_path, "MNIST", train=0)
    with pytest.raises(InputError, match=r"empty|damaged"):
        load_data(f"mnist:root={tmp_path}")


def test_labels_that_do_not_fit_the_images_are_an_input_error(tmp_path):
    write_mnist(tmp_path, "MNIST")
    labels = np.arange(7, dtype=np.uint8)
    path = tmp_path / "MNIST" / "raw" / "train-labels-idx1-ubyte"
    path.write_bytes(struct.pack(">II", 0x801, 7) + labels.tobytes())
    with pytest.raises(InputError, match="40 inputs but 7 targets"):
        load_data(f"mnist:root={tmp_path}")
