"""Any bytes changed in a good checkpoint: it opens with tensors that are sound, or is one clear error."""

import hashlib
import math
import tempfile
from pathlib import Path

import pytest
import safetensors.torch
import torch
from checkpoints.supervision import supervised
from hypothesis import given, settings
from hypothesis import strategies as st

from landscape.checkpoints import read_checkpoint
from landscape.errors import InputError

STATE = {"a.weight": torch.arange(12.0).reshape(3, 4), "a.bias": torch.ones(3), "b.weight": torch.zeros(2, 3)}
NETWORK = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
CONTENT = {"epoch": 3, "state_dict": STATE, "best": 0.5}
WRITERS = {
    "zip": lambda path: torch.save(CONTENT, path),
    "old": lambda path: torch.save(CONTENT, path, _use_new_zipfile_serialization=False),
    "a network": lambda path: torch.save(NETWORK, path),
    "an old network": lambda path: torch.save(NETWORK, path, _use_new_zipfile_serialization=False),
    "safetensors": lambda path: safetensors.torch.save_file(STATE, path),
}


def good(form):
    with tempfile.TemporaryDirectory() as folder:
        WRITERS[form](Path(folder) / "m")
        return (Path(folder) / "m").read_bytes()


GOOD = {form: good(form) for form in WRITERS}


@st.composite
def edited(draw, content):
    """The bytes with a few of them replaced, removed, repeated or put in."""
    content = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(content) - 1))
        length = draw(st.integers(0, 8))
        content[place : place + length] = draw(st.binary(max_size=8))
    return bytes(content)


def opened(path):
    try:
        return read_checkpoint(path), ""
    except InputError as failure:
        return None, str(failure)


@pytest.mark.parametrize("form", list(GOOD))
@settings(max_examples=150, deadline=None, derandomize=True)
@given(data=st.data())
def test_bytes_changed_at_random_give_sound_tensors_or_one_error(form, data):
    content = data.draw(edited(GOOD[form]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m"
        path.write_bytes(content)
        with supervised() as events:
            contents, said = opened(path)
        assert events == []
        assert len(said.splitlines()) == (contents is None)
        if contents is not None:
            assert contents.sha256 == hashlib.sha256(content).hexdigest()
            for name, tensor in contents.state.items():
                assert name.isprintable()
                assert tensor.numel() == math.prod(tensor.shape) < 2**24
                tensor.double().sum()
        assert path.read_bytes() == content


def test_damaged_weights_in_an_archive_are_always_noticed(tmp_path):
    """Safetensors and the old format have no check sums; the archives of torch.save do."""
    start = GOOD["zip"].find(STATE["a.weight"].numpy().tobytes())
    for offset in range(48):
        content = bytearray(GOOD["zip"])
        content[start + offset] ^= 1
        (tmp_path / "m").write_bytes(content)
        with pytest.raises(InputError, match="check sum"):
            read_checkpoint(tmp_path / "m")
