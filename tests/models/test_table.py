"""The contract of the model table, and the parameter counts that the papers print."""

import sys

import pytest
import torch

from landscape.errors import InputError, UsageError
from landscape.models import MODELS, build_model
from landscape.models.torchvision_models import torchvision_model

TOKENS = ("decoder",)  # tested in test_decoder.py
LARGE = ("resnet50", "resnet101", "wrn28-10", "pyramidnet110")
SMALLER = {"wrn": "wrn:depth=10,width=2", "pyramidnet": "pyramidnet:depth=14,alpha=20"}
NAMES = [
    *(SMALLER.get(name, name) for name in MODELS if name not in (*TOKENS, *LARGE)),
    *(pytest.param(name, marks=pytest.mark.thorough) for name in LARGE),
    "torchvision:resnet18",
    "torchvision:mobilenet_v3_small",
    "torchvision:googlenet",
]
IMAGE = (3, 32, 32)


def parameters(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_every_row_returns_a_row_of_class_scores_in_both_modes(name):
    model = build_model(name, classes=7, input_shape=IMAGE, seed=0)
    assert model.training
    inputs = torch.randn(2, *IMAGE, generator=torch.Generator().manual_seed(0))
    assert model(inputs).shape == (2, 7)
    assert model.eval()(inputs).shape == (2, 7)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_weights_and_another_gives_others(name):
    first, again, other = (build_model(name, classes=7, input_shape=IMAGE, seed=s) for s in (3, 3, 4))
    same = [torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True)]
    changed = [not torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True)]
    assert all(same)
    assert any(changed)


@pytest.mark.parametrize("seed", [None, 0])
@pytest.mark.parametrize("name", ["mlp", "resnet20", "torchvision:resnet18"])
def test_building_leaves_the_global_random_state_as_it_was(name, seed):
    before = torch.get_rng_state()
    build_model(name, classes=7, input_shape=IMAGE, seed=seed)
    assert torch.equal(torch.get_rng_state(), before)


def test_without_a_seed_the_global_random_state_decides():
    torch.manual_seed(1)
    first = build_model("mlp", classes=2, input_shape=(2,))
    torch.manual_seed(2)
    second = build_model("mlp", classes=2, input_shape=(2,))
    assert not torch.equal(next(first.parameters()), next(second.parameters()))


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("resnet20", 272_474),
        ("resnet18", 11_173_962),
        ("resnet50", 23_520_842),
        ("resnet101", 42_512_970),
        ("wrn28-10", 36_479_194),
        ("wrn:depth=16,width=10", 17_116_634),
        ("wrn:depth=22,width=8", 17_158_106),
        ("wrn:depth=40,width=2", 2_243_546),
        ("pyramidnet110", 28_485_477),
        ("pyramidnet110:alpha=84", 3_904_446),
        ("pyramidnet110:alpha=48", 1_772_706),
        ("torchvision:resnet18", 11_181_642),
        ("mlp:depth=0", 3072 * 10 + 10),
        ("mlp:width=5,depth=3", 3072 * 5 + 5 + 2 * (5 * 5 + 5) + 5 * 10 + 10),
        ("cnn:width=4", 3 * 4 * 9 + 4 + 4 * 8 * 9 + 8 + 8 * 16 * 9 + 16 + 16 * 10 + 10),
    ],
)
def test_parameter_counts_are_the_published_or_the_computed_ones(name, count):
    assert parameters(build_model(name, classes=10, input_shape=IMAGE, values=False)) == count


@pytest.mark.parametrize(
    ("name", "depth"),
    [
        ("resnet18", 18),
        ("resnet20", 20),
        ("resnet50", 50),
        ("resnet101", 101),
        ("pyramidnet110", 110),
        ("wrn28-10", 28),
    ],
)
def test_the_residual_network_has_the_depth_in_its_name(name, depth):
    """Layers on the longest path; the paper on wide networks counts the shortcuts' convolutions as well."""
    layers = [
        module
        for key, module in build_model(name, values=False).named_modules()
        if isinstance(module, torch.nn.Linear | torch.nn.Conv2d) and "shortcut" not in key
    ]
    assert len(layers) - (name == "wrn28-10") == depth


