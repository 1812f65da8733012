"""Pictures of the user's own: decoding, both ways of holding them, and folders that are not laid out."""

import os

import numpy as np
import pytest
import torch
from PIL import Image

from landscape.data import imagefolder, load_data
from landscape.errors import InputError, UsageError


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
    data = load_data(f"imagefolder:{pictures}:size=12,normalize=imagenet")
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


def test_held_out_pictures_alone_are_enough_for_their_split(pictures):
    (pictures / "train").rename(pictures.parent / f"{pictures.name}-elsewhere")
    data = load_data(f"imagefolder:{pictures}:size=8")
    assert (len(data.split("test")), data.classes, data.train) == (6, 2, None)
    with pytest.raises(InputError, match="no training examples; measure on --split test"):
        data.split("train")


def test_a_folder_without_pictures_is_told_the_layout(tmp_path):
    with pytest.raises(InputError, match=r"expected .*train/CLASS/\* and .*test/CLASS/\*"):
        load_data(f"imagefolder:{tmp_path}")


def test_what_is_assumed_about_pictures_is_noted_and_the_name_states_the_normalisation(pictures):
    data = load_data(f"{pictures}/")
    assert data.name == f"imagefolder:{pictures}:normalize=none"
    shape, scaled, pixels = data.notes
    assert shape == f"inputs 3×224×224; 2 classes; train: {pictures}/train (6), test: {pictures}/val (6)"
    assert "the shorter side is scaled to 224 (bilinear), then the centre is cropped" in scaled
    assert pixels.startswith("pixels from 0 to 1, not normalised; ")
    assert "add normalize=imagenet (torchvision, most of timm)" in pixels
    assert float(data.train[0][0].max()) == pytest.approx(200 / 255)
    typed = load_data(f"imagefolder:{pictures}:size=8,normalize=0.5+0.4+0.3/0.2")
    assert "normalised by mean 0.5 0.4 0.3, std 0.2; normalize=… changes it" in typed.notes[2]
    assert typed.train[0][0][:, 4, 4].tolist() == pytest.approx(
        [(200 / 255 - m) / 0.2 for m in (0.5, 0.4, 0.3)]
    )


@pytest.mark.parametrize("text", ["imagenett", "0.5", "0.5/0", "0.5/nan", "a/b", "0.1+0.2/0.3", "1/2/3"])
def test_a_normalisation_is_a_name_or_two_lists_of_numbers(pictures, text):
    with pytest.raises(UsageError, match=r"normalize=.* is (neither one of .*MEAN/STD|for 2 channels)"):
        load_data(f"imagefolder:{pictures}:size=8,normalize={text}")


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


def test_a_folder_with_training_pictures_alone_has_no_held_out_ones(pictures):
    (pictures / "val").rename(pictures.parent / f"{pictures.name}-elsewhere")
    whole = load_data(f"imagefolder:{pictures}:size=8")
    bare = load_data(f"imagefolder:{pictures / 'train'}:size=8")
    assert (len(whole.train), whole.classes, len(bare.train), bare.classes) == (6, 2, 6, 2)
    for data in (whole, bare):
        with pytest.raises(InputError, match="no held-out examples; measure on --split train"):
            data.split("test")


@pytest.mark.parametrize(("size", "expected"), [((20, 20), 20), ((12, 18), 224), ((300, 300), 224)])
def test_small_squares_of_one_size_stay_as_they_are(tmp_path, size, expected):
    for name in ("cat", "dog"):
        (tmp_path / "train" / name).mkdir(parents=True)
        Image.new("RGB", size, (9, 99, 199)).save(tmp_path / "train" / name / "0.png")
    assert load_data(f"imagefolder:{tmp_path}").input_shape == (3, expected, expected)


@pytest.mark.parametrize(
    ("name", "mean", "std"),
    [("half", [0.5] * 3, [0.5] * 3), ("none", [0.0] * 3, [1.0] * 3), ("cifar10-per-image", None, None)],
)
def test_pictures_are_normalised_as_the_network_was_trained(pictures, name, mean, std):
    mean = mean or [0.4914, 0.4822, 0.4465]
    std = std or [0.2023, 0.1994, 0.2010]
    image = load_data(f"imagefolder:{pictures}:size=12,normalize={name}").train[0][0]
    assert image[:, 6, 6].tolist() == pytest.approx(
        [(200 / 255 - m) / s for m, s in zip(mean, std, strict=True)]
    )


