"""What a file may ask of its reader: both sides of every limit, and every byte of an archive."""

import os
import struct
import zipfile

import numpy as np
import pytest

from landscape.errors import InputError
from landscape.records import reading
from landscape.records.reading import (
    array_names,
    check_names,
    check_points,
    check_regular,
    read_arrays,
    read_bytes,
    read_text,
    read_toml,
)

ARRAYS = {
    "x": np.arange(6.0).reshape(2, 3),
    "by_column": np.asfortranarray(np.arange(6, dtype=">i2").reshape(2, 3)),
    "labels": np.array(["a", "bc"]),
    "text": np.array("α"),
    "none": np.zeros((0, 3)),
    "one": np.float32(3),
}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_are_those_that_numpy_reads(tmp_path, save):
    save(tmp_path / "a.npz", **ARRAYS)
    found = read_arrays(tmp_path / "a.npz", what="file")
    assert list(found) == array_names(tmp_path / "a.npz") == list(ARRAYS)
    with np.load(tmp_path / "a.npz") as expected:
        for name, array in found.items():
            assert array.dtype == expected[name].dtype
            assert np.array_equal(array, expected[name])


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_no_edit_of_a_byte_is_read_as_other_numbers(tmp_path, save):
    file = tmp_path / "a.npz"
    save(file, x=np.linspace(0, 1, 5))
    content = file.read_bytes()
    good = read_arrays(file, what="file")["x"]
    for place in range(len(content)):
        file.write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
        try:
            found = read_arrays(file, what="file")
        except InputError:
            continue
        assert all(np.array_equal(array, good) for array in found.values())


def test_objects_are_no_numbers_and_are_not_unpickled(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.array([print], dtype=object))
    with pytest.raises(InputError, match=r"not a file \(x: it holds object, not numbers or text\)"):
        read_arrays(tmp_path / "a.npz", what="file")


def member(header, content=bytes(8), length=None):
    size = len(header) if length is None else length
    return b"\x93NUMPY\x02\x00" + struct.pack("<I", size) + header + content


def header(shape, descr="<f8"):
    return repr({"descr": descr, "fortran_order": False, "shape": shape}).encode()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (member(header((2,))), "claims 2 values of float64, but 8 bytes are there"),
        (member(header((10**12, 10**12))), "claims 1,000,000,000,000,000,000,000,000 values"),
        (member(header((10**9,), "<U0"), b""), "claims 1,000,000,000 values of <U0, but 0 bytes"),
        (member(header((1,)), length=10_001), "its header has 10,001 bytes"),
        (member(b"{" * 100), "x: "),
        (b"\x93NUMPY\x03\x00" + bytes(8), "version"),
        (b"\x93NUMPY\x02\x01" + member(header((1,)))[8:], "version"),
        (b"", "x: "),
    ],
)
def test_a_header_is_believed_only_where_it_agrees_with_the_member(tmp_path, content, words):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", content)
    with pytest.raises(InputError) as caught:
        read_arrays(tmp_path / "a.npz", what="file")
    assert words in str(caught.value)


