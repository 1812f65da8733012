"""What a checkpoint looks like is what it is, for the networks of the libraries that most checkpoints come from."""

import pytest
import timm
import torch
from torch import nn
from torchvision import models

from landscape.checkpoints.architectures import UNNAMED, Guess, guess
from landscape.checkpoints.fitting import fit
from landscape.errors import InputError
from landscape.models import MODELS, build_model

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
    MODELS.parse(found.model)  # raises for an option that does not exist


@pytest.mark.parametrize(("name", "size"), [("vit_b_16", 64), ("vit_l_32", 64)])
def test_a_vision_transformer_of_torchvision_is_recognised(name, size):
    found = guess(built(name, num_classes=5, image_size=size))
    assert found.model == f"torchvision:{name}:image_size={size},num_classes=5"


@pytest.mark.parametrize(
    "name", ["vit_tiny_patch16_224", "vit_small_patch32_224", "vit_base_patch8_224", "vit_large_patch16_224"]
)
def test_a_vision_transformer_of_timm_is_recognised(name):
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
        "wrn:depth=16,width=2",
        "pyramidnet:depth=20,alpha=30",
    ],
)
def test_a_network_of_ours_is_recognised_and_the_suggestion_fits(name):
    state = build_model(name, classes=3, input_shape=(1, 8, 8), seed=0).state_dict()
    found = guess(state)
    assert found.classes == 3
    fit(build_model(found.model, classes=3, input_shape=(1, 8, 8), seed=1), state, source="m")


@pytest.mark.parametrize("name", ["resnet50", "resnet101"])
def test_a_deep_network_of_ours_is_recognised(name):
    assert guess(build_model(name, classes=3, values=False).state_dict()).model == name


def test_a_resnet_for_small_pictures_is_described_not_named():
    state = built("resnet18", num_classes=10)
    state["conv1.weight"] = torch.empty(64, 3, 3, 3)
    assert guess(state).looks == "a ResNet-18 with a 3×3 stem with 10 classes"
    assert guess(state).model == "./FILE.py:FACTORY"


def shaped(**shapes):
    return {name.replace("__", "."): torch.empty(shape, device="meta") for name, shape in shapes.items()}


def timm_vit(width, depth, patch, classes):
    blocks = {f"blocks__{block}__attn__qkv__weight": (3 * width, width) for block in range(depth)}
    ends = {"cls_token": (1, 1, width), "pos_embed": (1, 17, width)} | {"head__weight": (classes, width)}
    return shaped(patch_embed__proj__weight=(width, 3, patch, patch), **blocks, **ends)


def torchvision_vit(width, depth, patch, classes):
    layers = {f"encoder__layers__encoder_layer_{k}__ln_1__weight": (width,) for k in range(depth)}
    ends = {"encoder__pos_embedding": (1, 17, width), "heads__head__weight": (classes, width)}
    return shaped(conv_proj__weight=(width, 3, patch, patch), **layers, **ends)


def one_channel(name):
    state = built(name)
    first = next(key for key, tensor in state.items() if tensor.ndim == 4)
    return state | {first: state[first][:, :1]}


SIZES = ((192, 12), (384, 12), (768, 12), (1024, 24), (1280, 32), (100, 7))
GUESSED = {
    **{f"{name} of grey pictures": lambda name=name: one_channel(name) for name in ("resnet18", "vgg11")},
    **{
        f"{kind.__name__} {size} {patch}": lambda kind=kind, size=size, patch=patch: kind(*size, patch, 5)
        for kind in (timm_vit, torchvision_vit)
        for size in SIZES
        for patch in (4, 8, 14, 16, 32)
    },
}


