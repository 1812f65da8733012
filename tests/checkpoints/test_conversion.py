"""Any checkpoint to safetensors: the same weights bit for bit, whole or not at all, ours still ours."""

import pytest
import safetensors
import safetensors.torch
import torch
from byte_edits import byte_edits
from torch import nn

from landscape.checkpoints import convert, load_checkpoint, read_checkpoint
from landscape.checkpoints.opening import SUM, content_sum
from landscape.errors import InputError, UsageError
from landscape.training import Recipe, train


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_the_weights_are_the_same_bit_for_bit(tmp_path, net, dtype):
    state = {k: v.to(dtype) if v.is_floating_point() else v for k, v in net.state.items()}
    torch.save({"model": state}, tmp_path / "m.pt")
    before = (tmp_path / "m.pt").read_bytes()
    convert(tmp_path / "m.pt", tmp_path / "sub" / "m.safetensors")
    written = safetensors.torch.load_file(tmp_path / "sub" / "m.safetensors")
    assert written.keys() == state.keys()
    assert all(torch.equal(written[k], v) and written[k].dtype == v.dtype for k, v in state.items())
    assert (tmp_path / "m.pt").read_bytes() == before
    assert [path.name for path in (tmp_path / "sub").iterdir()] == ["m.safetensors"]


def test_weights_that_share_memory_or_are_strided_are_written_once_each(tmp_path):
    shared = torch.arange(12.0).reshape(3, 4)
    state = {"a": shared, "b": shared, "c": shared.T, "d": shared[1:], "e": torch.ones(1).expand(5)}
    torch.save(state, tmp_path / "m.pt")
    convert(tmp_path / "m.pt", tmp_path / "m.safetensors")
    written = safetensors.torch.load_file(tmp_path / "m.safetensors")
    assert all(torch.equal(written[k], v) for k, v in state.items())


def test_a_run_of_ours_still_needs_no_other_argument(tmp_path):
    recipe = Recipe(model="mlp:width=4,depth=1", data="moons:samples=60", epochs=1, device="cpu")
    run = train(recipe, output=tmp_path / "run")
    convert(run.checkpoint, tmp_path / "m.safetensors")
    ours, theirs = load_checkpoint(run.checkpoint), load_checkpoint(tmp_path / "m.safetensors")
    assert theirs.contents.recipe == ours.contents.recipe
    assert theirs.objective().loss == ours.objective().loss


@pytest.mark.parametrize("trust", [False, True])
def test_a_whole_network_becomes_safe(tmp_path, net, trust):
    torch.save(net.model, tmp_path / "m.pt")
    convert(tmp_path / "m.pt", tmp_path / "m.safetensors", trust=trust)
    state = read_checkpoint(tmp_path / "m.safetensors").state
    assert all(torch.equal(state[k], v) for k, v in net.state.items())


def test_a_file_that_would_run_code_can_be_trusted_once(tmp_path, net):
    torch.save({"state_dict": net.state, "clock": torch.nn.Identity}, tmp_path / "m.pt")
    with pytest.raises(
        InputError, match=r"landscape convert .*m\.pt weights\.safetensors --trust-checkpoint"
    ):
        convert(tmp_path / "m.pt", tmp_path / "m.safetensors")
    assert not (tmp_path / "m.safetensors").exists()
    convert(tmp_path / "m.pt", tmp_path / "m.safetensors", trust=True)
    state = read_checkpoint(tmp_path / "m.safetensors").state
    assert all(torch.equal(state[k], v) for k, v in net.state.items())


def test_the_average_can_be_taken(tmp_path, net):
    content = {"state_dict": net.state, "state_dict_ema": {k: v + 1 for k, v in net.state.items()}}
    torch.save(content, tmp_path / "m.pt")
    convert(tmp_path / "m.pt", tmp_path / "m.safetensors", weights="ema")
    state = read_checkpoint(tmp_path / "m.safetensors").state
    assert torch.equal(state["0.bias"], net.state["0.bias"] + 1)


