"""Pictures of the user's own: decoding, both ways of holding them, and folders that are not laid out."""

import numpy as np
import pytest
import torch
from PIL import Image

from landscape.data import imagefolder, load_data
from landscape.errors import InputError


@pytest.fixture
def pictures(tmp_path):
    for split, value in (("train", 200), ("val", 100)):
        for name in ("cat", "dog"):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for index in range(3):
                pixels = np.full((12, 18, 3), value, dtype=np.uint8)
                pixels[:, :3] = 0
                Image.fromarray(pixels).save(folder / f"{index}.png")
    return tmp_path


def test_pictures_are_cropped_at_the_centre_and_normalised(pictures):
    data = load_data(f"imagefolder:{pictures}:size=12")
    assert (len(data.train), len(data.test), data.classes, data.input_shape) == (6, 6, 2, (3, 12, 12))
    expected = (200 / 255 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    assert torch.allclose(data.train[0][0], expected.view(3, 1, 1).expand(3, 12, 12), atol=1e-5)


def test_lazy_and_held_pictures_are_the_same(pictures, monkeypatch):
    held = load_data(f"imagefolder:{pictures}:size=8")
    monkeypatch.setattr("landscape.data.imagefolder.IN_MEMORY_BYTES", 0)
    lazy = load_data(f"imagefolder:{pictures}:size=8")
    assert isinstance(lazy.train, imagefolder.ImageFiles)
    assert not isinstance(held.train, imagefolder.ImageFiles)
    for (x, y), (lazy_x, lazy_y) in zip(held.test, lazy.test, strict=True):
        assert torch.equal(x, lazy_x)
        assert torch.equal(y, lazy_y)


def test_grey_pictures_become_colour_pictures(pictures):
    Image.new("L", (12, 12), 7).save(pictures / "train" / "cat" / "grey.png")
    assert load_data(f"imagefolder:{pictures}:size=4").input_shape == (3, 4, 4)


@pytest.mark.parametrize("missing", ["train", "val"])
def test_a_folder_without_splits_is_told_the_layout(pictures, missing):
    (pictures / missing).rename(pictures / "elsewhere")
    with pytest.raises(InputError, match=r"expected .*train/CLASS/\* and .*test/CLASS/\*"):
        load_data(f"imagefolder:{pictures}")


def test_a_folder_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(InputError, match="no folder"):
        load_data(f"imagefolder:{tmp_path / 'nowhere'}")


def test_an_empty_class_is_an_input_error_of_one_line(pictures):
    (pictures / "train" / "bird").mkdir()
    with pytest.raises(InputError, match="bird") as caught:
        load_data(f"imagefolder:{pictures}")
    assert "\n" not in str(caught.value)


def test_splits_with_different_classes_are_refused(pictures):
    (pictures / "val" / "dog").rename(pictures / "val" / "wolf")
    with pytest.raises(InputError, match="differ in the classes dog, wolf"):
        load_data(f"imagefolder:{pictures}")


def test_a_damaged_picture_is_named(pictures):
    path = pictures / "train" / "dog" / "1.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(InputError, match=r"dog.1\.png cannot be read as a picture"):
        load_data(f"imagefolder:{pictures}:size=8")
