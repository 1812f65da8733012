"""The names that a pickle would import are all found, however it spells them."""

import io
import os
import pickle
import zipfile

import pytest

from landscape.checkpoints import pickled_names as module
from landscape.checkpoints import read_checkpoint
from landscape.checkpoints.pickled_names import Pickles, pickled_names
from landscape.errors import InputError


def text(value):
    return b"\x8c" + bytes([len(value)]) + value.encode()


SYSTEM = text("posix"), text("system")
SPELLED = {
    "one name alone": pickle.dumps(os.system, protocol=4),
    "a text fetched from what MEMOIZE keeps": pickle.dumps([os.getpid, os.system], protocol=4),
    "a text fetched from what BINPUT keeps": b"".join(
        [b"\x80\x04", SYSTEM[0], b"q\x05", text("other"), b"q\x06", b"h\x05", SYSTEM[1], b"\x93."]
    ),
    "a number between that is a place in the memory": b"".join(
        [b"\x80\x04", SYSTEM[0], b"\x94", SYSTEM[1], b"\x94", b"K\x000", b"\x93."]
    ),
    "after a thousand texts": b"".join(
        [b"\x80\x04(", *[text("x")] * 1001, *SYSTEM, b"\x93", *[text("y")] * 3, b"l."]
    ),
    "the thousandth text is the module": b"".join([b"\x80\x04(", *[text("x")] * 999, *SYSTEM, b"\x93l."]),
    "other texts that are removed": b"".join(
        [b"\x80\x04", *SYSTEM, text("collections"), text("OrderedDict"), b"00\x93."]
    ),
    "a mark that is removed": b"".join([b"\x80\x04", *SYSTEM, b"(", *[text("x")] * 2, b"1\x93."]),
    "an empty mark that is removed": b"".join([b"\x80\x04", *SYSTEM, b"(0\x93."]),
    "a text that is repeated": b"".join(
        [b"\x80\x04", SYSTEM[0], b"2", text("x"), b"00", SYSTEM[1], b"\x93."]
    ),
    "texts of Python 2": b"\x80\x04U\x05posixU\x06system\x93.",
    "a list around them": b"".join([b"\x80\x04](", *SYSTEM, b"\x93e."]),
    "of Python 2": b"\x80\x02cposix\nsystem\n.",
    "an instance": b"(iposix\nsystem\n.",
}


@pytest.mark.parametrize("how", list(SPELLED))
def test_a_name_is_found(tmp_path, how):
    (tmp_path / "m").write_bytes(SPELLED[how])
    assert "posix.system" in pickled_names(tmp_path / "m").names
    assert set(pickled_names(tmp_path / "m").names) <= {"posix.system", "posix.getpid"}


def test_a_pickle_of_as_many_instructions_as_allowed_is_too_long(monkeypatch):
    assert module.MOST_INSTRUCTIONS == 1_000_000
    monkeypatch.setattr(module, "MOST_INSTRUCTIONS", 100)
    short, long = Pickles(set()), Pickles(set())
    short.read(io.BytesIO(b"N0" * 49 + b"."))  # 99
    assert not short.endless
    with pytest.raises(ValueError, match=r"^$"):
        long.read(io.BytesIO(b"N0" * 49 + b"N."))
    assert long.endless


def test_the_extensions_of_a_pickle_are_names(tmp_path):
    (tmp_path / "m").write_bytes(b"\x80\x02\x82\x01)R.")
    assert pickled_names(tmp_path / "m").names == ["copyreg.extension_1"]


def test_a_pickle_without_a_protocol_has_protocol_0():
    pickles = Pickles(set())
    pickles.read(io.BytesIO(b"N."))
    assert (pickles.protocol, pickles.complete, pickles.names) == (0, True, [])


def test_one_list_that_is_copied_again_and_again_is_refused(tmp_path):
    """Each copy takes three instructions and the memory of a thousand elements."""
    numbers = b"](" + b"".join(b"M" + k.to_bytes(2, "little") for k in range(1000)) + b"eq\x00"
    copies = b"".join(
        b"0c" + kind + b"\nh\x00\x85R" for kind in (b"builtins\nset", b"collections\nCounter") * 5000
    )
    file = tmp_path / "copies.pt"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("m/data.pkl", b"\x80\x02" + numbers + copies + b".")
        archive.writestr("m/version", "3")
    with pytest.raises(InputError, match="longer than any that holds weights"):
        read_checkpoint(file)
