"""Files are whole or absent, lines are whole or skipped."""

import errno
import hashlib
import io
import json
import os
import socket
import stat

import pytest

from landscape.errors import InputError
from landscape.records import storage
from landscape.records.storage import (
    append_line,
    discard_parts,
    lock,
    open_to_append,
    sha256,
    whole,
    write_all,
    write_whole,
)


class Killed(BaseException):
    pass


def test_the_file_holds_exactly_the_bytes_and_its_folder_is_made(tmp_path):
    write_whole(tmp_path / "a" / "b" / "file.bin", b"\x00\xff\n")
    assert (tmp_path / "a" / "b" / "file.bin").read_bytes() == b"\x00\xff\n"
    assert [p.name for p in (tmp_path / "a" / "b").iterdir()] == ["file.bin"]


def test_the_file_has_the_permissions_that_the_umask_leaves(tmp_path):
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "file", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


@pytest.mark.parametrize("moment", ["fsync", "chmod", "replace"])
def test_dying_while_writing_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, moment):
    write_whole(tmp_path / "file", b"old")

    def die(*arguments):
        raise Killed

    monkeypatch.setattr(storage.os, moment, die)
    with pytest.raises(Killed):
        write_whole(tmp_path / "file", b"new")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("file", b"old")]


def test_a_folder_in_the_place_of_the_file_is_left_alone(tmp_path):
    (tmp_path / "file").mkdir()
    with pytest.raises(OSError, match="file"):
        write_whole(tmp_path / "file", b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_lines_are_appended_in_order(tmp_path):
    for line in ("one", "zwei ä", "three"):
        append_line(tmp_path / "sub" / "lines", line)
    assert (tmp_path / "sub" / "lines").read_bytes() == "one\nzwei ä\nthree\n".encode()


def test_a_torn_last_line_is_ended_before_the_next_is_appended(tmp_path):
    (tmp_path / "lines").write_bytes(b'whole\n{"tor')
    append_line(tmp_path / "lines", "next")
    assert (tmp_path / "lines").read_bytes() == b'whole\n{"tor\nnext\n'


def test_a_full_disk_is_said_with_the_name_of_the_file(tmp_path):
    class Full(io.FileIO):
        def write(self, content):
            raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "file"
    with (
        open_to_append(path) as file,
        Full(file.name, "wb") as full,
        pytest.raises(OSError, match="No space") as lines,
    ):
        write_all(full, b"a line")
    with pytest.raises(OSError, match="No space") as replaced, whole(path):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert (lines.value.filename, replaced.value.filename) == (str(path), str(path))


def test_the_hash_is_that_of_the_content(tmp_path):
    content = bytes(range(256)) * 5000
    (tmp_path / "file").write_bytes(content)
    assert sha256(tmp_path / "file") == hashlib.sha256(content).hexdigest()


WAYS = {
    "write_whole": lambda path: write_whole(path, b"new"),
    "append_line": lambda path: append_line(path, "new"),
}


@pytest.mark.parametrize("write", WAYS.values(), ids=list(WAYS))
@pytest.mark.parametrize("there", [True, False])
def test_nothing_is_written_through_a_link_or_in_its_place(tmp_path, write, there):
    target, link = tmp_path / "bashrc", tmp_path / "measures.jsonl"
    if there:
        target.write_text("mine\n")
    link.symlink_to(target)
    with pytest.raises(InputError, match=r"measures\.jsonl is a symbolic link to .*bashrc") as caught:
        write(link)
    assert "\n" not in str(caught.value)
    assert link.is_symlink()
    assert (target.read_text() if target.exists() else None) == ("mine\n" if there else None)
    assert len(list(tmp_path.iterdir())) == 1 + there


@pytest.fixture(params=["a pipe", "a socket", "a device"])
def special(request, tmp_path, monkeypatch):
    """What it is, and its path."""
    monkeypatch.chdir(tmp_path)  # the name of a socket may have 100 characters
    path, ends = type(tmp_path)("s"), ()
    if request.param == "a pipe":
        os.mkfifo(path)
    elif request.param == "a socket":
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(path))
    else:
        # Not /dev/null: run by root, a test that fails would take it from the whole machine.
        ends = os.openpty()
        path = type(tmp_path)(os.ttyname(ends[1]))
    yield request.param, path
    for end in ends:
        os.close(end)


