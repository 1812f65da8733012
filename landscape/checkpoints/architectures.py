"""A guess at the network of a checkpoint, from the names and shapes of its tensors; it is only ever suggested."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

Shapes = Mapping[str, tuple[int, ...]]
_WRAPPERS = re.compile(r"((module|_orig_mod|model|net|network|backbone)\.)+")
UNNAMED = "./FILE.py:FACTORY"
"""The placeholder for ``-m`` if the network is unknown."""


@dataclass(frozen=True)
class Guess:
    """What a checkpoint looks like in words, the argument of ``-m``, and the outputs of the last layer."""

    looks: str
    model: str
    classes: int | None = None


def guess(state: Mapping[str, Tensor]) -> Guess | None:
    """The network to which these parameters and buffers may belong, whatever prefix they have."""
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    starts = {".".join(name.split(".")[:depth]) + "." for name in shapes for depth in (1, 2, 3)}
    prefixes = ["", *sorted((start for start in starts if _WRAPPERS.fullmatch(start)), key=len)]
    for family in (_own, _resnet, _vgg, _timm_vit, _torchvision_vit):
        for prefix in prefixes:
            try:
                match = family({n.removeprefix(prefix): s for n, s in shapes.items() if n.startswith(prefix)})
            except (KeyError, IndexError, ValueError):  # lacks a name, or has other ranks, than this family
                continue
            if match is not None:
                return match
    return None


def factory_of(kind: str) -> str:
    """The argument of ``-m`` for a network of a class that was pickled, such as ``__main__.Net``."""
    module, _, name = kind.rpartition(".")
    # Classes of libraries take arguments; those of a script lie in a file that only the user knows.
    library = module.partition(".")[0] in ("torch", "torchvision", "timm", "transformers")
    return UNNAMED if library else f"./FILE.py:{name}"


def _numbers(shapes: Shapes, pattern: str) -> list[int]:
    """The different numbers that a pattern matches in the names, in order."""
    return sorted({int(match[1]) for name in shapes if (match := re.match(pattern, name))})


def _own(shapes: Shapes) -> Guess | None:
    """The networks of :mod:`landscape.models`."""
    if all(name.startswith("layers.") for name in shapes):
        layers = [s for n, s in shapes.items() if re.fullmatch(r"layers\.\d+\.weight", n) and len(s) == 2]
        batch = any("running_mean" in name for name in shapes)
        layer = any(len(s) == 1 for n, s in shapes.items() if n.endswith(".weight"))
        norm = ",norm=batch" if batch else ",norm=layer" if layer else ""
        width = f"width={layers[0][0]}," if len(layers) > 1 else ""
        classes = layers[-1][0]
        return Guess(f"mlp with {classes} classes", f"mlp:{width}depth={len(layers) - 1}{norm}", classes)
    classes = shapes["classifier.weight"][0]
    if {"features.0.weight", "features.2.weight", "features.4.weight"} <= set(shapes):
        return Guess(f"cnn with {classes} classes", f"cnn:width={shapes['features.0.weight'][0]}", classes)
    name = _own_residual(shapes, inputs_of_head=shapes["classifier.weight"][1])
    if name is None:
        return None
    return Guess(f"{name} (CIFAR stem) with {classes} classes", name, classes)


def _own_residual(shapes: Shapes, *, inputs_of_head: int) -> str | None:
    if "blocks.0.residual.1.weight" in shapes:
        depth = 2 * len(_numbers(shapes, r"blocks\.(\d+)\.")) + 2
        return f"pyramidnet:depth={depth},alpha={inputs_of_head - 16}"
    if "stages.0.0.residual.0.weight" not in shapes:
        return None
    blocks = len(_numbers(shapes, r"stages\.2\.(\d+)\."))
    if "stages.0.0.activation.0.weight" in shapes:
        return f"wrn:depth={6 * blocks + 4},width={inputs_of_head // 64}"
    if "stages.0.0.residual.6.weight" in shapes:
        return {6: "resnet50", 23: "resnet101"}[blocks]
    return "resnet18" if shapes["stem.0.weight"][0] == 64 else "resnet20"


# By blocks in each stage, and for bottlenecks the width of the first and the channels of a group of its convolution.
_RESNETS: dict[tuple[tuple[int, ...], int, int], str] = {
    ((2, 2, 2, 2), 0, 0): "resnet18",
    ((3, 4, 6, 3), 0, 0): "resnet34",
    ((3, 4, 6, 3), 64, 64): "resnet50",
    ((3, 4, 23, 3), 64, 64): "resnet101",
    ((3, 8, 36, 3), 64, 64): "resnet152",
    ((3, 4, 6, 3), 128, 128): "wide_resnet50_2",
    ((3, 4, 23, 3), 128, 128): "wide_resnet101_2",
    ((3, 4, 6, 3), 128, 4): "resnext50_32x4d",
    ((3, 4, 23, 3), 256, 8): "resnext101_32x8d",
    ((3, 4, 23, 3), 256, 4): "resnext101_64x4d",
}


def _resnet(shapes: Shapes) -> Guess | None:
    if "layer1.0.conv1.weight" not in shapes:
        return None
    _, channels, high, wide = shapes["conv1.weight"]
    blocks = tuple(
        len(_numbers(shapes, rf"layer{stage}\.(\d+)\.")) for stage in _numbers(shapes, r"layer(\d)\.")
    )
    bottleneck = "layer1.0.conv3.weight" in shapes
    width, group = (shapes[f"layer1.0.conv{k}.weight"][k - 1] for k in (1, 2)) if bottleneck else (0, 0)
    head = next((name for name in ("fc.weight", "linear.weight") if name in shapes), None)
    classes = shapes[head][0] if head else None
    ending = f" with {classes} classes" if head else ""
    name = _RESNETS.get((blocks, width, group))
    if (
        high != 7 or name is None or head != "fc.weight" or channels != 3
    ):  # torchvision's take colour pictures only
        depth = (3 if bottleneck else 2) * sum(blocks) + 2
        inputs = "" if channels == 3 else f" for {channels} channels"
        return Guess(f"a ResNet-{depth} with a {high}×{wide} stem{inputs}{ending}", UNNAMED, classes)
    return Guess(f"{name}{ending}", f"torchvision:{name}:num_classes={classes}", classes)


def _vgg(shapes: Shapes) -> Guess | None:
    convolutions = [s for n, s in shapes.items() if re.fullmatch(r"features\.\d+\.weight", n) and len(s) == 4]
    name = {8: "vgg11", 10: "vgg13", 13: "vgg16", 16: "vgg19"}[len(convolutions)]
    if convolutions[0][:2] != (64, 3):
        return None
    name += "_bn" if any("running_mean" in n for n in shapes) else ""
    classes = shapes["classifier.6.weight"][0]
    return Guess(f"{name} with {classes} classes", f"torchvision:{name}:num_classes={classes}", classes)


# The patches of vision transformers that have a name: of timm by their size, of torchvision by their width.
_PATCHES = {"tiny": (16,), "small": (8, 16, 32), "base": (8, 16, 32), "large": (14, 16, 32)}
_TORCHVISION_VITS = {(768, 16): "b", (768, 32): "b", (1024, 16): "l", (1024, 32): "l", (1280, 14): "h"}


def _timm_vit(shapes: Shapes) -> Guess | None:
    if not {"blocks.0.attn.qkv.weight", "cls_token"} <= set(shapes):
        return None
    width, _, patch, _ = shapes["patch_embed.proj.weight"]
    depth = len(_numbers(shapes, r"blocks\.(\d+)\."))
    side = patch * round((shapes["pos_embed"][1] - 1) ** 0.5)  # one position is that of the class token
    classes = shapes.get("head.weight", (0,))[0]
    details = (
        f"{depth} blocks of width {width}, patches of {patch}, pictures of {side}×{side}, {classes} classes"
    )
    sizes = {(192, 12): "tiny", (384, 12): "small", (768, 12): "base", (1024, 24): "large"}
    if (width, depth) not in sizes:
        return Guess(f"a timm vision transformer ({details})", UNNAMED, classes)
    size = sizes[width, depth]
    named = patch in _PATCHES[size]
    name = f"vit_{size}_patch{patch if named else 16}_224"
    options = f"{'' if named else f'patch_size={patch},'}img_size={side},num_classes={classes}"
    return Guess(f"{name} ({details})", f"timm:{name}:{options}", classes)


def _torchvision_vit(shapes: Shapes) -> Guess | None:
    width, _, patch, _ = shapes["conv_proj.weight"]
    side = patch * round((shapes["encoder.pos_embedding"][1] - 1) ** 0.5)
    classes = shapes["heads.head.weight"][0]
    depth = len(_numbers(shapes, r"encoder\.layers\.encoder_layer_(\d+)\."))
    letter = _TORCHVISION_VITS.get((width, patch))
    if letter is None or depth != {"b": 12, "l": 24, "h": 32}[letter]:
        details = f"{depth} blocks of width {width}, patches of {patch}, {classes} classes"
        return Guess(f"a torchvision vision transformer ({details})", UNNAMED, classes)
    name = f"vit_{letter}_{patch}"
    options = f"image_size={side},num_classes={classes}"
    return Guess(f"{name} with {classes} classes", f"torchvision:{name}:{options}", classes)
