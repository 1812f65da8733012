"""Text as token numbers: what the bytes are, that no byte is in both parts, and what is refused."""

import hashlib
import pydoc_data.topics
import sys
import sysconfig
from pathlib import Path

import pytest
import torch

from landscape.data import load_data
from landscape.data.text import LARGEST, MODULES
from landscape.errors import InputError, UsageError


def read(data):
    """The bytes of both parts, in order."""
    return b"".join(bytes(tokens.tolist()) for part in (data.train, data.test) for tokens, _ in part)


def test_the_topics_are_those_that_help_shows():
    topics = pydoc_data.topics.topics
    expected = "\n\n".join(topics[name] for name in sorted(topics)).encode()
    data = load_data("text:length=100")
    content = read(data)
    assert len(expected) - 100 < len(content) <= len(expected)
    assert content == expected[: len(content)]
    assert hashlib.sha256(expected).hexdigest()[:12] in data.notes[0]


def test_the_source_code_is_that_of_the_standard_library():
    folder = Path(sysconfig.get_path("stdlib"))
    first = (folder / f"{MODULES[0]}.py").read_bytes()
    assert read(load_data("text:source=stdlib,limit=2000")) == first[: 2000 // 128 * 128]


def test_each_target_is_the_next_token_and_the_last_counts_nothing():
    data = load_data("text:length=10,limit=500")
    tokens, targets = data.train[3]
    assert torch.equal(targets[:-1], tokens[1:])
    assert int(targets[-1]) == -100
    assert (data.input_shape, data.classes) == ((10,), None)


def test_a_file_of_ones_own_is_split_at_its_end(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(bytes(range(256)))
    data = load_data(f"text:{path}:length=8,test=0.25")
    assert (len(data.train), len(data.test)) == (24, 8)
    assert read(data) == bytes(range(256))
    assert read(load_data(f"text:{path}:length=8,limit=64")) == bytes(range(64))
    assert load_data(data.name).notes == load_data(f"{path}:length=8,test=0.25").notes == data.notes


def test_a_remainder_is_left_out_and_each_part_has_a_sequence(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"abcdefg")
    data = load_data(f"text:{path}:length=3,test=0.9")
    assert [bytes(tokens.tolist()) for tokens, _ in (*data.train, *data.test)] == [b"abc", b"def"]


@pytest.mark.parametrize(
    ("name", "error", "expected"),
    [
        ("text:length=1", UsageError, "length=1"),
        ("text:test=1", UsageError, "test=1"),
        ("text:source=novel", UsageError, "one of topics, stdlib"),
        ("text:limit=100", InputError, "100 bytes are 0 sequences of 128 tokens"),
        ("text:missing.txt", InputError, "there is no file missing.txt"),
        ("text:here.txt:length=9", InputError, "12 bytes are 1 sequences of 9 tokens"),
        ("text:.", InputError, "there is no file"),
    ],
)
def test_what_cannot_be_read_is_one_line(name, error, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.txt").write_bytes(b"twelve bytes")
    with pytest.raises(error, match=expected) as caught:
        load_data(name)
    assert "\n" not in str(caught.value)


def test_a_large_file_is_read_as_far_as_the_limit_says(tmp_path):
    path = tmp_path / "large.txt"
    with path.open("wb") as file:
        file.write(b"x" * 4096)
        file.truncate(LARGEST + 1)
    with pytest.raises(UsageError, match=f"limit={LARGEST}"):
        load_data(f"text:{path}")
    assert read(load_data(f"text:{path}:limit=256")) == b"x" * 256


@pytest.mark.parametrize("source", ["topics", "stdlib"])
def test_a_python_without_the_text_says_so(source, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    monkeypatch.setattr("landscape.data.text.sysconfig.get_path", lambda name: str(tmp_path))
    with pytest.raises(InputError, match=r"this Python comes without .* text:FILE.txt") as caught:
        load_data(f"text:source={source}")
    assert "\n" not in str(caught.value)
