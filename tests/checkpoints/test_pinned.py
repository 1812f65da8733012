"""Weights and hash are of the same bytes, whatever happens to the file while it is being read."""

import hashlib
import os
import threading

import pytest
import safetensors.torch
import torch

from landscape.checkpoints import pinned, read_checkpoint, reading
from landscape.errors import InputError

WRITERS = {
    "torch": torch.save,
    "before 1.6": lambda state, file: torch.save(state, file, _use_new_zipfile_serialization=False),
    "safetensors": safetensors.torch.save_file,
}


def renamed(file, content):
    file.with_name("new").write_bytes(content)
    os.replace(file.with_name("new"), file)


def overwritten(file, content):
    with file.open("r+b") as stream:
        stream.write(content)


def truncated(file, content):
    os.truncate(file, 0)


HAPPENS = [renamed, overwritten, truncated]


@pytest.fixture(params=list(WRITERS))
def files(request, tmp_path):
    """A checkpoint of ones, some time old, and the bytes of one of twos of the same length."""
    for number in (1.0, 2.0):
        WRITERS[request.param]({"w": torch.full((64, 64), number)}, tmp_path / f"{number:g}")
    os.utime(tmp_path / "1", (1e9, 1e9))
    return tmp_path / "1", (tmp_path / "2").read_bytes()


@pytest.fixture
def happening(monkeypatch):
    """A function: something that happens to a file just before or after it is opened."""

    open_file = reading.open_file

    def arrange(file, happens, when, content):
        def interfered(opened, **options):
            if when == "before":
                happens(file, content)
            result = open_file(opened, **options)
            if when == "after":
                happens(file, content)
            return result

        monkeypatch.setattr(reading, "open_file", interfered)

    return arrange


@pytest.mark.parametrize("happens", HAPPENS)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_file_that_changes_meanwhile_is_read_as_it_was(files, happening, happens, when):
    file, other = files
    expected = hashlib.sha256(file.read_bytes()).hexdigest()
    happening(file, happens, when, other)
    contents = read_checkpoint(file)
    assert contents.sha256 == contents.identity == expected
    assert torch.equal(contents.state["w"], torch.ones(64, 64))
    assert contents.path == file


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_file_too_large_to_copy_may_be_replaced_and_a_write_to_it_is_noticed(
    files, happening, when, monkeypatch
):
    monkeypatch.setattr(pinned, "COPIED_BYTES", 0)
    file, other = files
    expected = hashlib.sha256(file.read_bytes()).hexdigest()
    happening(file, renamed, when, other)
    contents = read_checkpoint(file)
    assert contents.sha256 == expected
    assert torch.equal(contents.state["w"], torch.ones(64, 64))
    os.utime(file, (1e9, 1e9))
    happening(file, overwritten, when, other)
    with pytest.raises(InputError, match="was written to while it was read"):
        read_checkpoint(file)


@pytest.mark.parametrize("descriptors", ["/proc/self/fd", "/nowhere"])
def test_where_the_system_has_no_file_in_memory_the_file_is_mapped_and_watched(
    files, happening, descriptors, monkeypatch
):
    """Such as in a container that forbids it, and on macOS, where there is no path to a descriptor either."""

    def forbidden(name):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(pinned.os, "memfd_create", forbidden)
    monkeypatch.setattr(pinned, "_DESCRIPTORS", pinned.Path(descriptors))
    file, other = files
    assert torch.equal(read_checkpoint(file).state["w"], torch.ones(64, 64))
    happening(file, overwritten, "after", other)
    with pytest.raises(InputError, match="was written to while it was read"):
        read_checkpoint(file)


def test_messages_name_the_file_that_was_given(tmp_path):
    (tmp_path / "bad.safetensors").write_bytes((10**6).to_bytes(8, "little") + b"{" + bytes(50))
    with pytest.raises(InputError, match=rf"^{tmp_path}/bad\.safetensors \(59 bytes\) cannot be read"):
        read_checkpoint(tmp_path / "bad.safetensors")


def test_an_index_that_changes_meanwhile_is_said(tmp_path, monkeypatch):
    safetensors.torch.save_file({"w": torch.ones(3)}, tmp_path / "a")
    index = tmp_path / "m.index.json"
    index.write_text('{"weight_map": {"w": "a"}}')
    open_file = reading.open_file

    def interfered(file, **options):
        index.write_text('{"weight_map": {"w": "b"}}')
        return open_file(file, **options)

    monkeypatch.setattr(reading, "open_file", interfered)
    with pytest.raises(InputError, match=r"m\.index\.json was written to while it was read"):
        read_checkpoint(index)


def test_of_many_reads_beside_a_writer_none_has_the_hash_of_other_weights(tmp_path):
    """As it happens: a process that keeps saving, by a rename or over the file itself, while another one reads."""
    contents, known = [], {}
    for number in (1.0, 2.0):
        torch.save({"w": torch.full((64, 64), number)}, tmp_path / "m.pt")
        contents.append((tmp_path / "m.pt").read_bytes())
        known[hashlib.sha256(contents[-1]).hexdigest()] = number
    stopped = threading.Event()

    def write():
        while not stopped.is_set():
            for happens in (renamed, overwritten):
                for content in contents:
                    happens(tmp_path / "m.pt", content)

    writer = threading.Thread(target=write)
    writer.start()
    read = 0
    try:
        for _ in range(60):
            try:
                found = read_checkpoint(tmp_path / "m.pt")
            except InputError:  # half of one and half of the other: its check sums tell
                continue
            assert torch.equal(found.state["w"], torch.full((64, 64), known[found.sha256]))
            read += 1
    finally:
        stopped.set()
        writer.join()
    assert read > 0


def test_a_file_of_more_than_a_gigabyte_is_not_copied(tmp_path):
    assert pinned.COPIED_BYTES == 2**30
    for size, copied in ((1000, True), (2**30 + 1, False)):
        with (tmp_path / "m").open("wb") as stream:
            stream.truncate(size)
        with pinned.pinned(tmp_path / "m") as path:
            assert ("memfd" in os.readlink(path)) == copied


def test_no_more_is_copied_than_there_was_at_first(tmp_path, monkeypatch):
    monkeypatch.setattr(pinned, "_CHUNK", 10)
    (tmp_path / "m").write_bytes(bytes(range(15)))
    write = os.write

    def growing(copy, chunk):
        with (tmp_path / "m").open("ab") as stream:
            stream.write(bytes(100))
        return write(copy, chunk)

    monkeypatch.setattr(pinned.os, "write", growing)
    with pinned.pinned(tmp_path / "m") as path:
        assert path.read_bytes() == bytes(range(15))


@pytest.mark.parametrize("lacking", ["memfd_create", "descriptors"])
def test_where_either_is_lacking_nothing_is_copied(tmp_path, monkeypatch, lacking):
    if lacking == "descriptors":
        monkeypatch.setattr(pinned, "_DESCRIPTORS", pinned.Path("/nowhere"))
    else:
        monkeypatch.delattr(os, "memfd_create")
    (tmp_path / "m").write_bytes(b"before")
    with (  # noqa: PT012
        pytest.raises(InputError, match="was written to while it was read"),
        pinned.pinned(tmp_path / "m") as path,
    ):
        assert path.read_bytes() == b"before"
        (tmp_path / "m").write_bytes(b"after it")
