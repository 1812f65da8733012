"""Checkpoints as they are found: every wrapping is opened, every damage is one clear error, and no code runs."""

import builtins
import contextlib
import errno
import json
import os
import pickle
import subprocess
import warnings
from collections import OrderedDict

import pytest
import safetensors.torch
import torch
from torch import nn

from landscape.checkpoints import FORMAT, read_checkpoint
from landscape.checkpoints.weights import NESTED
from landscape.errors import InputError
from landscape.records.storage import sha256


def same(state, expected):
    return list(state) == list(expected) and all(torch.equal(state[k], expected[k]) for k in expected)


def save(content, path, **options):
    torch.save(content, path, **options)
    return path


def test_a_bare_state_dict_is_found(tmp_path, net):
    contents = read_checkpoint(save(net.model.state_dict(), tmp_path / "model.pt"))
    assert same(contents.state, net.state)
    assert contents.recipe is None
    assert contents.sha256 == sha256(tmp_path / "model.pt")


def test_the_format_of_torch_before_1_6_is_read(tmp_path, net):
    path = save(net.model.state_dict(), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert same(read_checkpoint(path).state, net.state)


@pytest.mark.parametrize("key", NESTED)
def test_a_state_dict_is_found_under_every_usual_key(tmp_path, net, key):
    content = {"epoch": 3, "best": 0.5, "note": "x", "optimizer": {"state": {}}, key: net.state}
    contents = read_checkpoint(save(content, tmp_path / "model.ckpt"))
    assert same(contents.state, net.state)
    assert contents.extra == {"epoch": 3, "best": 0.5, "note": "x"}


def test_the_most_explicit_key_wins(tmp_path, net):
    other = {k: v + 1 for k, v in net.state.items()}
    assert same(
        read_checkpoint(save({"last": other, "state_dict": net.state}, tmp_path / "m")).state, net.state
    )


@pytest.mark.parametrize("name", ["model.safetensors", "model.pt", "noname"])
def test_safetensors_are_found_by_content(tmp_path, net, name):
    safetensors.torch.save_file(net.state, tmp_path / name)
    contents = read_checkpoint(tmp_path / name)
    assert contents.state.keys() == net.state.keys()
    assert all(torch.equal(contents.state[k], v) for k, v in net.state.items())


def test_a_run_folder_stands_for_its_checkpoint(tmp_path, net):
    recipe = {"model": "mlp", "data": "moons"}
    save({"format": FORMAT, "state_dict": net.state, "recipe": recipe}, tmp_path / "checkpoint.pt")
    contents = read_checkpoint(tmp_path)
    assert contents.path == tmp_path / "checkpoint.pt"
    assert contents.recipe == recipe


MARK = "LANDSCAPE_TEST_CODE_RAN"


class Reduced:
    """Pickles to a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Built:
    """Pickles to a call with state set afterwards."""

    def __reduce__(self):
        return builtins.eval, (f"__import__('os').environ.setdefault('{MARK}', '1')",), {"a": 1}


CODE = {
    "os.system": lambda: Reduced(os.system, f"touch {os.environ['PWNED']}"),
    "builtins.eval": lambda: Reduced(eval, f"__import__('os').environ.setdefault('{MARK}', '1')"),
    "builtins.exec": lambda: Reduced(exec, f"import os; os.environ['{MARK}'] = '1'"),
    "subprocess": lambda: Reduced(subprocess.check_call, ["touch", os.environ["PWNED"]]),
    "torch.hub.load": lambda: Reduced(torch.hub.load, "none/none", "none"),
    "state": Built,
}
WAYS = {
    "zip": lambda content, path: torch.save(content, path),
    "legacy": lambda content, path: torch.save(content, path, _use_new_zipfile_serialization=False),
    **{
        f"pickle protocol {p}": lambda content, path, p=p: path.write_bytes(pickle.dumps(content, protocol=p))
        for p in range(6)
    },
}


@pytest.mark.parametrize("way", list(WAYS))
@pytest.mark.parametrize("code", list(CODE))
def test_code_in_a_file_is_named_and_never_run(tmp_path, monkeypatch, way, code, net):
    monkeypatch.setenv("PWNED", str(tmp_path / "pwned"))
    monkeypatch.delenv(MARK, raising=False)
    WAYS[way](
        {"state_dict": OrderedDict(net.state) if way in ("zip", "legacy") else {}, "x": CODE[code]()},
        tmp_path / "m.pt",
    )
    with pytest.raises(
        InputError, match=r"would run code when opened: it refers to .*--trust-checkpoint"
    ) as caught:
        read_checkpoint(tmp_path / "m.pt")
    assert len(str(caught.value).splitlines()) == 1
    assert "weights_only" not in str(caught.value)
    name = {"os.system": "posix.system", "subprocess": "subprocess.check_call", "state": "eval"}.get(
        code, code
    )
    assert name.rpartition(".")[2] in str(caught.value)
    assert not (tmp_path / "pwned").exists()
    assert MARK not in os.environ


@pytest.mark.parametrize("way", ["zip", "legacy"])
def test_a_whole_network_is_read_whether_or_not_it_is_trusted(tmp_path, net, way):
    WAYS[way](net.model, tmp_path / "m.pt")
    WAYS[way]({"model": net.model, "epoch": 1}, tmp_path / "nested.pt")
    for name in ("m.pt", "nested.pt"):
        for trust in (False, True):
            assert same(read_checkpoint(tmp_path / name, trust=trust).state, net.state)


def test_torchscript_is_refused_with_the_reason(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)).save(tmp_path / "m.pt")
    with pytest.raises(InputError, match="TorchScript archive, which cannot be differentiated twice"):
        read_checkpoint(tmp_path / "m.pt")


FORMATS = {
    "zip": lambda net, path: torch.save(net.state, path),
    "legacy": lambda net, path: torch.save(net.state, path, _use_new_zipfile_serialization=False),
    "safetensors": lambda net, path: safetensors.torch.save_file(net.state, path),
}


@pytest.mark.parametrize("form", list(FORMATS))
def test_a_file_cut_off_anywhere_is_one_clear_error(tmp_path, net, form, recwarn):
    path = tmp_path / "m.pt"
    FORMATS[form](net, path)
    whole = path.read_bytes()
    for length in sorted(
        {1, 2, 7, 8, 9, 10, 64, *range(0, len(whole) - 1, max(1, len(whole) // 25)), len(whole) - 1}
    ):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"is empty|cannot be read as a checkpoint") as caught:
            read_checkpoint(path)
        assert len(str(caught.value).splitlines()) == 1
        assert "weights_only" not in str(caught.value)
        assert path.read_bytes() == whole[:length]
    assert not recwarn.list


@pytest.mark.parametrize(
    "content",
    [
        b"hello, I am not a checkpoint\n",
        json.dumps({"a": 1}).encode(),
        b"\x89HDF\r\n\x1a\n" * 9,
        b"PK\x03\x04" * 9,
        b"\x80",
    ],
    ids=["text", "json", "hdf5", "zip head", "pickle head"],
)
def test_a_file_of_another_kind_is_one_clear_error(tmp_path, content):
    (tmp_path / "m.pt").write_bytes(content)
    with pytest.raises(
        InputError, match=r"m\.pt \(\d+ bytes\) cannot be read as a checkpoint: .*take another copy"
    ):
        read_checkpoint(tmp_path / "m.pt")


def test_a_broken_safetensors_header_is_one_clear_error(tmp_path, net):
    safetensors.torch.save_file(net.state, tmp_path / "m.safetensors")
    whole = (tmp_path / "m.safetensors").read_bytes()
    (tmp_path / "m.safetensors").write_bytes(whole.replace(b'"dtype"', b'"dtyqe"', 1))
    with pytest.raises(InputError, match="safetensors header or data is broken"):
        read_checkpoint(tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([1, 2], "holds a list, not parameters by name"),
        (torch.zeros(3), "holds a Tensor"),
        ({}, "holds no parameters .found: nothing"),
        ({"epoch": 3, "model": "resnet18"}, "holds no parameters .found: epoch, model"),
        ({"format": FORMAT, "state_dict": {"w": torch.zeros(1)}}, "its recipe names no model and data"),
        (
            {"format": FORMAT, "recipe": {"model": 3, "data": "moons"}, "net": {"w": torch.zeros(1)}},
            "its recipe names no model and data",
        ),
    ],
)
def test_a_file_without_parameters_says_what_it_holds(tmp_path, content, said):
    with pytest.raises(InputError, match=said):
        read_checkpoint(save(content, tmp_path / "m.pt"))


@pytest.mark.parametrize(
    "odd",
    [{"lr": [0.1]}, {"lr": torch.ones(1)}, {"seed": 10**30}, {3: "x"}, {"extra": {"deep": 1}}],
    ids=["list", "tensor", "huge", "name", "table"],
)
def test_a_recipe_that_no_record_could_hold_is_refused(tmp_path, odd):
    content = {
        "format": FORMAT,
        "recipe": {"model": "mlp", "data": "moons", **odd},
        "net": {"w": torch.ones(1)},
    }
    with pytest.raises(InputError, match="which is no text and no number"):
        read_checkpoint(save(content, tmp_path / "m.pt"))


def test_what_is_missing_is_named_with_what_is_there(tmp_path, net):
    with pytest.raises(InputError, match=r"nor does its folder"):
        read_checkpoint(tmp_path / "runs" / "m.pt")
    save(net.state, tmp_path / "epoch-1.pt")
    with pytest.raises(InputError, match=r"m\.pt does not exist; .* holds epoch-1\.pt"):
        read_checkpoint(tmp_path / "m.pt")
    with pytest.raises(InputError, match=r"folder without a checkpoint\.pt, .* \(it holds epoch-1\.pt\)"):
        read_checkpoint(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="it holds nothing"):
        read_checkpoint(tmp_path / "empty")


@pytest.mark.parametrize(
    ("seed", "allowed"), [(2**63 - 1, True), (2**63, False), (-(2**63), True), (-(2**63) - 1, False)]
)
def test_whole_numbers_of_a_recipe_have_64_bits(tmp_path, seed, allowed):
    recipe = {"model": "mlp", "data": "moons", "seed": seed, "ema": None, "lr": 0.1, "nesterov": True}
    save({"format": FORMAT, "recipe": recipe, "net": {"w": torch.ones(1)}}, tmp_path / "m.pt")
    if allowed:
        assert read_checkpoint(tmp_path / "m.pt").recipe == recipe
    else:
        with pytest.raises(InputError, match="for 'seed', which is no text and no number"):
            read_checkpoint(tmp_path / "m.pt")


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_a_name_that_no_network_has_is_refused_as_deep_as_weights_are_looked_for(tmp_path, net, depth):
    content = {"w" * 100_000: torch.ones(1)}
    for _ in range(depth):
        content = {"model": content}
    with pytest.raises(InputError, match="a name of 100,000 characters"):
        read_checkpoint(save(content, tmp_path / "m.pt"))
    deeper = {"state_dict": net.state, "a": {"b": {"c": {"w" * 100_000: 1}}}}
    assert same(read_checkpoint(save(deeper, tmp_path / "m.pt")).state, net.state)


def test_six_of_the_names_in_a_file_without_parameters_are_listed(tmp_path):
    with pytest.raises(InputError, match=r"found: k0, k1, k2, k3, k4, k5\)"):
        read_checkpoint(save({f"k{number}": number for number in range(7)}, tmp_path / "m.pt"))


def test_64_dimensions_are_the_most(tmp_path):
    for count, fits in ((64, True), (65, False)):
        content = json.dumps({"w": {"dtype": "F32", "shape": [1] * count, "data_offsets": [0, 4]}}).encode()
        (tmp_path / "m").write_bytes(len(content).to_bytes(8, "little") + content + bytes(4))
        if fits:
            assert read_checkpoint(tmp_path / "m").state["w"].ndim == 64
        else:
            with pytest.raises(InputError, match="65 dimensions"):
                read_checkpoint(tmp_path / "m")


def test_the_bytes_on_disk_are_those_of_all_files(tmp_path, net):
    save(net.state, tmp_path / "m.pt")
    assert read_checkpoint(tmp_path / "m.pt").stored == (tmp_path / "m.pt").stat().st_size


def test_what_the_system_says_of_a_file_is_passed_on(tmp_path, monkeypatch):
    file = tmp_path / "m.pt"
    torch.save({"w": torch.ones(2)}, file)

    @contextlib.contextmanager
    def broken(path):
        raise OSError(errno.EIO, "Input/output error", str(path))
        yield

    monkeypatch.setattr("landscape.checkpoints.reading.pinned", broken)
    with pytest.raises(InputError, match=r"m\.pt cannot be read: Input/output error; name another file"):
        read_checkpoint(file)
