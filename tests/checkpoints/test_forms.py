"""Checkpoints as other programs write them: the same weights out of every form, and what was found is said."""

import argparse
import collections
import json
import pathlib
import types

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from landscape.checkpoints import read_checkpoint
from landscape.errors import InputError, UsageError
from landscape.training import Recipe, train


def same(state, expected):
    return state.keys() == expected.keys() and all(torch.equal(state[k], expected[k]) for k in expected)


def shifted(state):
    return {name: tensor + 1 for name, tensor in state.items()}


def read(content, path, **options):
    torch.save(content, path)
    return read_checkpoint(path, **options)


@pytest.mark.parametrize("outer", ["checkpoint", "state", "model", "net"])
@pytest.mark.parametrize("key", ["state_dict", "model", "net"])
def test_a_state_dict_two_levels_deep(tmp_path, net, outer, key):
    contents = read({"epoch": 1, outer: {key: net.state, "lr": 0.1}}, tmp_path / "m")
    assert same(contents.state, net.state)
    assert contents.key == f"{outer}.{key}"


def test_the_only_set_of_tensors_is_taken_whatever_its_name(tmp_path, net):
    contents = read({"resnet": net.state, "optimizer": {"w": torch.ones(1)}}, tmp_path / "m")
    assert same(contents.state, net.state)
    assert contents.key == "resnet"


EMA_KEYS = ["state_dict_ema", "model_ema", "ema_state_dict", "ema"]


@pytest.mark.parametrize("key", EMA_KEYS)
def test_raw_weights_are_taken_and_the_average_is_told_of(tmp_path, net, key):
    content = {"state_dict": net.state, key: shifted(net.state)}
    raw = read(content, tmp_path / "m")
    assert same(raw.state, net.state)
    assert (raw.weights, raw.average) == ("raw", key)
    assert any(key in note and "--weights ema" in note for note in raw.notes)
    average = read(content, tmp_path / "m", weights="ema")
    assert same(average.state, shifted(net.state))
    assert average.sha256 == raw.sha256 == raw.identity != average.identity
    assert read_checkpoint(tmp_path / "m", weights="raw").identity == raw.identity


def test_an_average_that_is_alone_is_taken_and_said(tmp_path, net):
    contents = read({"model_ema": net.state, "epoch": 3}, tmp_path / "m")
    assert same(contents.state, net.state)
    assert (contents.weights, contents.notes) == ("ema", ("it holds only averaged weights (model_ema)",))


def test_an_average_that_is_not_there(tmp_path, net):
    with pytest.raises(InputError, match="holds no averaged weights"):
        read(net.state, tmp_path / "m", weights="ema")
    with pytest.raises(UsageError, match="weights='best' is not one of raw, ema"):
        read(net.state, tmp_path / "m", weights="best")


@pytest.mark.parametrize("nested", [False, True])
def test_an_averaged_model_of_torch_loses_its_counter(tmp_path, net, nested):
    averaged = AveragedModel(net.model).state_dict()
    contents = read({"model": averaged} if nested else averaged, tmp_path / "m")
    assert set(contents.state) == {f"module.{name}" for name in net.state}
    assert "AveragedModel" in contents.key


@pytest.mark.parametrize("prefix", ["ema_model.", "model_ema.module.", "net_ema."])
def test_averages_beside_the_weights_of_a_lightning_module_are_kept_apart(tmp_path, net, prefix):
    both = {f"model.{k}": v for k, v in net.state.items()} | {
        prefix + k: v for k, v in shifted(net.state).items()
    }
    content = {"state_dict": both, "pytorch-lightning_version": "2.6.0", "epoch": 4}
    raw = read(content, tmp_path / "m")
    assert set(raw.state) == {f"model.{name}" for name in net.state}
    assert raw.form == "torch.save, by Lightning"
    average = read_checkpoint(tmp_path / "m", weights="ema")
    assert torch.equal(next(iter(average.state.values())), next(iter(net.state.values())) + 1)


def test_lightnings_averaging_puts_the_average_under_state_dict(tmp_path, net):
    content = {
        "state_dict": shifted(net.state),
        "current_model_state": net.state,
        "averaging_state": {"n_averaged": torch.tensor(3)},
    }
    assert same(read(content, tmp_path / "m").state, net.state)
    assert same(read(content, tmp_path / "m", weights="ema").state, shifted(net.state))


def test_a_run_of_ours_gives_what_was_evaluated_and_both_on_demand(tmp_path):
    recipe = Recipe(model="mlp:width=4,depth=1", data="moons:samples=60", epochs=2, ema=0.5, device="cpu")
    run = train(recipe, output=tmp_path / "run")
    content = torch.load(run.checkpoint, weights_only=True)
    default = read_checkpoint(run.checkpoint)
    assert same(default.state, content["state_dict"])
    assert (default.weights, default.identity) == ("ema", default.sha256)
    raw = read_checkpoint(run.checkpoint, weights="raw")
    assert same(raw.state, content["training"]["model"])
    assert raw.identity == f"{raw.sha256}:raw"