@pytest.mark.parametrize(
    "name",
    [
        "resnet50",
        "pyramidnet110",
        *(pytest.param(name, marks=pytest.mark.thorough) for name in ("resnet101", "wrn28-10")),
    ],
)
def test_one_step_of_training_changes_every_parameter_and_lowers_the_loss(name):
    model = build_model(name, classes=3, input_shape=(3, 16, 16), seed=0)
    inputs = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    before = [parameter.detach().clone() for parameter in model.parameters()]
    optimizer, losses = torch.optim.SGD(model.parameters(), lr=1e-4), []
    for _ in range(2):
        loss = torch.nn.functional.cross_entropy(model(inputs), torch.tensor([0, 1, 2, 0]))
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[1] < losses[0]
    assert not any(map(torch.equal, before, model.parameters()))


def test_a_wide_network_is_its_formula():
    """Two stages written out: activation first, and a projection of the activated inputs where channels change."""
    model = build_model("wrn:depth=10,width=1", classes=3, input_shape=(2, 7, 7), seed=0).double().eval()
    inputs = torch.randn(2, 2, 7, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    state, hidden = model.state_dict(), torch.nn.functional.conv2d(inputs, model.stem.weight, padding=1)

    def normalised(values, name):
        parts = [state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return torch.nn.functional.batch_norm(values, *parts).relu()

    for stage, stride in enumerate((1, 2, 2)):
        name = f"stages.{stage}.0"
        active = normalised(hidden, f"{name}.activation.0")
        first, second = (state[f"{name}.residual.{k}.weight"] for k in (0, 3))
        inner = torch.nn.functional.conv2d(active, first, stride=stride, padding=1)
        outer = torch.nn.functional.conv2d(normalised(inner, f"{name}.residual.1"), second, padding=1)
        if stage:
            hidden = torch.nn.functional.conv2d(active, state[f"{name}.projection.weight"], stride=stride)
        hidden = hidden + outer
    scores = model.classifier(normalised(hidden, "activation.0").mean((2, 3)))
    torch.testing.assert_close(model(inputs), scores)


def test_the_shortcut_of_a_pyramid_is_its_inputs_beside_zeros():
    """With the last normalisation of each block at zero, what is left are means over 2×2 pixels, and zeros."""
    model = build_model("pyramidnet:depth=14,alpha=20", classes=3, input_shape=(3, 8, 8), seed=0).eval()
    assert [block.residual[1].out_channels for block in model.blocks] == [19, 23, 26, 29, 33, 36]
    for block in model.blocks:
        torch.nn.init.zeros_(block.residual[5].weight)
    inputs = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    entry = model.stem(inputs)
    left = model.blocks(entry)
    torch.testing.assert_close(left[:, :16], torch.nn.functional.avg_pool2d(entry, 4))
    assert not left[:, 16:].any()


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
def test_the_perceptron_is_the_formula_it_claims(activation):
    model = build_model(f"mlp:width=4,depth=1,activation={activation}", classes=3, input_shape=(2, 3), seed=0)
    first, second = (m for m in model.modules() if isinstance(m, torch.nn.Linear))
    inputs = torch.randn(5, 2, 3, generator=torch.Generator().manual_seed(0))
    function = {"relu": torch.relu, "tanh": torch.tanh, "gelu": torch.nn.functional.gelu}[activation]
    hidden = function(inputs.flatten(1) @ first.weight.T + first.bias)
    assert torch.allclose(model(inputs), hidden @ second.weight.T + second.bias, atol=1e-6)


def test_options_of_torchvision_reach_its_builder():
    model = build_model("torchvision:mobilenet_v3_small:dropout=0.37,num_classes=12")
    assert any(isinstance(m, torch.nn.Dropout) and m.p == 0.37 for m in model.modules())
    assert model(torch.zeros(2, *IMAGE)).shape == (2, 12)


def test_a_vision_transformer_takes_the_size_of_the_data():
    model = build_model("torchvision:vit-b-32", classes=4, input_shape=(3, 64, 64))
    assert model.image_size == 64


@pytest.mark.parametrize(
    ("specification", "expected"),
    [
        ("resnet21", "did you mean 'resnet20'"),
        ("torchvision:resnet81", "did you mean 'torchvision:resnet18'"),
        ("vgg16", "did you mean 'torchvision:vgg16'"),
        ("mlp:widht=3", "did you mean 'width'"),
        ("mlp:width=0", "width=0"),
        ("mlp:depth=-1", "depth=-1"),
        ("mlp:depth=10001", "depth=10001 is more than 10,000"),
        ("mlp:activation=sine", "one of relu, tanh, gelu"),
        ("cnn:width=0", "width=0"),
        ("wrn:depth=27", "depth=27 must be 6n"),
        ("wrn:depth=4", "depth=4 must be"),
        ("wrn:width=0", "width=0 must be from 1"),
        ("pyramidnet:depth=111", "depth=111 must be 6n"),
        ("pyramidnet110:alpha=0", "alpha=0 must be from 1"),
        ("wrn28-10:width=3", "no option 'width'"),
        ("mlp:classes=3", "no option 'classes'"),
        ("torchvision:resnet18:num_clases=3", "did you mean 'num_classes'"),
        ("torchvision:resnext50_32x4d:groups=3", "cannot be built with groups=3"),
    ],
)
def test_what_cannot_be_asked_for_is_a_usage_error_of_one_line(specification, expected):
    with pytest.raises(UsageError, match=expected) as caught:
        build_model(specification)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("specification", "shape", "expected"),
    [
        ("cnn", (2,), "cnn takes pictures"),
        ("resnet20", (2,), "use mlp"),
        ("torchvision:resnet18", (1, 28, 28), "takes colour pictures"),
        ("torchvision:alexnet", (3, 32, 32), "does not take inputs of shape"),
        ("torchvision:resnet18:num_classes=3", (3, 32, 32), "3 outputs, but the data have 10 classes"),
    ],
)
def test_a_network_that_does_not_fit_the_data_is_an_input_error_of_one_line(specification, shape, expected):
    with pytest.raises(InputError, match=expected) as caught:
        build_model(specification, classes=10, input_shape=shape)
    assert "\n" not in str(caught.value)


SCRIPT = """
from torch import nn
class Block(nn.Module):
    def __init__(self, width): super().__init__()
class Net(nn.Module):
    def __init__(self, classes=2, width=3):
        super().__init__()
        self.linear = nn.Linear(width, classes)
def evaluate(model, loader): pass
def main(): raise SystemExit("trained")
"""
ALONE = {
    "a script": (SCRIPT, "Net"),
    "a function that takes classes": (
        SCRIPT.replace("classes=2, ", "classes, ") + "def small(num_classes=2): return Net(num_classes)",
        None,
    ),
    "an annotation": (
        "from torch import nn\ndef helper(): pass\ndef build() -> nn.Module: return nn.Linear(2, 2)",
        "build",
    ),
    "the only function": ("from torch import nn\ndef build(): return nn.Linear(2, 2)", "build"),
}


@pytest.mark.parametrize("case", ALONE)
def test_a_file_alone_names_its_network(tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    text, expected = ALONE[case]
    (tmp_path / "train.py").write_text(text)
    if expected is None:
        with pytest.raises(UsageError, match=r"name one: ./train.py:Net, ./train.py:small"):
            MODELS.parse("./train.py")
    else:
        assert str(MODELS.parse("./train.py")) == f"./train.py:{expected}"
        assert isinstance(build_model("./train.py", classes=5), torch.nn.Module)


def test_a_network_that_a_file_has_made_is_copied(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "made.py").write_text("from torch import nn\nnet = nn.Linear(3, 2)\n")
    first, second = build_model("./made.py:net", classes=2), build_model("./made.py:net")
    assert torch.equal(first.weight, second.weight)
    assert first.weight.data_ptr() != second.weight.data_ptr()


def test_a_file_of_the_users_own_does_not_import_torchvision(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)  # its import takes seconds, and fails here
    assert [torchvision_model(name) for name in ("./net.py", "nets/net.py:Net", "my.nets:Net")] == [None] * 3