def test_a_header_that_agrees_is_believed(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", member(header((1,)) + b" " * 9900))
    assert read_arrays(tmp_path / "a.npz", what="file")["x"].tolist() == [0.0]


def test_arrays_take_so_much_beyond_the_file_and_no_more(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros(100_000, np.int16))
    size = (tmp_path / "a.npz").stat().st_size
    needed = 10 * 100_000 - 12 * size  # each becomes 64 bits wide while the 16 are there
    monkeypatch.setattr(reading, "BEYOND", needed)
    assert read_arrays(tmp_path / "a.npz", what="file")["x"].size == 100_000
    monkeypatch.setattr(reading, "BEYOND", needed - 1)
    with pytest.raises(InputError, match="beyond its own; this is no file"):
        read_arrays(tmp_path / "a.npz", what="file")
    declared = 200_000 + 128  # the header of the array
    for beyond, words in ((declared, "beyond its own"), (declared - 1, "would unpack to 0 GiB")):
        monkeypatch.setattr(reading, "BEYOND", beyond - 12 * size)
        with pytest.raises(InputError, match=words):
            read_arrays(tmp_path / "a.npz", what="file")


@pytest.mark.parametrize(
    ("kind", "each"), [("u1", 3), ("i1", 9), ("u2", 10), ("f4", 12), ("f8", 24), ("i8", 24), ("?", 9)]
)
def test_what_a_number_takes_while_it_is_converted(kind, each):
    assert reading._converted(np.dtype(kind)) == each


def test_the_limits_are_those_that_are_documented():
    assert (reading.BEYOND, reading.LONGEST_TEXT, reading.LONGEST_RECIPE) == (2**30, 64 * 2**20, 16 * 2**10)
    assert (reading.MOST_POINTS, reading.LONGEST_NAME, reading.MOST_DOTS) == (2048**2, 1024, 64)
    assert reading.LONGEST_HEADER == 8 * 2**20


@pytest.mark.parametrize(("mark", "cost"), [(b"{", 400), (b"[", 100), (b",", 70)])
def test_dictionaries_lists_and_values_are_reckoned_with_what_they_take(tmp_path, monkeypatch, mark, cost):
    (tmp_path / "text").write_bytes(mark * 1000)
    monkeypatch.setattr(reading, "BEYOND", 1000 * (cost + 3))
    assert len(read_bytes(tmp_path / "text")) == 1000
    monkeypatch.setattr(reading, "BEYOND", 1000 * (cost + 3) - 1)
    with pytest.raises(InputError, match="would take more than"):
        read_bytes(tmp_path / "text")


def test_the_list_of_an_archive_has_a_length(tmp_path, monkeypatch):
    np.savez(tmp_path / "a.npz", x=np.zeros(3))
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        listed = (tmp_path / "a.npz").stat().st_size - archive.start_dir - 22
    monkeypatch.setattr(reading, "LONGEST_HEADER", listed)
    assert array_names(tmp_path / "a.npz") == ["x"]
    monkeypatch.setattr(reading, "LONGEST_HEADER", listed - 1)
    with pytest.raises(InputError, match=f"its list of parts has {listed} bytes"):
        read_arrays(tmp_path / "a.npz", what="file")


def test_texts_have_a_length(tmp_path):
    for read, most, content in (
        (read_text, reading.LONGEST_TEXT, b" "),
        (read_toml, reading.LONGEST_RECIPE, b"\n"),
    ):
        file = tmp_path / "text"
        file.write_bytes(content * most)
        assert len(read(file)) in (0, most)
        file.write_bytes(content * (most + 1))
        with pytest.raises(InputError, match=f"more than the {most:,} that such a file may have"):
            read(file)


def test_texts_fit_as_objects(tmp_path):
    file, values = tmp_path / "text", reading.BEYOND // (70 + 3 * 2)
    file.write_bytes(b"1," * values)
    assert len(read_bytes(file)) == 2 * values
    file.write_bytes(b"1," * (values + 1))
    with pytest.raises(InputError, match="would take more than 1,073,741,824 bytes"):
        read_bytes(file)


def test_text_that_is_no_utf_8_is_no_toml_but_text(tmp_path):
    (tmp_path / "text").write_bytes(b'a = "\xff"')
    assert read_text(tmp_path / "text") == 'a = "\ufffd"'
    with pytest.raises(InputError, match="is not TOML"):
        read_toml(tmp_path / "text")


def test_names_have_a_length_and_a_depth(tmp_path):
    check_names(tmp_path, ["a" * 1024, "a." * 64, 3])
    for name in ("a" * 1025, "a." * 65):
        with pytest.raises(InputError, match="the file is damaged"):
            check_names(tmp_path, ["w", name])


def test_a_surface_has_so_many_points(tmp_path):
    check_points(tmp_path, "loss", 2048 * 2048)
    with pytest.raises(InputError, match="claims 4,194,305 values of loss"):
        check_points(tmp_path, "loss", 2048 * 2048 + 1)


def test_a_large_file_of_holes_was_not_written_to_the_end(tmp_path):
    for name, size in (("small", reading.BEYOND), ("large", reading.BEYOND + 1)):
        (tmp_path / name).touch()
        os.truncate(tmp_path / name, size)
    assert check_regular(tmp_path / "small") == reading.BEYOND
    with pytest.raises(InputError, match="of which 0 are on disk"):
        check_regular(tmp_path / "large")


@pytest.mark.parametrize(("written", "whole"), [(0.9, False), (1.5, True)])
def test_a_thousandth_of_a_large_file_is_on_disk(tmp_path, written, whole):
    with (tmp_path / "large").open("wb") as file:
        file.write(b"x" * int(written * 2**20))
        file.truncate(reading.BEYOND + 2**20)
    if whole:
        assert check_regular(tmp_path / "large") == reading.BEYOND + 2**20
    else:
        with pytest.raises(InputError, match="are on disk"):
            check_regular(tmp_path / "large")


def test_what_is_no_file_is_said(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, words in (
        (tmp_path / "none", "does not exist"),
        (tmp_path, "is a folder"),
        (tmp_path / "pipe", "not a regular file"),
    ):
        with pytest.raises(InputError, match=words):
            check_regular(path)


def test_a_lack_of_memory_is_the_fault_of_the_file(tmp_path):
    for failure in (MemoryError, RecursionError, OverflowError):
        with (
            pytest.raises(InputError, match="cannot be read as a surface"),
            reading.reading(tmp_path, "surface"),
        ):
            raise failure


def test_records_of_several_numbers_are_no_numbers(tmp_path):
    np.savez(tmp_path / "s.npz", loss=np.zeros(3, dtype=[("a", "f4"), ("b", "i4")]))
    with pytest.raises(InputError, match="not numbers or text"):
        reading.read_arrays(tmp_path / "s.npz", what="surface")


def test_a_name_that_is_too_long_is_said_in_the_words_of_the_system(tmp_path):
    with pytest.raises(InputError, match=r"cannot be opened: [^\[\]]*; name another file"):
        reading.check_regular(tmp_path / ("n" * 300))