@pytest.mark.parametrize("kind", list(GUESSED))
def test_every_suggestion_is_a_network_with_these_options(kind):
    match = guess(GUESSED[kind]()) or Guess("nothing", UNNAMED)
    if match.model != UNNAMED:
        MODELS.parse(match.model)  # raises for a name or an option that does not exist
        assert MODELS.admitted(match.model) is not None
        name, _, options = match.model.partition(":")[2].partition(":")
        assert set(options.replace("=", ",").split(",")[::2]) <= {
            "num_classes",
            "image_size",
            "img_size",
            "patch_size",
        }
        assert (
            name in timm.list_models()
            if match.model.startswith("timm:")
            else name in models.list_models(models)
        )
    # What exists is suggested: the sizes with a name, of three channels.
    assert (match.model == UNNAMED) == (
        "grey" in kind
        or "(100, 7)" in kind
        or ("timm" in kind and "(1280, 32)" in kind)
        or (kind.startswith("torchvision_vit") and kind.partition(" ")[2] not in TORCHVISION)
    )


TORCHVISION = ["(768, 12) 16", "(768, 12) 32", "(1024, 24) 16", "(1024, 24) 32", "(1280, 32) 14"]


def test_a_patch_without_a_name_is_an_option_that_fits():
    options = {"img_size": 16, "patch_size": 4, "num_classes": 2}
    with torch.device("meta"):
        state = timm.create_model("vit_tiny_patch16_224", **options).state_dict()
        name = guess(state).model
        assert name == "timm:vit_tiny_patch16_224:patch_size=4,img_size=16,num_classes=2"
        again = MODELS.build(name).state_dict()
    assert {key: tensor.shape for key, tensor in again.items()} == {key: t.shape for key, t in state.items()}


@pytest.mark.parametrize(
    ("name", "way_out"),
    [
        ("timm:resnet18", "try -m timm:resnet18:num_classes=4"),
        ("hf:bert", "try -m hf:bert:num_labels=4"),
        ("./net.py:Net", "name the data it was trained on"),
        ("torchvision:vit_b_16:image_size=32", "name the data it was trained on"),
    ],
)
def test_the_number_of_classes_is_an_option_that_the_network_has(name, way_out):
    with pytest.raises(InputError, match=f"the checkpoint has 4 classes; {way_out}"):
        fit(nn.Linear(2, 3), nn.Linear(2, 4).state_dict(), source="m", name=name)


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
        InputError, match=r"Only the positions differ: .*; try that size, with img_size=… or image_size=…"
    ):
        fit(model, large, source="m")


def of_one_patch(kind, *sizes):
    """A transformer for pictures of a single patch, and so with two positions: one is that of the class."""
    state = kind(*sizes)
    positions = next(key for key in state if "pos_embed" in key)
    return state | {positions: torch.empty(1, 2, sizes[0], device="meta")}


def small_stem(name):
    return built(name, num_classes=10) | {"conv1.weight": torch.empty(64, 3, 3, 3, device="meta")}


def without(state, name):
    return {key: tensor for key, tensor in state.items() if key != name}


@pytest.mark.parametrize(
    ("state", "model", "looks"),
    [
        (of_one_patch(timm_vit, 192, 12, 16, 5), "timm:vit_tiny_patch16_224:img_size=16,num_classes=5", "16×16"),
        (of_one_patch(torchvision_vit, 768, 12, 16, 5), "torchvision:vit_b_16:image_size=16,num_classes=5", ""),
        (timm_vit(1024, 24, 14, 5), "timm:vit_large_patch14_224:img_size=56,num_classes=5", "patches of 14"),
        (without(timm_vit(384, 12, 16, 5), "head.weight"), "timm:vit_small_patch16_224:img_size=64,num_classes=0", ""),
        (timm_vit(100, 7, 16, 5), UNNAMED, "a timm vision transformer (7 blocks of width 100"),
        (timm_vit(192, 12, 4, 5), "timm:vit_tiny_patch16_224:patch_size=4,img_size=16,num_classes=5", "patches of 4"),
        (small_stem("resnet50"), UNNAMED, "a ResNet-50 with a 3×3 stem with 10 classes"),
        (shaped(layers__1__weight=(3, 8)), "mlp:depth=0", "mlp with 3 classes"),
    ],
)  # fmt: skip
def test_sizes_are_read_from_the_shapes(state, model, looks):
    match = guess(state)
    assert match.model == model
    assert looks in match.looks


def test_three_wrappers_are_looked_under():
    state = built("resnet18", num_classes=7)
    assert guess({f"module.model.net.{name}": tensor for name, tensor in state.items()}) == guess(state)
