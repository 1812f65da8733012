"""Files that are no good: cut, bent, of another kind, too large, or with weights that cannot be used."""

import json
import os
import struct
import warnings
import zipfile

import safetensors.torch
import torch
from torch import nn

from landscape.models import build_model


def mlp(*, classes=10, shape=(1, 8, 8), **changes):
    state = build_model("mlp:width=8,depth=1", classes=classes, input_shape=shape, seed=0).state_dict()
    return {**state, **changes}


def saved(content=None, **options):
    def write(path):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.save(
                content() if callable(content) else mlp() if content is None else content, path, **options
            )

    return write


def cut(write, length):
    """The first bytes of a good file; a fraction of them, or so many before the end."""

    def shorten(path):
        write(path)
        whole = path.read_bytes()
        path.write_bytes(whole[: int(length * len(whole)) if isinstance(length, float) else length])

    return shorten


def bent(write, where):
    """A good file with one bit turned over at the place that a function of its bytes gives."""

    def bend(path):
        write(path)
        content = bytearray(path.read_bytes())
        content[where(bytes(content))] ^= 4
        path.write_bytes(content)

    return bend


def tensors(path):
    safetensors.torch.save_file(mlp(), path)


def header(text, *, length=None, rest=b""):
    """A safetensors file with this header, which may lie about its length."""
    content = text.encode() if isinstance(text, str) else text

    def write(path):
        path.write_bytes(struct.pack("<Q", len(content) if length is None else length) + content + rest)

    return write


def entry(start, end, *, shape=(2,), dtype="F32"):
    return json.dumps({"w": {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}})


def bomb(path):
    """40 MB of zeros in a few bytes, as the pickle of an archive."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("archive/data.pkl", bytes(40_000_000))
        opened.writestr("archive/version", "3\n")


def compressed(path):
    """A good archive compressed: mapped into memory, its weights would be other numbers."""
    saved()(path)
    with zipfile.ZipFile(path) as opened:
        parts = {name: opened.read(name) for name in opened.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in parts.items():
            opened.writestr(name, content)


def overlapping(path):
    """Every part of the archive is said to be as long as the file."""
    saved()(path)
    content = bytearray(path.read_bytes())
    place = content.find(b"PK\x01\x02")
    while place >= 0:
        content[place + 20 : place + 28] = struct.pack("<II", len(content), len(content))
        place = content.find(b"PK\x01\x02", place + 4)
    path.write_bytes(content)


def instructions(path):
    from checkpoints.bad_pickles import archive

    archive(path, b"\x80\x02" + b"N0" * 10_000 + b"N.")


def memory(path):
    """A bytearray of 100 GB, which Python fills with zeros."""
    from checkpoints.bad_pickles import archive

    archive(path, b"\x80\x02cbuiltins\nbytearray\n\x8a\x06" + (10**11).to_bytes(6, "little") + b"\x85R.")


def plain_zip(path):
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr("weights.npy", b"\x93NUMPY")


def torchscript(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)).save(path)


def index(content, **shards):
    """A folder of shards with an index."""

    def write(path):
        path.mkdir()
        text = content if isinstance(content, str) else json.dumps(content)
        (path / "model.safetensors.index.json").write_text(text)
        for name, state in shards.items():
            safetensors.torch.save_file(state, path / f"{name}.safetensors")

    return write


def linked_shard(path):
    index({"weight_map": {"w": "a.safetensors"}})(path)
    safetensors.torch.save_file({"w": torch.ones(2)}, path.parent / "elsewhere.safetensors")
    (path / "a.safetensors").symlink_to(path.parent / "elsewhere.safetensors")


def loop(path):
    path.symlink_to(path.name)


def dangling(path):
    path.symlink_to("gone.pt")


def distributed(path):
    path.mkdir()
    (path / ".metadata").write_bytes(b"\x80")


def quantised():
    return {"w": torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.qint8)}


def packed():
    return {"w": torch.zeros(4, dtype=torch.uint8).view(torch.float4_e2m1fn_x2)}


def nested():
    return {"w": torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])}


def dimensions(count):
    return header(entry(0, 4, shape=(1,) * count), rest=bytes(4))


def endless():
    return {"w": torch.zeros(1).expand(10**6, 10**6)}


def nan(value):
    return mlp(**{"layers.1.bias": torch.full((8,), value)})


def weights_as(dtype):
    return {name: tensor.to(dtype) for name, tensor in mlp().items()}


def renamed(text):
    return {text + name: tensor for name, tensor in mlp().items()}


def pipe(path):
    os.mkfifo(path)


def file(content):
    return lambda path: path.write_bytes(content)


def nothing(path):
    """No file at all."""
