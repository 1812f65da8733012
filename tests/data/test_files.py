"""Tensors in files, saved data sets and factories: what is read is what was written, and nothing runs."""

import pickle
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.utils.data import DataLoader, TensorDataset

from landscape.data import FixedBatches, as_data, load_data
from landscape.errors import InputError, UsageError

PICTURES = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)


@pytest.mark.parametrize("keys", [("train_inputs", "train_targets", "test_inputs", "test_targets"),
                                  ("x_train", "y_train", "x_test", "y_test")])  # fmt: skip
def test_arrays_of_both_splits_are_read(tmp_path, keys):
    x, y = np.linspace(0, 1, 15).reshape(5, 3), np.array([0, 1, 3, 1, 0])
    np.savez(tmp_path / "a.npz", **dict(zip(keys, (x, y, x[:2], y[:2]), strict=True)))
    data = load_data(f"npz:{tmp_path}/a.npz")
    assert (len(data.train), len(data.test), data.classes, data.input_shape) == (5, 2, 4, (3,))
    assert torch.equal(data.train.inputs, torch.from_numpy(x))
    assert load_data(f"npz:{tmp_path}/a.npz:classes=7").classes == 7


@pytest.mark.parametrize("layout", ["last", "first", "none"])
def test_pictures_of_eight_bits_are_brought_to_channels_first_and_normalised(tmp_path, layout):
    stored = {"last": PICTURES, "first": PICTURES.transpose(0, 3, 1, 2), "none": PICTURES[..., 0]}[layout]
    np.savez(tmp_path / "a.npz", x=stored, y=np.array([[0], [1]]))
    data = load_data(f"npz:{tmp_path}/a.npz:normalize=half")
    expected = torch.from_numpy(PICTURES).permute(0, 3, 1, 2).float() / 255 * 2 - 1
    expected = expected[:, :1] if layout == "none" else expected
    assert torch.allclose(torch.stack([x for x, _ in data.train]), expected, atol=1e-6)
    assert data.train.targets.tolist() == [0, 1]


def test_float_targets_stay_floats_and_have_no_classes(tmp_path):
    save_file({"inputs": torch.ones(4, 2), "targets": torch.rand(4, 3)}, tmp_path / "a.safetensors")
    data = load_data(f"safetensors:{tmp_path}/a.safetensors")
    assert (data.classes, data.test, data.train.targets.dtype) == (None, None, torch.float32)


class Command:
    def __reduce__(self):
        return exec, ("raise SystemExit('ran')",)


def test_files_that_cannot_be_used_are_told_in_one_line_and_run_nothing(tmp_path):
    file = tmp_path / "a.npz"
    np.savez(file, inputs=np.array([Command()], dtype=object), targets=np.zeros(1))
    with pytest.raises(InputError, match="cannot be read as npz"):
        load_data(f"npz:{file}")
    file.write_bytes(pickle.dumps(Command()))
    with pytest.raises(InputError, match="cannot be read as npz"):
        load_data(f"npz:{file}")
    np.savez(file, weights=np.zeros(3))
    with pytest.raises(InputError, match="holds weights; expected one of: train_inputs, train_targets"):
        load_data(f"npz:{file}")
    np.savez(file, x=np.zeros((3, 2)), y=np.zeros(4))
    with pytest.raises(InputError, match="3 inputs but 4 targets"):
        load_data(f"npz:{file}")
    np.savez(file, x=np.array([[np.nan]]), y=np.zeros(1))
    with pytest.raises(InputError, match="1 of 1 inputs hold NaN"):
        load_data(f"npz:{file}")
    with (
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("x.npy", "w") as entry,
    ):
        for _ in range(1100):
            entry.write(bytes(1 << 20))
    with pytest.raises(InputError, match="would unpack to 1 GiB"):
        load_data(f"npz:{file}")
    (tmp_path / "a.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match="cannot be read as safetensors"):
        load_data(f"safetensors:{tmp_path}/a.safetensors")


def test_a_saved_data_set_without_numbers_says_to_tokenise(tmp_path):
    import datasets

    datasets.Dataset.from_dict({"text": ["a", "b"]}).save_to_disk(tmp_path / "texts")
    with pytest.raises(InputError, match=r"only text \(Value\); tokenise first"):
        load_data(f"hf-datasets:{tmp_path}/texts")


SET = TensorDataset(torch.ones(6, 3), torch.tensor([0, 1, 2, 0, 1, 2]))


def collate(examples):
    return {"points": torch.stack([x for x, _ in examples])}


@pytest.mark.parametrize(
    "found",
    [
        SET,
        DataLoader(SET, batch_size=2, shuffle=True),
        (SET, SET),
        {"train": SET, "test": None},
        [(torch.ones(2, 3), torch.tensor([0, 2]))] * 3,
    ],
)
def test_whatever_a_factory_returns_becomes_data(found):
    data = as_data(found, "mine")
    assert (data.classes, data.input_shape, data.name) == (3, (3,), "mine")
    assert (data.test is not None) == isinstance(found, tuple)
    assert isinstance(data.train, FixedBatches) == isinstance(found, list)


def test_held_out_examples_alone_are_enough_for_their_split():
    data = as_data({"test": SET}, "mine")
    assert (data.train, len(data.split("test")), data.classes, data.input_shape) == (None, 6, 3, (3,))
    assert data.notes == ("inputs 3; 3 classes; splits test (6), as your code gives them",)
    with pytest.raises(InputError, match="mine has no training examples; measure on --split test"):
        data.split("train")


def test_a_loader_that_makes_batches_as_torch_does_has_no_way_of_its_own():
    assert as_data(DataLoader(SET, batch_size=2), "mine").collate is None


def test_files_and_folders_need_no_word_for_their_kind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("a.npz", x_train=np.zeros((4, 2)), y_train=np.arange(4), x_test=np.zeros((2, 2)), y_test=[0, 1])
    data = load_data("a.npz")
    assert (data.name, data.classes) == ("npz:a.npz", 4)
    assert data.notes == (
        "inputs 2; 4 classes, from the largest class number (classes=… changes it); "
        "train: x_train (4), test: x_test (2)",
    )
    (tmp_path / "moons").mkdir()
    assert load_data("moons:samples=20").notes[-1] == (
        "moons is the data set of that name, not the path in this folder, which is ./moons"
    )
    with pytest.raises(InputError, match=r"imagefolder: .*expected \./moons/train/CLASS"):
        load_data("./moons")
    with pytest.raises(InputError, match="there is no folder pictures/"):
        load_data("pictures/")
    with pytest.raises(UsageError, match="did you mean 'digits'"):
        load_data("digit")


def test_the_way_that_a_loader_makes_batches_is_kept():
    assert as_data(DataLoader(SET, collate_fn=collate), "mine").collate is collate


@pytest.mark.parametrize("found", [3, {"tests": SET}, [], None, {"train": 3}])
def test_what_is_no_data_is_refused(found):
    with pytest.raises(InputError, match="a data factory returns a Dataset"):
        as_data(found, "mine")


def test_an_unknown_form_lists_all():
    with pytest.raises(
        UsageError, match=r"imagefolder:DIR, text:FILE, npz:FILE, safetensors:FILE, hf-datasets:FOLDER"
    ):
        load_data("something")