def test_numbers_of_numpy_settings_and_paths_are_read_without_their_classes(tmp_path, net):
    content = {
        "state_dict": net.state,
        "epoch": np.int64(7),
        "best": np.float32(0.25),
        "metrics": {"accuracy": np.float64(0.5), "curve": np.arange(6.0).reshape(2, 3)},
        "args": argparse.Namespace(lr=0.1, out=pathlib.Path("/a/b"), arch="resnet18"),
        "more": types.SimpleNamespace(seed=3),
        "counts": collections.defaultdict(list, {"a": [1]}),
        "loss": torch.tensor(0.75),
        "seen": {1, 2},
        "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 0.1}]},
    }
    assert read(content, tmp_path / "m").extra == {
        "epoch": 7,
        "best": 0.25,
        "metrics.accuracy": 0.5,
        "args.lr": 0.1,
        "args.out": "/a/b",
        "args.arch": "resnet18",
        "more.seed": 3,
        "loss": 0.75,
    }


@pytest.mark.parametrize("kind", ["f4", "f8", ">f4", "i8", "f2", "?"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_weights_in_numpy_are_tensors(tmp_path, kind, order):
    values = np.array(np.arange(6).reshape(2, 3), dtype=kind, order=order)
    contents = read({"state_dict": {"w": values, "b": torch.ones(1)}}, tmp_path / "m")
    np.testing.assert_array_equal(contents.state["w"].numpy(), values)


def shards(folder, state, *, form):
    halves = dict(list(state.items())[:4]), dict(list(state.items())[4:])
    suffix = "safetensors" if form == "safetensors" else "bin"
    stem = "model" if form == "safetensors" else "pytorch_model"
    write = safetensors.torch.save_file if form == "safetensors" else torch.save
    places = {}
    for number, half in enumerate(halves, 1):
        file = f"{stem}-{number:05}-of-00002.{suffix}"
        write(half, folder / file)
        places |= dict.fromkeys(half, file)
    index = folder / f"{stem}.{suffix}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    return index


@pytest.mark.parametrize("form", ["safetensors", "torch"])
@pytest.mark.parametrize("named", ["index", "folder"])
def test_shards_are_joined_by_their_index(tmp_path, net, form, named):
    index = shards(tmp_path, net.state, form=form)
    contents = read_checkpoint(index if named == "index" else tmp_path)
    assert same(contents.state, net.state)
    assert "2 shards" in contents.form
    before = contents.sha256
    (tmp_path / next(iter(tmp_path.glob("*-00002-of*"))).name).write_bytes(
        (tmp_path / next(iter(tmp_path.glob("*-00001-of*"))).name).read_bytes()
    )
    with pytest.raises(InputError, match="does not hold it"):
        read_checkpoint(index)
    shards(tmp_path, shifted(net.state), form=form)
    assert read_checkpoint(index).sha256 != before


def test_one_shard_alone_is_told_to_be_one(tmp_path, net):
    shards(tmp_path, net.state, form="safetensors")
    contents = read_checkpoint(tmp_path / "model-00001-of-00002.safetensors")
    assert len(contents.state) == 4
    assert "one of several shards" in contents.notes[0]


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_hugging_face_folder_gives_weights_and_config(tmp_path, net, name):
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["Net"], "hidden_size": 4}))
    if name == "model.safetensors":
        safetensors.torch.save_file(net.state, tmp_path / name, metadata={"format": "pt"})
    else:
        torch.save(net.state, tmp_path / name)
    contents = read_checkpoint(tmp_path)
    assert same(contents.state, net.state)
    assert contents.config == {"architectures": ["Net"], "hidden_size": 4}
    assert contents.form.endswith(", by Hugging Face")


def test_the_cache_of_hugging_face_links_to_its_blobs(tmp_path, net):
    snapshot, blobs = tmp_path / "models--a" / "snapshots" / "1", tmp_path / "models--a" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    shards(snapshot, net.state, form="safetensors")
    for number, file in enumerate(sorted(snapshot.iterdir())):
        file.rename(blobs / str(number))
        file.symlink_to(f"../../blobs/{number}")
    assert same(read_checkpoint(snapshot).state, net.state)


def test_what_the_user_has_allowed_is_opened(tmp_path, net):
    content = {"state_dict": net.state, "clock": nn.Identity}
    torch.save(content, tmp_path / "m")
    with pytest.raises(InputError, match="Identity"):
        read_checkpoint(tmp_path / "m")
    with torch.serialization.safe_globals([nn.Identity]):
        assert same(read_checkpoint(tmp_path / "m").state, net.state)
    assert nn.Identity not in torch.serialization.get_safe_globals()


def test_a_file_saved_without_check_sums_is_read_and_said(tmp_path, net):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(net.state, tmp_path / "m")
    finally:
        torch.serialization.set_crc32_options(True)
    contents = read_checkpoint(tmp_path / "m")
    assert same(contents.state, net.state)
    assert any("without check sums" in note for note in contents.notes)