@pytest.mark.parametrize("write", WAYS.values(), ids=list(WAYS))
def test_what_is_not_a_regular_file_is_refused_without_being_opened(special, write):
    kind, path = special
    before = path.stat()
    with pytest.raises(InputError, match=f"is {kind}, not a regular file"):
        write(path)
    assert (path.stat().st_mode, path.stat().st_ino) == (before.st_mode, before.st_ino)


def test_a_link_that_takes_the_place_of_the_file_meanwhile_is_not_followed(tmp_path, monkeypatch):
    """The look before is not what protects: it can be too early."""
    target, link = tmp_path / "bashrc", tmp_path / "lines"
    target.write_text("mine\n")
    link.symlink_to(target)
    looked = []

    def too_early(path):
        looked.append(path)
        if len(looked) > 1:
            raise InputError("refused")

    monkeypatch.setattr(storage, "refuse_special", too_early)
    with pytest.raises(InputError, match="refused"):
        append_line(link, "new")
    assert target.read_text() == "mine\n"


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o755, 0o444])
def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path, mode):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(mode)
    write_whole(path, b"new")
    assert (stat.S_IMODE(path.stat().st_mode), path.read_bytes()) == (mode, b"new")


def test_a_private_file_is_private_while_it_is_replaced(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o600)
    with whole(path) as place:
        assert stat.S_IMODE(place.stat().st_mode) == 0o600
        place.write_bytes(b"new")
    assert (stat.S_IMODE(path.stat().st_mode), path.read_bytes()) == (0o600, b"new")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
def test_a_file_that_is_replaced_keeps_its_owner(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    os.chown(path, 12345, 23456)
    write_whole(path, b"new")
    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 23456)


def test_an_owner_that_cannot_be_kept_does_not_lose_the_content(tmp_path, monkeypatch):
    def refused(*arguments):
        raise PermissionError

    path = tmp_path / "file"
    path.write_bytes(b"old")
    monkeypatch.setattr(storage.os, "chown", refused)
    monkeypatch.setattr(storage.os, "lstat", lambda name: os.stat_result([0] * 10), raising=False)
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"


def test_only_what_a_killed_write_of_that_file_left_is_discarded(tmp_path, monkeypatch):
    def die(*arguments):
        raise Killed

    monkeypatch.setattr(storage.Path, "unlink", lambda *a, **k: None)
    monkeypatch.setattr(storage.os, "replace", die)
    with pytest.raises(Killed):
        write_whole(tmp_path / "a.pt", b"new")
    monkeypatch.undo()
    [left] = tmp_path.iterdir()
    mine = [
        tmp_path / name
        for name in (".movie.part", ".a.pt.part", ".a.pt.of-my-own.part", ".b.pt.abcdefgh.part")
    ]
    for path in mine:
        path.write_text("mine")
    discard_parts(tmp_path / "a.pt")
    assert not left.exists()
    assert sorted(tmp_path.iterdir()) == sorted(mine)


def test_a_lock_is_of_one_and_ends_with_its_file(tmp_path):
    first, second = open_to_append(tmp_path / "file"), open_to_append(tmp_path / "file")
    assert lock(first.fileno())
    assert not lock(second.fileno())
    first.close()
    assert lock(second.fileno())
    second.close()


def test_half_a_character_is_written_as_json_writes_it(tmp_path):
    append_line(tmp_path / "m.jsonl", json.dumps({"name": "\ud800 θ"}, ensure_ascii=False))
    [line] = (tmp_path / "m.jsonl").read_text().splitlines()
    assert json.loads(line) == {"name": "\ud800 θ"}
