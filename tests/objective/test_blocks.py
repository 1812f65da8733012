"""The natural blocks of networks that people use, by name."""

import pytest
import torch
import torchvision
from torch import nn
from torch.nn.utils import parametrizations

from landscape.models.cifar_resnet import resnet20
from landscape.objective.blocks import natural_blocks, parameters_by_block


def _transformer(family: str) -> nn.Module:
    transformers = pytest.importorskip("transformers")
    small = {"vocab_size": 11, "bos_token_id": 1, "eos_token_id": 2}
    if family == "gpt2":
        config = transformers.GPT2Config(n_layer=2, n_embd=8, n_head=2, **small)
    else:
        sizes = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 2}
        config = transformers.LlamaConfig(num_hidden_layers=2, **sizes, **small)
    network: nn.Module = transformers.AutoModelForCausalLM.from_config(config)
    return network


NETWORKS = {
    "gpt2": (lambda: _transformer("gpt2"), ["transformer.h.0", "transformer.h.1"]),
    "llama": (lambda: _transformer("llama"), ["model.layers.0", "model.layers.1"]),
    "resnet18": (torchvision.models.resnet18, [f"layer{i}.{j}" for i in (1, 2, 3, 4) for j in (0, 1)]),
    "resnet20": (resnet20, [f"stages.{i}.{j}" for i in range(3) for j in range(3)]),
    "vit": (
        lambda: torchvision.models.VisionTransformer(8, 4, 2, 2, 8, 16),
        ["encoder.layers.encoder_layer_0", "encoder.layers.encoder_layer_1"],
    ),
    "encoder": (
        lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 8, batch_first=True), 2),
        ["layers.0", "layers.1"],
    ),
    "mlp": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)), ["1", "3"]),
    "parts": (
        lambda: nn.ModuleDict({"embedding": nn.Embedding(4, 4), "rnn": nn.LSTM(4, 4)}),
        ["embedding", "rnn"],
    ),
    "single layer": (lambda: nn.Linear(2, 2), [""]),
    # What computes a weight is a part of its layer and no block.
    "weight norm": (
        lambda: nn.Sequential(parametrizations.weight_norm(nn.Linear(2, 2)), nn.Linear(2, 2)),
        ["0", "1"],
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_blocks_have_the_names_that_their_networks_give_them(name: str) -> None:
    build, names = NETWORKS[name]
    with torch.device("meta"):
        network = build()
    assert list(natural_blocks(network)) == names


class Stage(nn.Module):
    """A stage of blocks with a layer besides, as in timm's networks."""

    def __init__(self) -> None:
        super().__init__()
        self.downsample = nn.Linear(2, 2)
        self.blocks = nn.Sequential(*(nn.Sequential(nn.Linear(2, 2), nn.ReLU()) for _ in range(2)))


def test_stages_are_entered() -> None:
    network = nn.Sequential(Stage(), Stage())
    assert list(natural_blocks(network)) == ["0.blocks.0", "0.blocks.1", "1.blocks.0", "1.blocks.1"]


@pytest.mark.parametrize("name", NETWORKS)
def test_every_parameter_is_in_one_group(name: str) -> None:
    with torch.device("meta"):
        network = NETWORKS[name][0]()
    names = [name for name, _ in network.named_parameters()]
    groups = parameters_by_block(network, names)
    assert sorted(names) == sorted(member for members in groups.values() for member in members)
    assert groups.keys() >= natural_blocks(network).keys()


def test_parameters_outside_the_blocks_are_grouped_by_their_module() -> None:
    with torch.device("meta"):
        network = resnet20()
    groups = parameters_by_block(network, [name for name, _ in network.named_parameters()])
    assert list(groups)[:3] == ["stem.0", "stem.1", "stages.0.0"]
    assert groups["stem.1"] == ("stem.1.weight", "stem.1.bias")