def test_a_path_that_is_not_utf8_is_read(tmp_path, net):
    path = tmp_path / "m\udcff.pt"
    torch.save(net.state, tmp_path / "m")
    (tmp_path / "m").rename(path)
    assert same(read_checkpoint(path).state, net.state)


def test_a_bare_pickle_is_opened_only_if_it_is_trusted(tmp_path, net):
    import pickle

    (tmp_path / "m.pkl").write_bytes(pickle.dumps({"state_dict": net.state}))
    with pytest.raises(InputError, match="would run code"):
        read_checkpoint(tmp_path / "m.pkl")
    assert same(read_checkpoint(tmp_path / "m.pkl", trust=True).state, net.state)


def test_an_average_beside_weights_without_any_prefix_is_kept_apart(tmp_path, net):
    content = net.state | {f"ema_model.{k}": v for k, v in shifted(net.state).items()}
    assert same(read(content, tmp_path / "m").state, net.state)
    assert same(read_checkpoint(tmp_path / "m", weights="ema").state, shifted(net.state))


def test_a_counter_beside_an_average_does_not_make_it_a_part_of_the_network(tmp_path, net):
    both = net.state | {f"ema_model.module.{k}": v for k, v in shifted(net.state).items()}
    contents = read(both | {"ema_model.n_averaged": torch.tensor(3)}, tmp_path / "m")
    assert same(contents.state, net.state)
    assert contents.average == "ema_model.*"


def test_a_part_of_a_network_that_is_named_like_an_average_stays_in_it(tmp_path, net):
    whole = net.state | {"ema_head.5.weight": torch.ones(2), "ema_head.5.bias": torch.ones(1)}
    contents = read(whole, tmp_path / "m")
    assert same(contents.state, whole)
    assert contents.average is None


@pytest.mark.parametrize("one", ["current_model_state", "averaging_state"])
def test_half_of_what_lightnings_averaging_writes_is_no_average(tmp_path, net, one):
    contents = read({"state_dict": net.state, one: shifted(net.state)}, tmp_path / "m")
    assert same(contents.state, net.state)
    assert contents.average is None


def test_an_average_that_is_alone_is_what_the_hash_stands_for(tmp_path, net):
    contents = read({"model_ema": net.state}, tmp_path / "m")
    assert contents.identity == contents.sha256


def test_settings_are_as_many_and_as_long_as_a_reader_can_use(tmp_path, net):
    numbers = {f"n{number}": number for number in range(199)}
    content = {"fits": "a" * 200, "long": "a" * 201, **numbers, "last": 1}
    extra = read({"state_dict": net.state, **content}, tmp_path / "m").extra
    assert extra == {"fits": "a" * 200, **numbers}


def test_whole_numbers_below_ten_to_the_thirtieth_are_shown(tmp_path, net):
    content = {"a": 10**30 - 1, "b": 10**30, "c": 1 - 10**30, "d": -(10**30), "e": torch.ones(1), "f": 1e40}
    extra = read({"state_dict": net.state, **content}, tmp_path / "m").extra
    assert extra == {"a": 10**30 - 1, "c": 1 - 10**30, "f": 1e40}


def test_settings_are_told_from_weights_and_from_our_own_bookkeeping(tmp_path, net):
    content = {
        "args": {"lr": 0.1, "scale": torch.tensor(2.0), "name": "x"},
        "shadow": {"w": torch.ones(2), "decay": 0.9},
        "callbacks": {"patience": 3},
        "loops": {"epoch": 3},
    }
    extra = read({"state_dict": net.state, **content}, tmp_path / "m").extra
    assert extra == {"args.lr": 0.1, "args.scale": 2.0, "args.name": "x"}


@pytest.mark.parametrize("lacking", ["arch", "state_dict", "args", None])
def test_what_timm_writes_is_told_by_all_of_its_parts(tmp_path, net, lacking):
    content = {"arch": "resnet18", "state_dict": net.state, "args": {"lr": 0.1}}
    if lacking is not None:
        del content[lacking]
    if lacking == "state_dict":
        content["model"] = net.state
    form = read(content, tmp_path / "m").form
    assert form == ("torch.save" if lacking else "torch.save, by timm")


def test_an_average_of_parts_with_long_names_is_kept_apart(tmp_path):
    both = {"model.head.weight": torch.ones(2), "ema_model.head.weight": torch.zeros(2)}
    contents = read(both, tmp_path / "m")
    assert (list(contents.state), contents.average) == (["model.head.weight"], "ema_model.*")


def test_a_single_index_of_any_name_stands_for_its_folder_and_two_do_not(tmp_path, net):
    index = shards(tmp_path, net.state, form="safetensors")
    other = index.rename(tmp_path / "mine.safetensors.index.json")
    assert same(read_checkpoint(tmp_path).state, net.state)
    (tmp_path / "yours.safetensors.index.json").write_bytes(other.read_bytes())
    with pytest.raises(InputError, match=r"folder without a checkpoint\.pt"):
        read_checkpoint(tmp_path)
