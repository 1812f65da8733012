"""What a zip archive may be before it is opened as a checkpoint: both sides of every rule."""

import zipfile

import pytest
import torch

from landscape.checkpoints.archive import (
    GENEROUS,
    _check_kind,
    _check_size,
    check_archive,
    first_line,
    refuse_other_kinds,
)
from landscape.checkpoints.weights import check_tensors
from landscape.errors import InputError
from landscape.records.storage import sha256


@pytest.mark.parametrize(
    ("head", "refused"),
    [
        (b"\x08\x01\x12", True),
        (b"\x08\x1f\x42", True),
        (b"\x08\x00\x12", False),
        (b"\x08\x20\x12", False),
        (b"\x08\x07\x13", False),
        (b"\x09\x07\x12", False),
    ],
)
def test_a_model_of_onnx_is_told_by_its_version_and_next_field(tmp_path, head, refused):
    (tmp_path / "m").write_bytes(head)
    if refused:
        with pytest.raises(InputError, match="is an ONNX model"):
            refuse_other_kinds(tmp_path / "m", head + bytes(20))
    else:
        refuse_other_kinds(tmp_path / "m", head + bytes(20))


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["data.pkl"], None),
        (["m/data.pkl", "m/data/0", "m/version"], None),
        (["m/n/data.pkl"], "not one that torch.save writes"),
        (["m/data.pkl", "n/data.pkl"], "not one that torch.save writes"),
        (["m/data.pkl", "m/data/0", "m/data/0"], "not one that torch.save writes"),
        (["e", "d", "c", "b", "a"], r"\(it holds a, b, c, d\)"),
        ([], "it holds nothing"),
        (["m/data.pkl", "m/constants.pkl"], "TorchScript"),
        (["m/data.pkl", "m/archive_format"], "exported program"),
        (["m/data.pkl", "serialized_exported_program.json"], "exported program"),
    ],
)
def test_the_names_in_an_archive_are_those_of_torch_save(tmp_path, names, words):
    (tmp_path / "m").touch()
    if words is None:
        _check_kind(tmp_path / "m", names)
    else:
        with pytest.raises(InputError, match=words):
            _check_kind(tmp_path / "m", names)


def test_the_parts_of_an_archive_are_no_larger_than_the_file(tmp_path):
    (tmp_path / "m").write_bytes(bytes(100))
    parts = [zipfile.ZipInfo("a"), zipfile.ZipInfo("b")]
    parts[0].file_size, parts[1].file_size = 60, 40
    _check_size(tmp_path / "m", parts)
    parts[1].file_size = 41
    with pytest.raises(InputError, match=r"\(101 bytes\) are more than the file"):
        _check_size(tmp_path / "m", parts)
    parts[1].file_size, parts[1].compress_type = 0, zipfile.ZIP_DEFLATED
    with pytest.raises(InputError, match="is compressed"):
        _check_size(tmp_path / "m", parts)


def test_an_archive_without_check_sums_is_remarked_on(tmp_path):
    content = {"a": torch.arange(4.0), "b": torch.ones(3), "c": torch.zeros(0)}
    torch.save(content, tmp_path / "with")
    assert check_archive(tmp_path / "with") == (sha256(tmp_path / "with"), [])
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(content, tmp_path / "without")
    finally:
        torch.serialization.set_crc32_options(before)
    digest, [remark] = check_archive(tmp_path / "without")
    assert digest == sha256(tmp_path / "without")
    assert remark == "it was saved without check sums, so that damage would not be noticed"


def test_parts_that_overlap_are_damage(tmp_path):
    torch.save({"a": torch.arange(4.0), "b": torch.ones(400)}, tmp_path / "m")
    with zipfile.ZipFile(tmp_path / "m") as archive:
        small, large = archive.getinfo("m/data/0"), archive.getinfo("m/data/1")
    content = bytearray((tmp_path / "m").read_bytes())
    entry = content.find(b"m/data/1", large.header_offset + 40) - 4
    content[entry : entry + 4] = (small.header_offset).to_bytes(4, "little")
    (tmp_path / "m").write_bytes(content)
    with pytest.raises(InputError, match="its zip archive breaks off or is broken"):
        check_archive(tmp_path / "m")


def test_tensors_show_at_most_four_times_the_file_and_16_megabytes(tmp_path):
    assert GENEROUS == 16 * 2**20
    shown = torch.zeros(1, dtype=torch.uint8).expand(4 * 1000 + GENEROUS)
    check_tensors(tmp_path, {"a": shown}, stored=1000)
    with pytest.raises(InputError, match="but the file has 999"):
        check_tensors(tmp_path, {"a": shown}, stored=999)


def test_of_a_message_the_first_160_characters_of_the_first_line_are_shown():
    assert first_line(ValueError("a" * 161 + "\nb")) == "a" * 160
    assert first_line(ValueError("a\nb")) == "a"
    assert first_line(ValueError()) == "ValueError"
