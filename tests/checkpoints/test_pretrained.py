"""Pretrained weights by name: those that the library has, one identity for the same weights, and a way on offline."""

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch
from command_line import call

from landscape.checkpoints import inspect_checkpoint, read_checkpoint
from landscape.errors import InputError, UsageError
from landscape.models.huggingface import huggingface_folder

NAME = "timm:test_resnet.r160_in1k"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder, with a cache of the hub that is empty and no network."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path


@pytest.fixture
def weights(folder, monkeypatch):
    """The weights that timm would find in its cache."""
    timm = pytest.importorskip("timm")
    with torch.random.fork_rng():
        torch.manual_seed(7)
        state = timm.create_model(NAME[5:]).state_dict()
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", lambda *a, **k: dict(state))
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_url", lambda *a, **k: dict(state))
    return state


def test_the_weights_of_timm_are_measured_without_a_file(weights, folder, capsys):
    contents = read_checkpoint(NAME)
    assert all(torch.equal(contents.state[name], tensor) for name, tensor in weights.items())
    assert contents.identity == read_checkpoint(NAME).identity
    flags = ("-d", "./data.py:data", "-M", "loss", "--format", "jsonl")
    Path("data.py").write_text(
        "import torch\n"
        "def data():\n"
        "    x = torch.linspace(-1, 1, 2 * 3 * 32 * 32).reshape(2, 3, 32, 32)\n"
        "    return torch.utils.data.TensorDataset(x, torch.tensor([3, 999]))\n"
    )
    capsys.readouterr()
    assert call(["measure", NAME, *flags]) == 0
    out, err = capsys.readouterr()
    record = json.loads(out)
    assert record["provenance"]["checkpoint"] == contents.identity
    assert record["provenance"]["model"] == f"{NAME}:num_classes=1000"
    assert "pretrained weights of timm:test_resnet.r160_in1k, from the cache or the hub" in " ".join(
        err.split()
    )
    assert {path.name for path in folder.iterdir()} == {"data.py", "measures.jsonl"}
    torch.save(weights, "weights.pt")
    assert call(["measure", "weights.pt", "-m", f"{NAME}:num_classes=1000", *flags]) == 0
    assert json.loads(capsys.readouterr().out)["value"] == record["value"]
    assert inspect_checkpoint(NAME).command == f"landscape measure {NAME} -d DATA"
    # A file of that name comes first.
    torch.save({"w": torch.ones(2)}, NAME)
    assert set(read_checkpoint(NAME).state) == {"w"}


def test_without_network_the_way_on_is_said(folder):
    with pytest.raises(
        InputError, match=r"not in the cache of timm and cannot be fetched .*or name a file of"
    ):
        read_checkpoint(NAME)
    with pytest.raises(
        InputError, match=r"nor in the cache of the hub, .*hf download some/network --local-dir"
    ):
        read_checkpoint("hf:some/network")
    with pytest.raises(UsageError, match=r"timm has no model 'resnet81' \(did you mean"):
        read_checkpoint("timm:resnet81")
    with pytest.raises(InputError, match="hf:nowhere: there is no folder nowhere; name one"):
        read_checkpoint("hf:nowhere")


STATE = {"w": torch.arange(3.0), "v": torch.ones(2)}


def saved(folder, *, form="safetensors"):
    """A folder as save_pretrained() writes it."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"architectures": ["Net"]}))
    if form == "safetensors":
        safetensors.torch.save_file(STATE, folder / "model.safetensors")
    else:
        torch.save(STATE, folder / "pytorch_model.bin")
    return folder


@pytest.mark.parametrize("form", ["safetensors", "bin"])
def test_a_network_in_the_cache_of_the_hub_is_read_by_its_name(folder, form):
    snapshot = saved(folder / "cache" / "models--some--network" / "snapshots" / "1234", form=form)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("1234")
    contents = read_checkpoint("hf:some/network")
    assert all(torch.equal(contents.state[name], tensor) for name, tensor in STATE.items())
    assert (contents.model, contents.path) == ("hf:some/network", Path("hf:some--network"))
    assert contents.identity == read_checkpoint(snapshot).identity
    assert huggingface_folder("some/network", weights=False) == snapshot


def test_a_local_folder_is_read_where_it_is(folder):
    for name in ("here", "some/network"):
        saved(folder / name)
        contents = read_checkpoint(f"hf:{name}")
        assert (contents.model, contents.path) == (f"hf:{name}", Path(name) / "model.safetensors")
        assert contents.identity == contents.sha256


@pytest.mark.parametrize("offline", [False, True])
def test_without_a_network_nothing_is_tried_again(folder, monkeypatch, offline):
    """The fixture says that there is none; here it is found out."""
    from huggingface_hub import constants

    def unreachable(*arguments, **settings):
        raise OSError("Name or service not known")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr("urllib.request.getproxies", dict)
    monkeypatch.setattr("socket.create_connection", unreachable)
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail("the hub was tried again"))
    with pytest.raises(
        InputError,
        match="cannot be fetched" if offline else r"cannot be fetched \(huggingface.co cannot be reached\)",
    ):
        huggingface_folder("someone/something", weights=True)
    assert constants.HF_HUB_OFFLINE is offline
