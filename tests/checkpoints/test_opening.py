"""Both sides of every rule by which one file is opened or refused."""

import io
import pickle
import tarfile
from pathlib import Path

import pytest
import safetensors.torch
import torch
from checkpoints.bad_pickles import old_tar
from torch import nn

from landscape.checkpoints import opening, read_checkpoint
from landscape.checkpoints.opening import open_file
from landscape.errors import InputError


@pytest.mark.parametrize("name", ["m", "m.safetensors"])
def test_a_header_may_reach_to_the_end_of_the_file_and_no_further(tmp_path, name):
    file = tmp_path / name
    safetensors.torch.save_file({"w": torch.zeros(0, 3)}, file)
    assert open_file(file, trust=False).content["w"].shape == (0, 3)
    content = file.read_bytes()
    length = int.from_bytes(content[:8], "little")
    assert length == len(content) - 8
    file.write_bytes((length + 1).to_bytes(8, "little") + content[8:])
    said = "safetensors header should have" if name == "m.safetensors" else "it begins with"
    with pytest.raises(InputError, match=said):
        open_file(file, trust=False)


def test_a_header_is_as_long_as_allowed_and_no_longer(tmp_path, monkeypatch):
    safetensors.torch.save_file({"w": torch.ones(2)}, tmp_path / "m")
    length = int.from_bytes((tmp_path / "m").read_bytes()[:8], "little")
    monkeypatch.setattr(opening, "LONGEST_HEADER", length)
    assert torch.equal(open_file(tmp_path / "m", trust=False).content["w"], torch.ones(2))
    monkeypatch.setattr(opening, "LONGEST_HEADER", length - 1)
    with pytest.raises(InputError, match=f"more than {length - 1}"):
        open_file(tmp_path / "m", trust=False)


def test_a_newer_protocol_of_pickle_is_named(tmp_path):
    torch.save({"w": torch.ones(2)}, tmp_path / "m", pickle_protocol=3)
    with pytest.raises(InputError, match=r"is in pickle protocol 3, .*--trust-checkpoint"):
        open_file(tmp_path / "m", trust=False)
    assert torch.equal(open_file(tmp_path / "m", trust=True).content["w"], torch.ones(2))


@pytest.mark.parametrize(("count", "more"), [(8, r"n7\. If"), (9, r"n7 and 1 more\. If")])
def test_eight_of_the_names_in_a_file_are_listed(tmp_path, count, more):
    names = b"".join(b"cposix\nn%d\n" % number for number in range(count))
    (tmp_path / "m").write_bytes(b"\x80\x02(" + names + b"l.")
    with pytest.raises(InputError, match=f"posix.n0, .*posix.{more}"):
        open_file(tmp_path / "m", trust=False)


def test_the_tar_format_of_2016_is_named(tmp_path):
    old_tar(tmp_path / "m", tmp_path / "canary")
    with pytest.raises(
        InputError, match=r"would run code when opened: it refers to torch's tar format of 2016"
    ):
        open_file(tmp_path / "m", trust=False)
    assert not (tmp_path / "canary").exists()


def test_the_weights_of_an_archive_stay_on_the_disk(tmp_path):
    torch.save({"w": torch.ones(1000)}, tmp_path / "m")
    tensor = open_file(tmp_path / "m", trust=False).content["w"]
    mapped = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
    ranges = [line[0].split("-") for line in mapped if line[-1] == str(tmp_path / "m")]
    assert any(int(start, 16) <= tensor.data_ptr() < int(end, 16) for start, end in ranges)


def test_a_class_allowed_under_another_name_is_opened(tmp_path):
    name = "torch.nn.modules.linear.Identity"
    torch.save({"w": torch.ones(2), "clock": nn.Identity}, tmp_path / "m")
    with torch.serialization.safe_globals([(nn.Identity, name)]):
        assert open_file(tmp_path / "m", trust=False).content["clock"] is nn.Identity


def test_a_pickle_of_any_protocol_is_told_by_its_first_byte(tmp_path):
    for protocol in range(5):
        (tmp_path / "m").write_bytes(pickle.dumps({"a": 1}, protocol=protocol))
        assert open_file(tmp_path / "m", trust=True).content == {"a": 1}
    (tmp_path / "m").write_bytes(b"N.")
    with pytest.raises(InputError, match=r"it begins with b'N\.'"):
        open_file(tmp_path / "m", trust=True)


def test_the_tar_format_of_2016_is_read_where_it_is_trusted(tmp_path):
    parts = {"storages": [0, []], "tensors": [0], "pickle": [{"w": torch.arange(3.0)}]}
    with tarfile.open(tmp_path / "m.pt", "w") as archive:
        for name, values in parts.items():
            content = b"".join(pickle.dumps(value, protocol=2) for value in values)
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    with pytest.raises(InputError, match="tar format of 2016"):
        read_checkpoint(tmp_path / "m.pt")
    contents = read_checkpoint(tmp_path / "m.pt", trust=True)
    assert contents.form == "torch.save of 2016"
    assert contents.state["w"].tolist() == [0, 1, 2]
