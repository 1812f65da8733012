"""What a checkpoint looks like is what it is, for the networks of the libraries that most checkpoints come from."""

import pytest
import torch
from torch import nn
from torchvision import models

from landscape.checkpoints.architectures import guess
from landscape.checkpoints.fitting import fit
from landscape.errors import InputError
from landscape.models import build_model

RESNETS = (
    "resnet18 resnet34 resnet50 resnet101 wide_resnet50_2 wide_resnet101_2 resnext50_32x4d resnext101_32x8d"
)
VGGS = "vgg11 vgg13_bn vgg16 vgg19_bn"


def built(name, **options):
    with torch.device("meta"):
        return models.get_model(name, weights=None, **options).state_dict()


@pytest.mark.parametrize("name", [*RESNETS.split(), "resnext101_64x4d", "resnet152", *VGGS.split()])
@pytest.mark.parametrize("prefix", ["", "module.", "model.net."])
def test_a_network_of_torchvision_is_recognised(name, prefix):
    state = {prefix + k: v for k, v in built(name, num_classes=7).items()}
    found = guess(state)
    assert (found.model, found.classes) == (f"torchvision:{name}:num_classes=7", 7)


@pytest.mark.parametrize(("name", "size"), [("vit_b_16", 64), ("vit_l_32", 64)])
def test_a_vision_transformer_of_torchvision_is_recognised(name, size):
    found = guess(built(name, num_classes=5, image_size=size))
    assert found.model == f"torchvision:{name}:image_size={size},num_classes=5"


@pytest.mark.parametrize(
    "name", ["vit_tiny_patch16_224", "vit_small_patch32_224", "vit_base_patch8_224", "vit_large_patch16_224"]
)
def test_a_vision_transformer_of_timm_is_recognised(name):
    import timm

    with torch.device("meta"):
        state = timm.create_model(name, img_size=96, num_classes=4).state_dict()
    assert guess(state).model == f"timm:{name}:img_size=96,num_classes=4"


@pytest.mark.parametrize(
    "name",
    [
        *(f"mlp:width=8,depth={depth}" for depth in (0, 1, 3)),
        *(f"mlp:width=8,depth=2,norm={norm}" for norm in ("batch", "layer")),
        "cnn:width=4",
        "resnet20",
        "resnet18",
    ],
)
def test_a_network_of_ours_is_recognised_and_the_suggestion_fits(name):
    state = build_model(name, classes=3, input_shape=(1, 8, 8), seed=0).state_dict()
    found = guess(state)
    assert found.classes == 3
    fit(build_model(found.model, classes=3, input_shape=(1, 8, 8), seed=1), state, source="m")


def test_a_resnet_for_small_pictures_is_described_not_named():
    state = built("resnet18", num_classes=10)
    state["conv1.weight"] = torch.empty(64, 3, 3, 3)
    assert guess(state).looks == "a ResNet-18 with a 3×3 stem with 10 classes"
    assert guess(state).model == "./FILE.py:FACTORY"


@pytest.mark.parametrize("state", [{}, {"w": torch.ones(2)}, {"conv1.weight": torch.ones(2)}])
def test_what_is_not_known_is_not_guessed(state):
    assert guess(state) is None


def test_odd_shapes_under_known_names_are_no_error():
    names = {n: torch.ones(1) for name in ("resnet18", "vgg11", "vit_b_16") for n in built(name)}
    guess(names)


def test_a_mismatch_suggests_what_it_looks_like():
    state = models.resnet18(num_classes=10).state_dict()
    with pytest.raises(
        InputError, match=r"looks like resnet18 with 10 classes: try -m torchvision:resnet18:num_cl"
    ):
        fit(nn.Linear(2, 2), state, source="m")


def test_another_number_of_classes_gives_the_command_to_try():
    state = models.resnet18(num_classes=10).state_dict()
    with pytest.raises(InputError, match=r"try -m torchvision:resnet18:num_classes=10$"):
        fit(models.resnet18(num_classes=7), state, source="m", name="torchvision:resnet18:num_classes=7")


def test_another_size_of_pictures_gives_the_command_to_try():
    small, large = (
        models.VisionTransformer(s, 8, 1, 2, 768, 16, num_classes=3).state_dict() for s in (16, 32)
    )
    model = models.VisionTransformer(16, 8, 1, 2, 768, 16, num_classes=3)
    fit(model, small, source="m")
    with pytest.raises(
        InputError, match=r"Only the positions differ: .* vit_b_8:image_size=32|image_size=32"
    ):
        fit(model, large, source="m")
