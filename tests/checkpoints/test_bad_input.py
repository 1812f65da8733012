"""Strangers' files and mistaken commands: the documented exit code, one clear line, no code run, nothing written."""

import os
import resource

import pytest
import torch
from checkpoints.bad_files import (
    bent,
    bomb,
    compressed,
    cut,
    dangling,
    dimensions,
    distributed,
    endless,
    entry,
    file,
    header,
    index,
    instructions,
    linked_shard,
    loop,
    memory,
    mlp,
    nan,
    nested,
    nothing,
    overlapping,
    packed,
    pipe,
    plain_zip,
    quantised,
    renamed,
    saved,
    tensors,
    torchscript,
    weights_as,
)
from checkpoints.bad_pickles import RUN_CODE
from checkpoints.supervision import supervised
from command_line import Result, call

GIGABYTE = 2**20  # in the kilobytes of ru_maxrss
GOOD, OLD = saved(), saved(_use_new_zipfile_serialization=False)
INSPECT = ("inspect", "m")
MEASURE = ("measure", "m", "-m", "mlp:width=8,depth=1", "-d", "digits", "-M", "loss")
BROKEN = "cannot be read as a checkpoint"
ONE = {"w": torch.ones(2)}

UNREADABLE = {
    "empty": (file(b""), "is empty (0 bytes)"),
    **{f"cut at {n}": (cut(GOOD, n), BROKEN) for n in (1, 2, 9, 30, 100, 0.25, 0.5, 0.9, -1)},
    **{f"old format cut at {n}": (cut(OLD, n), BROKEN) for n in (2, 20, 0.5, -1)},
    **{f"safetensors cut at {n}": (cut(tensors, n), BROKEN) for n in (9, 40, 0.5, -1)},
    "a bit of the weights": (bent(GOOD, lambda b: b.find(b"data/1") + 200), "check sum"),
    "a bit of the pickle": (bent(GOOD, lambda b: b.find(b"layers.1")), "check sum"),
    "a bit of the table of parts": (bent(GOOD, lambda b: b.rfind(b"PK\x01\x02") + 1), BROKEN),
    "a bit of the old format": (bent(OLD, lambda b: b.find(b"_rebuild_tensor_v2")), "would run code"),
    "a bit of a safetensors header": (bent(tensors, lambda b: b.find(b"F32")), "header or data is broken"),
    "zip bomb": (bomb, "compressed (40,0"),
    "compressed archive": (compressed, "compressed"),
    "overlapping parts": (overlapping, "more than the file"),
    "a zip of something else": (plain_zip, "not one that torch.save writes (it holds weights.npy)"),
    "a bytearray of 100 GB": (memory, "would run code when opened: it refers to builtins.bytearray"),
    "text": (file(b"step 3: loss 0.2\n"), "begins with b'step 3: l'"),
    "json": (file(b'{"layers.1.weight": [[1, 2]]}'), BROKEN),
    "hdf5": (file(b"\x89HDF\r\n\x1a\n" * 9), "HDF5"),
    "gguf": (file(b"GGUF" + bytes(60)), "GGUF"),
    "gzip": (file(b"\x1f\x8b" + bytes(60)), "gunzip it first"),
    "git lfs": (file(b"version https://git-lfs.github.com/spec/v1\n"), "git lfs pull"),
    "web page": (file(b"<!DOCTYPE html><title>404</title>"), "web page"),
    "onnx": (file(b"\x08\x07\x12\x07pytorch" + bytes(60)), "cannot be differentiated twice"),
    "torchscript": (torchscript, "cannot be differentiated twice"),
    "zeros": (file(bytes(4096)), BROKEN),
    "header longer than the file": (header("{}", length=10**15), BROKEN),
    "header that is no json": (header(b"{not json at all}"), "header or data is broken"),
    "header that is no utf-8": (header(b'{"\xff\xfe": 1}'), "header or data is broken"),
    "offsets beyond the file": (header(entry(0, 800), rest=bytes(8)), "header or data is broken"),
    "offsets backwards": (header(entry(8, 0), rest=bytes(8)), "header or data is broken"),
    "a shape that overflows": (header(entry(0, 8, shape=(2**40, 2**40)), rest=bytes(8)), BROKEN),
    "an unknown type": (header(entry(0, 8, dtype="F31"), rest=bytes(8)), BROKEN),
    "index to the parent folder": (
        index({"weight_map": {"w": "../../passwd"}}),
        "not a file of its own folder",
    ),
    "index to the root": (index({"weight_map": {"w": "/etc/passwd"}}), "not a file of its own folder"),
    "index to a drive": (index({"weight_map": {"w": "C:\\x\\y"}}), "not a file of its own folder"),
    "index to itself": (index({"weight_map": {"w": ".."}}), "not a file of its own folder"),
    "index to a link": (linked_shard, "not a file of its own folder"),
    "index to nothing": (index({"weight_map": {"w": "a.safetensors"}}), "fetch all shards"),
    "index to another name": (index({"weight_map": {"v": "a.safetensors"}}, a=ONE), "does not hold it"),
    "index without a map": (index({"weight_map": [1]}), "no weight_map"),
    "index of numbers": (index({"weight_map": {"w": 3}}), "no weight_map"),
    "index that is no json": (index("{"), "cannot be read as JSON"),
    "index too deep": (index("[" * 100_000), "cannot be read as JSON"),
    "index that is a list": (index([1]), "holds a list"),
    "a folder": (lambda path: path.mkdir(), "it holds nothing"),
    "a distributed checkpoint": (distributed, "dcp_to_torch"),
    "no file": (nothing, "does not exist"),
    "a loop of links": (loop, "cannot be opened"),
    "a link to nothing": (dangling, "gone.pt, which does not exist"),
    "a pipe": (pipe, "not a regular file"),
    "a list": (saved([1, 2]), "holds a list"),
    "a tensor": (saved(torch.zeros(3)), "holds a Tensor"),
    "texts": (saved({"state_dict": {"w": "1.0"}}), "holds no parameters"),
    "an empty dictionary": (saved({}), "found: nothing"),
    **{
        f"a recipe with {value!r:.20}": (
            saved(
                {
                    "format": "landscape.checkpoint/1",
                    "recipe": {"model": "mlp", "data": "digits", "lr": value},
                }
                | ONE
            ),
            "for 'lr', which is no text and no number",
        )
        for value in ([0.1], {"a": 1}, (1, 2), 10**30, torch.ones(1))
    },
    "two networks": (saved({"actor": ONE, "critic": ONE}), "actor, critic"),
    "quantised": (saved(quantised), "quantised"),
    **{  # torch has this type since 2.8
        name: (saved(packed), f"not a plain tensor of numbers ({name})")
        for name in ("float4_e2m1fn_x2",)
        if hasattr(torch, name)
    },
    "nested": (saved(nested), "not a plain tensor of numbers (nested)"),
    "65 dimensions": (dimensions(65), "not a plain tensor of numbers (65 dimensions)"),
    "sparse": (saved(lambda: {"w": torch.eye(3).to_sparse()}), "not a plain tensor"),
    "on no device": (saved({"w": torch.empty(3, device="meta")}), "not a plain tensor"),
    "a tensor of 4 TB in 4 bytes": (saved(endless), "4,000,000,000,000 bytes"),
    "a name that is not text": (saved({"w\udcff": torch.ones(2)}), "is not text"),
    "a name that clears the screen": (saved({"\x1b[2Jw": torch.ones(2)}), r"'\x1b[2Jw' is not text"),
}
UNFIT = {
    "another network": (saved(lambda: nn_linear()), "0 of its 4 tensors match"),
    "one class more": (saved(lambda: mlp(classes=11)), "has 11 classes"),
    "one class less": (saved(lambda: mlp(classes=9)), "has 9 classes"),
    "pictures of another size": (saved(lambda: mlp(shape=(1, 9, 9))), "takes 81 numbers in an input"),
    "pictures with colours": (saved(lambda: mlp(shape=(3, 8, 8))), "takes 192 numbers in an input"),
    "whole numbers": (saved(lambda: weights_as(torch.int64)), "is int64, but the network's is floating"),
    "complex numbers": (saved(lambda: weights_as(torch.complex64)), "is complex64"),
    "nan": (saved(lambda: nan(float("nan"))), "layers.1.bias"),
    "infinity": (saved(lambda: nan(float("inf"))), "layers.1.bias"),
    "a name too many": (saved(lambda: {**mlp(), "layers.9.weight": torch.ones(2)}), "1 are not in the model"),
    "a name too few": (saved(lambda: {"layers.1.weight": mlp()["layers.1.weight"]}), "3 are missing"),
    "twice": (
        saved(lambda: {**renamed("student."), **renamed("teacher.")}),
        "2 times, under student. and teacher.",
    ),
}
COMMANDS = {
    "no file named": (2, ["inspect"], "Missing argument"),
    "two files": (2, ["inspect", "m", "n"], "unexpected extra argument"),
    "inspect runs no code": (2, ["inspect", "m", "--trust-checkpoint"], "--trust-checkpoint"),
    "unknown weights": (2, ["inspect", "m", "--weights", "best"], "'best' is not one of"),
    "no average": (3, ["inspect", "m", "--weights", "ema"], "holds no averaged weights"),
    "no average to measure": (3, [*MEASURE, "--weights", "ema"], "holds no averaged weights"),
    "converted to torch": (2, ["convert", "m", "n.pt"], "end it in .safetensors"),
    "converted over a file": (2, ["convert", "m", "there.safetensors"], "there.safetensors exists"),
    "converted below a file": (3, ["convert", "m", "m/n.safetensors"], "m is not a folder"),
    "converted without a name": (2, ["convert", "m"], "Missing argument"),
    "nothing converted": (3, ["convert", "gone", "n.safetensors"], "gone does not exist"),
    "unknown command": (2, ["inspekt", "m"], "did you mean 'inspect'?"),
}


