"""Files that claim more than they hold, or never end: one line, exit code 3, within 1 GB, in every reader."""

import json
import os
import resource
import signal
import struct
import zipfile

import h5py
import numpy as np
import pytest
import safetensors.torch
import torch

from landscape.models import build_model
from landscape.records import reading

GOOD = {"model": "mlp:width=8,depth=1", "data": "moons:samples=60"}
MEASURE = ("-m", "mlp:width=8,depth=1", "-M", "loss", "-d")
STATE = build_model("mlp:width=8,depth=1", classes=2, input_shape=(2,), seed=0).state_dict()


def h5(**datasets):
    """A surface of tomgoldstein/loss-landscape of 1 kB: what is never written is not stored."""

    def write(path):
        with h5py.File(path, "w") as file:
            for name, options in datasets.items():
                file.create_dataset(
                    name, dtype="f8", **{"chunks": (1024,) * len(options["shape"]), **options}
                )

    return write


def elsewhere(path):
    os.mkfifo(path.parent / "pipe")
    with h5py.File(path, "w") as file:
        file["xcoordinates"] = h5py.ExternalLink("pipe", "x")
        file["train_loss"] = h5py.SoftLink("/xcoordinates")


def compressed(**arrays):
    return lambda path: np.savez_compressed(path.open("wb"), **arrays)


def forged(claimed=None, *, size=None, names=("loss", "coordinates")):
    """An archive of arrays whose headers claim a shape, and whose list of parts claims a size."""

    def write(path):
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                header = repr({"descr": "<f8", "fortran_order": False, "shape": claimed or (1,)}).encode()
                archive.writestr(
                    f"{name}.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(8)
                )
        if size is not None:
            content = bytearray(path.read_bytes())
            place = content.find(b"PK\x01\x02")
            while place >= 0:
                content[place + 24 : place + 28] = struct.pack("<I", size)
                place = content.find(b"PK\x01\x02", place + 4)
            path.write_bytes(content)

    return write


def bare(path):
    """A bare array of 8 TB."""
    header = repr({"descr": "<f8", "fortran_order": False, "shape": (10**12,)}).encode()
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)


def names(*chosen, save=torch.save):
    return lambda path: save({name: torch.ones(1) for name in chosen}, path)


def long_header(path):
    text = json.dumps({"__metadata__": {"a": "a" * reading.LONGEST_HEADER}}).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)


def holes(content, size):
    def write(path):
        path.write_bytes(content)
        os.truncate(path, size)

    return write


def holes_of_tensors(path):
    header = {"w": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}}
    text = json.dumps(header).encode()
    holes(struct.pack("<Q", len(text)) + text, 8 + len(text) + 4 * 10**12)(path)


def recipe(**changes):
    content = {"format": "landscape.checkpoint/1", "recipe": {**GOOD, **changes}, "state_dict": STATE}
    return lambda path: torch.save(content, path)