def test_nothing_is_written_over_unasked(tmp_path, net):
    torch.save(net.state, tmp_path / "m.pt")
    safetensors.torch.save_file({"w": torch.ones(1)}, tmp_path / "m.safetensors")
    before = (tmp_path / "m.safetensors").read_bytes()
    with pytest.raises(UsageError, match="exists; name another file"):
        convert(tmp_path / "m.pt", tmp_path / "m.safetensors")
    with pytest.raises(UsageError, match=r"end it in \.safetensors"):
        convert(tmp_path / "m.pt", tmp_path / "m.bin")
    with pytest.raises(UsageError, match="is the checkpoint itself"):
        convert(tmp_path / "m.safetensors", tmp_path / "m.safetensors", overwrite=True)
    assert (tmp_path / "m.safetensors").read_bytes() == before
    convert(tmp_path / "m.pt", tmp_path / "m.safetensors", overwrite=True)
    assert len(read_checkpoint(tmp_path / "m.safetensors").state) == 9


def test_a_failure_while_writing_leaves_what_was_there(tmp_path, net, monkeypatch):
    def fail(tensors, path, metadata):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    torch.save(net.state, tmp_path / "m.pt")
    (tmp_path / "m.safetensors").write_bytes(b"mine")
    monkeypatch.setattr(safetensors.torch, "save_file", fail)
    with pytest.raises(OSError, match="No space left"):
        convert(tmp_path / "m.pt", tmp_path / "m.safetensors", overwrite=True)
    assert (tmp_path / "m.safetensors").read_bytes() == b"mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.pt", "m.safetensors"]


def test_a_network_of_torch_in_a_dictionary_is_found(tmp_path):
    torch.save({"net": nn.Linear(2, 2), "epoch": 1}, tmp_path / "m.pt")
    assert convert(tmp_path / "m.pt", tmp_path / "m.safetensors", trust=True).key == "net"


def test_byte_edits_of_what_was_converted_are_noticed_or_change_no_weight(tmp_path, net):
    """The format has no sums; ours is in the header."""
    torch.save(net.state, tmp_path / "m.pt")
    convert(tmp_path / "m.pt", tmp_path / "good.safetensors")
    path, noticed = tmp_path / "edited.safetensors", 0
    for content in byte_edits((tmp_path / "good.safetensors").read_bytes()):
        path.write_bytes(content)
        try:
            state = read_checkpoint(path).state
        except InputError:
            noticed += 1
        else:
            assert state.keys() == net.state.keys()
            assert all(torch.equal(state[name], tensor) for name, tensor in net.state.items())
    print("noticed", noticed)
    assert noticed > 0


@pytest.mark.parametrize(
    "dtype", [torch.bool, torch.int64, torch.complex64, torch.float8_e4m3fn, torch.bfloat16]
)
def test_the_sum_covers_types_shapes_values_and_the_recipe(dtype):
    def total(tensor, recipe="a"):
        return content_sum({"w": tensor}, {"landscape.recipe": recipe, SUM: "whatever it says"})

    bits = torch.arange(16, dtype=torch.uint8) % 2
    tensor = bits.view(dtype).reshape(2, -1) if dtype != torch.int64 else bits.to(dtype).reshape(2, -1)
    changed = tensor.clone()
    changed.view(torch.uint8)[0, 0] ^= 1
    sums = [total(tensor), total(changed), total(tensor.T), total(tensor, recipe="b"), total(tensor[:0])]
    assert len(set(sums)) == 5
    assert total(tensor.T.contiguous().T) == total(tensor)
    assert total(tensor[0, 0]) == total(tensor[0, 0].clone())


def test_one_tensor_under_three_names_is_written_three_times(tmp_path):
    tied = torch.arange(6.0).reshape(2, 3)
    torch.save({"a": tied, "b": tied, "c": tied}, tmp_path / "m.pt")
    convert(tmp_path / "m.pt", tmp_path / "m.safetensors")
    state = read_checkpoint(tmp_path / "m.safetensors").state
    assert all(torch.equal(state[name], tied) for name in "abc")