def nn_linear():
    return torch.nn.Linear(3, 3).state_dict()


@pytest.fixture(scope="module", autouse=True)
def imported(tmp_path_factory):
    """Everything imported once, so that what is seen afterwards comes from the file."""
    folder = tmp_path_factory.mktemp("good")
    GOOD(folder / "m")
    here = os.getcwd()
    os.chdir(folder)
    assert call(MEASURE) == 0
    assert call(INSPECT) == 0
    os.chdir(here)


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """A function: a command that must fail with the code and the words, touching and running nothing."""
    monkeypatch.chdir(tmp_path)

    def check(code, arguments, words):
        before, peak = snapshot(tmp_path), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        capsys.readouterr()
        with supervised() as events:
            ended = call(arguments)
        result = Result(ended, *capsys.readouterr())
        assert events == []
        assert result.code == code, result.err
        assert words in result.error
        assert "weights_only" not in result.error
        assert len(result.error) > 20
        assert result.error.isprintable()
        assert snapshot(tmp_path) == before
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < GIGABYTE

    return check


def snapshot(folder):
    return {
        str(path): (path.read_bytes(), path.stat().st_mtime_ns) if path.is_file() else None
        for path in folder.rglob("*")
    }


@pytest.mark.parametrize("kind", list(UNREADABLE))
def test_a_file_that_cannot_be_read(refused, tmp_path, kind):
    write, words = UNREADABLE[kind]
    write(tmp_path / "m")
    refused(3, INSPECT, words)