def test_pictures_are_scaled_before_they_are_cropped(pictures):
    from torchvision.transforms import v2

    data = load_data(f"imagefolder:{pictures}:size=8,resize=10,interpolation=bicubic,normalize=none")
    with Image.open(pictures / "train" / "cat" / "0.png") as picture:
        scaled = v2.functional.resize(picture, [10], v2.InterpolationMode.BICUBIC)
        expected = v2.functional.pil_to_tensor(v2.functional.center_crop(scaled, [8, 8])) / 255
    assert torch.allclose(data.train[0][0], expected, atol=1e-6)
    with pytest.raises(UsageError, match="resize=4 is less than size=8"):
        load_data(f"imagefolder:{pictures}:size=8,resize=4")


def test_a_picture_is_what_its_suffix_says_and_no_program_is_started_for_another(pictures, monkeypatch):
    def started(*arguments, **options):
        raise AssertionError("Ghostscript was started")

    monkeypatch.setattr("PIL.EpsImagePlugin.has_ghostscript", started)
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", started)
    Image.new("RGB", (12, 12)).save(pictures / "train" / "cat" / "0.png", "EPS")
    with pytest.raises(InputError, match=r"0\.png cannot be read as a picture"):
        load_data(f"imagefolder:{pictures}:size=8")


def test_a_pipe_among_the_pictures_is_refused_and_not_waited_for(pictures):
    (pictures / "train" / "cat" / "0.png").unlink()
    os.mkfifo(pictures / "train" / "cat" / "0.png")
    for options in ("", ":size=8"):
        with pytest.raises(InputError, match="it is not a regular file"):
            load_data(f"imagefolder:{pictures}{options}")


@pytest.mark.parametrize("name", ["size", "resize"])
def test_a_picture_has_a_largest_side(pictures, name):
    with pytest.raises(UsageError, match=f"{name}=4097 must be from 1 to 4096 pixels"):
        load_data(f"imagefolder:{pictures}:{name}=4097")


def test_a_folder_that_leads_upwards_ends(pictures):
    (pictures / "train" / "cat" / "more").symlink_to(pictures / "train", target_is_directory=True)
    (pictures / "train" / "dog" / "more").symlink_to(pictures / "train", target_is_directory=True)
    with pytest.raises(InputError, match="or a link that leads upwards"):
        load_data(f"imagefolder:{pictures}")


def test_as_many_folders_as_allowed(pictures, monkeypatch):
    deep = pictures / "train" / "cat" / "a" / "b"
    deep.mkdir(parents=True)
    for name, most in (("DEEPEST", 3), ("MOST_FOLDERS", 4)):
        with monkeypatch.context() as patch:
            patch.setattr(imagefolder, name, most)
            assert len(load_data(f"imagefolder:{pictures}").train) == 6
            patch.setattr(imagefolder, name, most - 1)
            with pytest.raises(InputError, match="folders"):
                load_data(f"imagefolder:{pictures}")


@pytest.mark.parametrize("as_file", [True, False])
def test_pictures_of_some_classes_have_the_numbers_of_all(pictures, tmp_path, as_file):
    everything = tmp_path.parent / f"{tmp_path.name}-classes"
    if as_file:
        everything.write_text("ant\n\nbee \ncat\ndog\neel\n")
    else:
        for name in ("eel", "bee", "dog", "ant", "cat"):
            (everything / name).mkdir(parents=True)
    (pictures / "val" / "dog").rename(pictures / "val" / "eel")  # splits may have different ones
    data = load_data(f"imagefolder:{pictures}:size=8,classes_of={everything}")
    assert (data.classes, data.train.targets.tolist(), data.test.targets.tolist()) == (
        5,
        [2, 2, 2, 3, 3, 3],
        [2, 2, 2, 4, 4, 4],
    )
    assert f"classes_of={everything}" in data.name


def test_a_class_that_is_not_among_all_is_named(pictures, tmp_path):
    names = tmp_path / "names.txt"
    for text, message in {
        "cat\nemu\n": "dog are not among the classes of",
        "cat\ndog\ncat\n": "names a class twice",
        "\n": "names no class",
    }.items():
        names.write_text(text)
        with pytest.raises(InputError, match=message):
            load_data(f"imagefolder:{pictures}:classes_of={names}")
    with pytest.raises(InputError, match="nowhere"):
        load_data(f"imagefolder:{pictures}:classes_of=nowhere")
