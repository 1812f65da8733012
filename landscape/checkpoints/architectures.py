"""A guess which network a checkpoint belongs to, from the names and shapes of its tensors; only ever suggested."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Guess:
    """What a checkpoint looks like.

    Attributes:
        looks: In words, such as ``resnet18 with 10 classes``.
        model: What to type after ``-m``.
        classes: Outputs of its last layer, where that is known.
    """

    looks: str
    model: str
    classes: int | None = None


def guess(state: Mapping[str, Tensor]) -> Guess | None:
    """The network that these tensors may belong to, or ``None``.

    Args:
        state: Parameters and buffers by name, whatever prefix they have.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    for family in (_own_mlp, _own_cnn, _own_resnet, _resnet, _vgg, _timm_vit, _torchvision_vit, _transformer):
        for prefix in _prefixes(shapes):
            inside = {name.removeprefix(prefix): s for name, s in shapes.items() if name.startswith(prefix)}
            try:
                found = family(inside)
            except (IndexError, ValueError):  # of another rank or size than this family has
                found = None
            if found is not None:
                return found
    return None


def _prefixes(shapes: Shapes) -> list[str]:
    """Nothing, and the beginnings of names up to three dots deep, the shortest first."""
    starts = {".".join(name.split(".")[:depth]) + "." for name in shapes for depth in (1, 2, 3)}
    return ["", *sorted((start for start in starts if _WRAPPERS.fullmatch(start)), key=len)]


_WRAPPERS = re.compile(r"((module|_orig_mod|model|net|network|backbone)\.)+")


def _numbers(shapes: Shapes, pattern: str) -> list[int]:
    """The different numbers that a pattern finds in the names, in order."""
    return sorted({int(match[1]) for name in shapes if (match := re.match(pattern, name))})


def _own_mlp(shapes: Shapes) -> Guess | None:
    layers = [s for n, s in shapes.items() if re.fullmatch(r"layers\.\d+\.weight", n) and len(s) == 2]
    if not layers or not all(name.startswith("layers.") for name in shapes):
        return None
    norm = ",norm=batch" if any("running_mean" in name for name in shapes) else ""
    if not norm and any(len(s) == 1 for n, s in shapes.items() if n.endswith(".weight")):
        norm = ",norm=layer"
    width = f"width={layers[0][0]}," if len(layers) > 1 else ""
    classes = layers[-1][0]
    return Guess(f"mlp with {classes} classes", f"mlp:{width}depth={len(layers) - 1}{norm}", classes)


def _own_cnn(shapes: Shapes) -> Guess | None:
    if {"features.0.weight", "features.2.weight", "features.4.weight", "classifier.weight"} <= set(shapes):
        classes = shapes["classifier.weight"][0]
        return Guess(f"cnn with {classes} classes", f"cnn:width={shapes['features.0.weight'][0]}", classes)
    return None


def _own_resnet(shapes: Shapes) -> Guess | None:
    if "stem.0.weight" not in shapes or "stages.0.0.residual.0.weight" not in shapes:
        return None
    classes = shapes["classifier.weight"][0]
    name = "resnet18" if shapes["stem.0.weight"][0] == 64 else "resnet20"
    return Guess(f"{name} (CIFAR stem) with {classes} classes", name, classes)


_RESNETS: dict[tuple[str, tuple[int, ...]], str] = {
    ("basic", (2, 2, 2, 2)): "resnet18",
    ("basic", (3, 4, 6, 3)): "resnet34",
    ("bottleneck", (3, 4, 6, 3)): "resnet50",
    ("bottleneck", (3, 4, 23, 3)): "resnet101",
    ("bottleneck", (3, 8, 36, 3)): "resnet152",
}
_WIDER = {
    ("resnet50", 128, 64): "wide_resnet50_2",
    ("resnet101", 128, 64): "wide_resnet101_2",
    ("resnet50", 128, 4): "resnext50_32x4d",
    ("resnet101", 256, 8): "resnext101_32x8d",
    ("resnet101", 256, 4): "resnext101_64x4d",
}


