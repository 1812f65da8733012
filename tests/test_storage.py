"""Files are whole or absent, lines are whole or skipped."""

import hashlib
import os
import stat

import pytest

from landscape import storage
from landscape.storage import append_line, sha256, write_whole


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


def test_the_hash_is_that_of_the_content(tmp_path):
    content = bytes(range(256)) * 5000
    (tmp_path / "file").write_bytes(content)
    assert sha256(tmp_path / "file") == hashlib.sha256(content).hexdigest()