@pytest.mark.parametrize("kind", list(RUN_CODE))
@pytest.mark.parametrize("command", [INSPECT, MEASURE, ("convert", "m", "n.safetensors")], ids=lambda c: c[0])
def test_a_file_that_tries_to_run_code(refused, tmp_path, kind, command):
    RUN_CODE[kind](tmp_path / "m", tmp_path / "canary")
    refused(3, command, "m")
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("kind", list(UNFIT))
def test_weights_that_do_not_fit(refused, tmp_path, kind):
    write, words = UNFIT[kind]
    write(tmp_path / "m")
    refused(3, MEASURE, words)


@pytest.mark.parametrize("kind", list(COMMANDS))
def test_a_mistaken_command(refused, tmp_path, kind):
    GOOD(tmp_path / "m")
    tensors(tmp_path / "there.safetensors")
    code, arguments, words = COMMANDS[kind]
    refused(code, arguments, words)


def test_a_file_that_may_not_be_read(refused, tmp_path, monkeypatch):
    GOOD(tmp_path / "m")
    monkeypatch.setattr(
        "landscape.checkpoints.reading.open_file", lambda *a, **k: open_denied(tmp_path / "m")
    )
    refused(3, INSPECT, "Permission denied")


def open_denied(path):
    raise PermissionError(13, "Permission denied", str(path))


def test_a_pickle_that_would_only_keep_the_reader_busy(refused, tmp_path, monkeypatch):
    monkeypatch.setattr("landscape.checkpoints.pickled_names.MOST_INSTRUCTIONS", 10_000)
    instructions(tmp_path / "m")
    refused(3, INSPECT, "its pickle is longer than any that holds weights")


def test_a_list_of_parts_that_is_longer_than_any(refused, tmp_path, monkeypatch):
    GOOD(tmp_path / "m")
    monkeypatch.setattr("landscape.records.reading.LONGEST_HEADER", 400)
    refused(3, INSPECT, "its zip archive breaks off or is broken")


def test_the_watch_sees_what_is_forbidden(tmp_path):
    with supervised() as events:
        os.system("true")
        eval("1 + 1")
        (tmp_path / "written").write_text("")
    assert {event for event, *_ in events} >= {"os.system", "compile", "open"}