def _resnet(shapes: Shapes) -> Guess | None:
    if "layer1.0.conv1.weight" not in shapes or "conv1.weight" not in shapes:
        return None
    head = next((name for name in ("fc.weight", "linear.weight") if name in shapes), None)
    classes = shapes[head][0] if head else None
    having = f" with {classes} classes" if head else ""
    stages = range(1, 1 + max(_numbers(shapes, r"layer(\d)\.")))
    blocks = tuple(len(_numbers(shapes, rf"layer{stage}\.(\d+)\.")) for stage in stages)
    kind = "bottleneck" if "layer1.0.conv3.weight" in shapes else "basic"
    name = _RESNETS.get((kind, blocks))
    if shapes["conv1.weight"][2] != 7 or name is None or head != "fc.weight":
        layers = (2 if kind == "basic" else 3) * sum(blocks) + 2
        looks = (
            f"a ResNet-{layers} with a {shapes['conv1.weight'][2]}×{shapes['conv1.weight'][3]} stem{having}"
        )
        return Guess(looks, "./FILE.py:FACTORY", classes)
    if kind == "bottleneck":
        width, group = shapes["layer1.0.conv1.weight"][0], shapes["layer1.0.conv2.weight"][1]
        if (width, group) != (64, 64):
            name = _WIDER.get((name, width, group if group != width else 64), name)
    return Guess(f"{name}{having}", f"torchvision:{name}:num_classes={classes}", classes)


_VGG_LAYERS = {8: "vgg11", 10: "vgg13", 13: "vgg16", 16: "vgg19"}


def _vgg(shapes: Shapes) -> Guess | None:
    convolutions = [s for n, s in shapes.items() if re.fullmatch(r"features\.\d+\.weight", n) and len(s) == 4]
    name = _VGG_LAYERS.get(len(convolutions))
    if name is None or convolutions[0][0] != 64 or "classifier.6.weight" not in shapes:
        return None
    name += "_bn" if any("running_mean" in n for n in shapes) else ""
    classes = shapes["classifier.6.weight"][0]
    return Guess(f"{name} with {classes} classes", f"torchvision:{name}:num_classes={classes}", classes)


_VIT_WIDTHS = {192: "tiny", 384: "small", 768: "base", 1024: "large"}


def _timm_vit(shapes: Shapes) -> Guess | None:
    if not {"patch_embed.proj.weight", "pos_embed", "blocks.0.attn.qkv.weight", "cls_token"} <= set(shapes):
        return None
    width, _, patch, _ = shapes["patch_embed.proj.weight"]
    depth = len(_numbers(shapes, r"blocks\.(\d+)\."))
    side = patch * round((shapes["pos_embed"][1] - 1) ** 0.5)
    classes = shapes.get("head.weight", (0,))[0]
    size = _VIT_WIDTHS.get(width)
    having = (
        f"{depth} blocks of width {width}, patches of {patch}, pictures of {side}×{side}, {classes} classes"
    )
    if size is None or depth != (24 if size == "large" else 12) or patch not in (8, 14, 16, 32):
        return Guess(f"a timm vision transformer ({having})", "./FILE.py:FACTORY", classes)
    name = f"vit_{size}_patch{patch}_224"
    return Guess(f"{name} ({having})", f"timm:{name}:img_size={side},num_classes={classes}", classes)


def _torchvision_vit(shapes: Shapes) -> Guess | None:
    if not {"conv_proj.weight", "encoder.pos_embedding", "heads.head.weight"} <= set(shapes):
        return None
    width, _, patch, _ = shapes["conv_proj.weight"]
    side = patch * round((shapes["encoder.pos_embedding"][1] - 1) ** 0.5)
    classes = shapes["heads.head.weight"][0]
    letter = {768: "b", 1024: "l", 1280: "h"}.get(width)
    if letter is None:
        return None
    options = f"image_size={side},num_classes={classes}"
    name = f"vit_{letter}_{patch}"
    return Guess(f"{name} with {classes} classes", f"torchvision:{name}:{options}", classes)


_TRANSFORMERS = {
    r"((bert|roberta|electra|deberta|distilbert|camembert)\.)?embeddings\.word_embeddings\.weight": "BERT's family",
    r"(transformer\.)?wte\.weight": "GPT-2's family",
    r"(model\.)?embed_tokens\.weight": "Llama's family",
    r"(vit|deit|dinov2)\.embeddings\.cls_token": "vision transformers",
    r"(encoder\.)?block\.0\.layer\.0\.SelfAttention\.q\.weight": "T5's family",
}


def _transformer(shapes: Shapes) -> Guess | None:
    for pattern, family in _TRANSFORMERS.items():
        if any(re.fullmatch(pattern, name) for name in shapes):
            return Guess(f"a Hugging Face network of {family}", "hf:FOLDER")
    return None