DOTS = "a." * 60_000 + "w"
GRID = {"xcoordinates": {"shape": (8,), "chunks": (8,)}, "ycoordinates": {"shape": (8,), "chunks": (8,)}}
BOMBS = {
    "h5, 12.8 GB": (
        ("plot", "f"),
        h5(**GRID, train_loss={"shape": (40_000, 40_000)}),
        "1,600,000,000 values of train",
    ),
    "h5, chunk": (
        ("plot", "f"),
        h5(**GRID, train_loss={"shape": (8, 8), "maxshape": (None, None), "chunks": (20_000, 20_000)}),
        "400,000,000 values of train_loss",
    ),
    "h5, elsewhere": (("plot", "f"), elsewhere, "its files of directions"),
    "surface": (
        ("plot", "f"),
        compressed(meta=np.array("{}"), loss=np.zeros((2049, 2048))),
        "4,196,352 values of loss",
    ),
    "Landscaper": (
        ("plot", "f"),
        compressed(coordinates=np.zeros((2, 2)), loss=np.zeros((2049, 2048))),
        "4,196,352 values of loss",
    ),
    "npz, 8 TB": (
        ("plot", "f"),
        forged((10**12,), names=("meta",)),
        "its header claims 1,000,000,000,000 values",
    ),
    "npz, 4 GB": (("plot", "f"), forged(size=2**32 - 2), "would unpack to 8 GiB"),
    "npy, 8 TB": (("plot", "f"), bare, "not a zip file"),
    "data, 8 TB": (
        ("measure", "m.pt", *MEASURE, "npz:f"),
        forged((10**12,), names=("x", "y")),
        "its header claims 1,000,000,000,000 values",
    ),
    "data, 4 GB": (("measure", "m.pt", *MEASURE, "npz:f"), forged(size=2**32 - 2), "would unpack to 8 GiB"),
    "dots": (("inspect", "f"), names(DOTS), "60,000 dots begins with 'a.a.a.a"),
    "dots nested": (
        ("inspect", "f"),
        lambda path: torch.save({"model": {DOTS: torch.ones(1)}}, path),
        "60,000 dots",
    ),
    "dots, safetensors": (("inspect", "f"), names(DOTS, save=safetensors.torch.save_file), "60,000 dots"),
    "header": (("inspect", "f"), long_header, "safetensors header has 8,388,"),
    "holes": (("inspect", "f"), holes_of_tensors, "claims 4,000,000,000,"),
    "text": (("plot", "f"), holes(b'{"epoch": 1}\n', reading.LONGEST_TEXT + 1), "more than the 67,108,864"),
    "objects": (
        ("plot", "f"),
        lambda path: path.write_text('{"schema": "landscape.measure/1", "a": [' + "{}," * 3_000_000 + "{}]}"),
        "would take more than 1,073,741,824 bytes",
    ),
    "lines": (("plot", "f"), lambda path: path.write_text("{" + "[" * 100_000), "no line of a history"),
    "records": (("compare", "f.jsonl"), holes(b"{}", reading.LONGEST_TEXT + 1), "more than the 67,108,864"),
    "flags": (("train", "-c", "f"), holes(b"#", reading.LONGEST_RECIPE + 1), "more than the 16,384"),
    "a wide network": (
        ("measure", "f"),
        recipe(model="mlp:width=200000,depth=2"),
        "which would take more than the 1,07",
    ),
    "a deep network": (
        ("measure", "f"),
        recipe(model="mlp:width=1000,depth=10000"),
        "which would take more than the 1,07",
    ),
    "many points": (("measure", "f"), recipe(data="moons:samples=1000000000"), "is more than 5,000,000"),
}


@pytest.fixture
def bounded():
    """No more than 1 GB of memory beyond what is there; a command that hangs is ended."""

    def late(number, frame):
        pytest.fail("the command does not end")

    with open("/proc/self/statm") as status:
        here = int(status.read().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    before = signal.signal(signal.SIGALRM, late)
    resource.setrlimit(resource.RLIMIT_AS, (here + reading.BEYOND, hard))
    signal.alarm(60)
    yield
    signal.alarm(0)
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("kind", list(BOMBS))
def test_a_bomb_is_refused(landscape, tmp_path, kind, request):
    arguments, write, words = BOMBS[kind]
    write(tmp_path / arguments[-1].rpartition(":")[2])
    torch.save(STATE, tmp_path / "m.pt")
    request.getfixturevalue("bounded")
    result = landscape(*arguments)
    assert result.code == 3, result.err
    assert words in result.error
    assert "batch" not in result.error


@pytest.mark.parametrize(
    "command", [("inspect",), ("plot",), ("compare",), ("report",), ("train", "-c"), ("surface",)]
)
def test_a_pipe_is_not_waited_for(landscape, tmp_path, command, bounded):
    os.mkfifo(tmp_path / "pipe")
    assert landscape(*command, "pipe").code in (2, 3)


@pytest.mark.parametrize("name", ["measures.jsonl", "history.jsonl", "recipe.toml", "checkpoint.pt"])
@pytest.mark.parametrize("command", ["plot", "compare", "train"])
def test_a_pipe_in_the_folder_of_a_run_is_not_waited_for(landscape, tmp_path, command, name, bounded):
    run = tmp_path / "run"
    run.mkdir()
    (run / "history.jsonl").write_text('{"epoch": 1, "train_loss": 0.5}\n')
    (run / name).unlink(missing_ok=True)
    os.mkfifo(run / name)
    result = landscape(*{"train": ("train", "--dry-run", "-o", "run")}.get(command, (command, "run")))
    assert result.code in (0, 2, 3)
