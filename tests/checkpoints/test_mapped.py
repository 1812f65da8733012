"""Weights that stay in the file: the network is built without values and its parameters are parts of the file."""

import threading

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from landscape.checkpoints import load_checkpoint
from landscape.checkpoints.fitting import fit
from landscape.errors import UsageError
from landscape.isolation.weightless import without_values
from landscape.models import build_model

IMAGES = (torch.zeros(3, 3, 8, 8), torch.tensor([0, 1, 2]))


class Tied(nn.Module):
    """One tensor in two layers, a buffer that no file holds, and a parameter that is registered twice."""

    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(7, 4), nn.Linear(4, 7, bias=False)
        self.head.weight = self.embedding.weight
        scale = nn.Parameter(torch.ones(4))
        self.first, self.second = nn.LayerNorm(4), nn.LayerNorm(4)
        self.first.weight = self.second.weight = scale
        self.register_buffer("angles", torch.arange(4.0), persistent=False)

    def forward(self, tokens):
        return self.head(self.second(self.first(self.embedding(tokens) + self.angles)))


@pytest.mark.parametrize("name", ["mlp:width=8", "resnet20", "torchvision:resnet18:num_classes=3"])
def test_the_weights_are_those_of_a_copy_and_lie_in_the_file(tmp_path, name):
    save_file(
        build_model(name, classes=3, input_shape=(3, 8, 8), seed=1).state_dict(), tmp_path / "w.safetensors"
    )
    copied, mapped = (
        load_checkpoint(tmp_path / "w.safetensors", model=name, data=[IMAGES], mapped=mapped)
        for mapped in (False, True)
    )
    expected = copied.model.state_dict()
    for key, tensor in mapped.model.state_dict(keep_vars=True).items():
        assert torch.equal(tensor, expected[key])
        if isinstance(tensor, nn.Parameter):
            assert tensor.data_ptr() == mapped.contents.state[key].data_ptr()
    assert mapped.objective().loss == copied.objective().loss


def test_tied_weights_stay_one_and_buffers_keep_their_values():
    whole = Tied()
    with without_values():
        empty = Tied()
    assert {p.device.type for p in empty.parameters()} == {"meta"}
    assert torch.equal(empty.angles, whole.angles)
    fit(empty, {k: v for k, v in whole.state_dict().items() if k != "head.weight"}, source="here", copy=False)
    assert empty.head.weight is empty.embedding.weight
    assert empty.first.weight is empty.second.weight
    tokens = torch.tensor([[1, 2, 3]])
    assert torch.equal(empty(tokens), whole(tokens))


def test_other_threads_get_values_meanwhile():
    layers = []
    with without_values():
        thread = threading.Thread(target=lambda: layers.append(nn.Linear(2, 2)))
        thread.start()
        thread.join()
    assert layers[0].weight.device.type == "cpu"
    assert nn.Linear(2, 2).weight.device.type == "cpu"


def test_an_adapter_is_refused(tmp_path):
    save_file(
        {"base_model.model.head.lora_A.weight": torch.ones(1, 2)}, tmp_path / "adapter_model.safetensors"
    )
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 1, "lora_alpha": 1}')
    with pytest.raises(UsageError, match="whose base is loaded whole: leave out --shard-weights"):
        load_checkpoint(
            tmp_path, model=nn.Linear(2, 2), data=[(torch.zeros(1, 2), torch.tensor([0]))], mapped=True
        )
