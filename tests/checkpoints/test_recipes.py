"""What a recipe in a checkpoint may say, and what is refused; tests/cli/test_recipe_matrix.py has every command."""

import contextlib
from pathlib import Path

import pytest
import torch

from landscape.checkpoints.recipes import RecipeInFile, WithinMemory
from landscape.errors import InputError

ALLOWED = [
    ("model", "mlp:width=8,depth=1", "mlp:width=8,depth=1"),
    ("model", "resnet_18", None),
    ("model", "torchvision:ResNet18:num_classes=3", "torchvision:resnet18:num_classes=3"),
    (
        "model",
        "timm:vit_tiny_patch16_224:img_size=32,qkv_bias=false",
        "timm:vit_tiny_patch16_224:img_size=32,qkv_bias=False",
    ),
    ("model", "timm:vit_tiny_patch16_224:global_pool=avg", None),
    ("model", "timm:resnet18.a1_in1k", "timm:resnet18.a1_in1k"),
    ("data", "moons:noise=0.3", "moons:noise=0.3"),
    ("data", "fashion_mnist:root=/data", "fashion-mnist:root=/data"),
    ("data", "cifar10:root=/data,download=true", "cifar10:root=/data"),
    ("data", "imagefolder:my/pictures:size=32", "imagefolder:my/pictures:size=32,normalize=imagenet"),
    ("data", "imagefolder:my/pictures:normalize=half", "imagefolder:my/pictures:normalize=half"),
    ("loss", "mse", "mse"),
    ("loss", "./own.py:loss", None),
    ("task", "./own.py:task", None),
    ("data", "npz:a.npz", "npz:a.npz"),
    ("data", "hf-datasets:folder", None),
    ("data", "moons:noise=much", None),
    ("data", 3, None),
    ("data", "npz:" + "a" * 4092, "npz:" + "a" * 4092),
    ("data", "npz:" + "a" * 4093, None),
    ("model", "timm:resnet18:depth=99999999999", None),
    ("model", "", None),
]
"""A field, what a file says, and what is made of it; ``None`` where only the user may say it."""


@pytest.mark.parametrize(("kind", "text", "expected"), ALLOWED)
def test_a_file_may_name_rows_of_tables_and_of_libraries(
    kind: str, text: object, expected: str | None
) -> None:
    recipe = RecipeInFile(Path("m.pt"), {"model": "mlp", "data": "digits", "loss": None, kind: text})
    if expected is None:
        with pytest.raises(InputError, match=r"the recipe in m\.pt") as caught:
            recipe.named(kind)
        assert "\n" not in str(caught.value)
        assert list(recipe.refused()) == [kind]
        assert recipe.flags() == [
            {"model": "-m MODEL", "data": "-d DATA", "loss": "--loss LOSS", "task": "--task TASK"}[kind]
        ]
    else:
        assert str(recipe.named(kind)) == expected
        assert recipe.refused() == {}
        assert recipe.flags() == []


@pytest.mark.parametrize(
    "value", ["sgd:momentum=0.9,weight_decay=5e-4", "gsam:rho=0.05,alpha=0.4", "adamw", "sam-on:only=a-b"]
)
def test_optimizers_are_names_with_plain_options(value: str) -> None:
    recipe = RecipeInFile(Path("m.pt"), {"model": "mlp", "data": "digits", "optimizer": value, "base": value})
    assert str(recipe.named("model")) == "mlp"


@pytest.mark.parametrize(
    "value", ["./x.py:f", "os:system:x=y", "a b", "sgd:lr=x/y", "sgd:=1:", 3, ["sgd"], ""]
)
def test_an_optimizer_that_is_no_such_name_is_refused_until_model_and_data_are_given(value: object) -> None:
    recipe = RecipeInFile(Path("m.pt"), {"model": "mlp", "data": "digits", "optimizer": value})
    with pytest.raises(InputError, match="for its optimizer"):
        recipe.named("data")
    assert recipe.refused() == {"optimizer": value}
    assert recipe.flags() == ["-m MODEL", "-d DATA"]


def test_a_trusted_file_may_name_code_but_no_download() -> None:
    recipe = RecipeInFile(Path("m.pt"), {"model": "./x.py:f", "data": "cifar10:download=true"}, trust=True)
    assert str(recipe.named("model")) == "./x.py:f"
    assert str(recipe.named("data")) == "cifar10"


@pytest.mark.parametrize("value", ["0.1", True, None, [0.1], float("nan"), float("inf"), 10**400])
def test_a_number_is_a_number(value: object) -> None:
    assert RecipeInFile(Path("m.pt"), {}).number("label_noise") == 0
    assert RecipeInFile(Path("m.pt"), {"label_noise": 1}).number("label_noise") == 1
    with pytest.raises(InputError, match="which is not a finite number"):
        RecipeInFile(Path("m.pt"), {"label_noise": value}).number("label_noise")


def test_a_number_that_python_does_not_write_is_told() -> None:
    with pytest.raises(InputError, match=r"has label_noise=10\^30 and more"):
        RecipeInFile(Path("m.pt"), {"label_noise": 10**5000}).number("label_noise")


def test_a_network_may_take_the_bytes_of_its_weights_in_double_precision_and_no_more() -> None:
    for stored, size, admitted in [(2**28, 1.5, True), (2**28, 3.5, False), (2**30, 9.5, False)]:
        with contextlib.ExitStack() as stack:
            if not admitted:
                stack.enter_context(pytest.raises(InputError, match="would take more than"))
            stack.enter_context(WithinMemory(Path("m.pt"), "mlp", stored=stored))
            torch.empty([int(size * 2**30)], dtype=torch.uint8)  # reserved, and never written to
    with WithinMemory(Path("m.pt"), "mlp", stored=1):
        assert torch.zeros([3], dtype=torch.float64).dtype == torch.float64
