"""Whole networks, read by stand-ins: the state that the network itself gives, without a line of its code."""

import collections
import enum
import functools
import logging
import pickle
import pickletools
import re
import struct
import subprocess
import warnings
import zipfile

import pytest
import torch
from checkpoints.bad_pickles import MAGIC, RUN_CODE, archive
from checkpoints.supervision import supervised
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel

from landscape.checkpoints import read_checkpoint, reading, stand_ins
from landscape.checkpoints.pickled_names import pickled_names
from landscape.errors import InputError

FORMATS = {"zip": {}, "old": {"_use_new_zipfile_serialization": False}}


class Pad(enum.Enum):
    SAME = "same"


class Net(nn.Module):
    """What networks keep beside their layers: functions, members of enumerations, settings, views, ties."""

    watched = False

    class Inner(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.rand(3, dtype=torch.float64))

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.1))
        self.heads = nn.ModuleList([nn.Linear(4, 2), nn.Linear(4, 2).half()])
        self.heads[1].bias = self.heads[0].bias
        self.inner = Net.Inner()
        self.nothing = None
        self.register_module("absent", None)
        self.register_parameter("no_bias", None)
        self.register_buffer("counts", torch.arange(6).reshape(2, 3).t())
        self.register_buffer("mask", torch.ones(3), persistent=False)
        self.plain = torch.ones(2)
        self.kept = [functional.relu, torch.tanh, functools.partial(nn.LayerNorm, eps=1e-6), Pad.SAME]
        self.more = (
            self.method,
            torch.device("cpu"),
            torch.float32,
            {3},
            b"\xff",
            1 + 2j,
            2**40,
            (1, 2, 3, 4),
        )

    def method(self):
        raise AssertionError("the code of a file was run")

    def __setstate__(self, state):
        assert not Net.watched, "the code of a file was run"
        super().__setstate__(state)


@pytest.fixture
def network():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return Net()


NETWORKS = {
    "own classes": lambda network: network,
    "layers of torch": lambda network: nn.Sequential(nn.LSTM(2, 3), nn.MultiheadAttention(4, 2)),
    "DataParallel": nn.DataParallel,
    "an average": AveragedModel,
    "lists of parameters": lambda network: nn.ParameterList([torch.ones(2), torch.zeros(1)]),
    "a hook that computes a weight": lambda network: nn.utils.spectral_norm(nn.Linear(2, 2)),
}


@pytest.mark.parametrize("form", list(FORMATS))
@pytest.mark.parametrize("kind", list(NETWORKS))
@pytest.mark.parametrize("inside", [False, True])
def test_the_state_is_that_of_the_network(tmp_path, monkeypatch, network, form, kind, inside):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = NETWORKS[kind](network)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        content = {"model": model, "epoch": 3, "optimizer": optimizer} if inside else model
        torch.save(content, tmp_path / "m", **FORMATS[form])
    expected = {k: v for k, v in model.state_dict().items() if k != "n_averaged"}
    monkeypatch.setattr(Net, "watched", True)
    with supervised() as events:
        contents = read_checkpoint(tmp_path / "m")
    assert events == []
    assert list(contents.state) == list(expected)
    for name, tensor in expected.items():
        assert contents.state[name].dtype == tensor.dtype
        assert torch.equal(contents.state[name], tensor)
    assert contents.key.startswith("model" if inside else "")
    assert contents.extra.get("epoch") == (3 if inside else None)
    inner = getattr(model, "module", model)
    assert contents.module == f"{type(inner).__module__}.{type(inner).__qualname__}"
    (note,) = (note for note in contents.notes if note.startswith("whole module"))
    assert note.startswith("whole module, read without running its code: classes " + contents.module)


def test_tied_tensors_share_their_memory(tmp_path, network):
    torch.save(network, tmp_path / "m")
    state = read_checkpoint(tmp_path / "m").state
    assert state["heads.0.bias"].data_ptr() == state["heads.1.bias"].data_ptr()
    assert state["heads.0.weight"].data_ptr() != state["heads.1.weight"].data_ptr()


def test_parametrized_layers_have_the_names_of_a_state_dict(tmp_path):
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(2, 3))
    # torch.save refuses parametrized layers, and other writers do not: these are the parts of such a layer.
    plain, parts, part = nn.Module(), nn.Module(), nn.Module()
    plain._parameters = layer._parameters
    part._parameters = layer.parametrizations.weight._parameters
    parts.add_module("weight", part)
    plain.add_module("parametrizations", parts)
    torch.save(plain, tmp_path / "m")
    assert list(read_checkpoint(tmp_path / "m").state) == list(layer.state_dict())


class Called:
    """Pickles to a call, beside the weights of a network."""

    def __init__(self, function, *arguments):
        self.parts = function, arguments

    def __reduce__(self):
        return self.parts


CALLS = {
    "subprocess.getoutput": Called(subprocess.getoutput, "touch canary"),
    "functools.reduce": Called(functools.reduce, max, [1]),
    "torch.hub.list": Called(torch.hub.list, "none/none"),
    "torch.nn.modules.linear.Linear": Called(nn.Linear, 2, 2),
    "builtins.eval": functools.partial(eval, "open('canary', 'w')"),
    "builtins.exec": functools.partial(functools.partial(exec), "1"),
    "io.open": open,
    "importlib.import_module": [__import__("importlib").import_module],
}


@pytest.mark.parametrize("form", list(FORMATS))
@pytest.mark.parametrize("name", list(CALLS))
def test_a_network_with_a_call_beside_its_weights_is_refused_by_its_name(tmp_path, monkeypatch, name, form):
    monkeypatch.chdir(tmp_path)
    network = nn.Linear(2, 2)
    network.extra = CALLS[name]
    for content in (network, {"model": nn.Linear(2, 2), "extra": CALLS[name]}):
        torch.save(content, tmp_path / "m", **FORMATS[form])
        with supervised() as events, pytest.raises(InputError, match="would run code when opened") as failure:
            read_checkpoint(tmp_path / "m")
        assert events == []
        assert re.search(rf"refers to {name}[,.] ", str(failure.value))
    assert not (tmp_path / "canary").exists()


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def module(parameters=b"}", modules=b"}", extra=b"", kind=b"__main__\nNet"):
    """A module by hand: an object and its state."""
    named = text("_parameters") + parameters + text("_modules") + modules
    return b"c" + kind + b"\n)\x81}(" + named + extra + b"ub"


def tensor(*, count=4, offset=0, size=(4,), stride=(1,), key="0"):
    numbers = b"".join(b"K" + bytes([n]) if n < 256 else b"J" + struct.pack("<i", n) for n in size)
    steps = b"".join(b"K" + bytes([n]) for n in stride)
    memory = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(key) + text("cpu")
    memory += b"J" + struct.pack("<i", count) + b"tQ"
    view = b"J" + struct.pack("<i", offset) + b"(" + numbers + b"t(" + steps + b"t"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + memory + view + b"\x89}tR"


def nested(depth, shared):
    """A module that contains one, or twice the same one, that contains one, and so on."""
    body = module(b"}" + text("w") + tensor() + b"s")
    for level in range(depth):
        place = bytes([level])
        body = module(
            modules=b"}(" + text("a") + body + b"q" + place + (text("b") + b"h" + place) * shared + b"u"
        )
    return body


ONE = b"}" + text("w") + tensor() + b"s"
BROKEN = {
    "a view beyond its memory": module(b"}" + text("w") + tensor(size=(5,)) + b"s"),
    "a view that begins beyond it": module(b"}" + text("w") + tensor(offset=1) + b"s"),
    "a view that begins before it": module(b"}" + text("w") + tensor(offset=-1) + b"s"),
    "more memory than the file": module(b"}" + text("w") + tensor(count=2**29) + b"s"),
    "less than no memory": module(b"}" + text("w") + tensor(count=-1) + b"s"),
    "memory that is not there": module(b"}" + text("w") + tensor(key="1") + b"s"),
    "65 dimensions": module(b"}" + text("w") + tensor(size=(1,) * 65, stride=(1,) * 65) + b"s"),
    "a text for a parameter": module(b"}" + text("w") + text("1") + b"s"),
    "a number for a name": module(b"}K\x01" + tensor() + b"s"),
    "a list of parameters": module(b"]"),
    "a parameter that becomes a text": b"}("
    + text("model")
    + module(b"}q\x07" + text("w") + tensor() + b"s")
    + text("x")
    + b"h\x07"
    + text("w")
    + text("1")
    + b"su",
    "wrappers that contain a text": module(
        modules=b"}" + text("module") + module(modules=b"}" + text("module") + text("a") + b"s") + b"s"
    ),
    "a tensor for a module": module(modules=ONE),
    "modules that contain themselves": module(b"}")[:-2] + text("_modules") + b"}" + text("a") + b"h\x00sub",
    "two of the same, 60 times": nested(60, shared=True),
    "65 deep": nested(70, shared=False),
    "items for a number": b"K\x01]" + text("a") + b"e",
    "a protocol that torch does not write": b"\x8c\x01a" + module(ONE),
}
NO_NETWORK = {
    "a text as a function": (module(ONE, extra=text("x") + text("os.system") + b")R"), ""),
    "a tensor as a function": (module(ONE, extra=text("x") + tensor() + b")R"), ""),
    "a type of numbers as a function": (module(ONE, extra=text("x") + b"ctorch\nFloatStorage\n)R"), ""),
    "a new object of a text": (module(ONE, extra=text("x") + text("os.system") + b")\x81"), ""),
    "an object without parameters": (b"c__main__\nNet\n)\x81}b", "__main__.Net"),
    "a module that keeps its own state": (
        module(ONE, modules=b"}" + text("a") + b"c__main__\nOdd\n)\x81}bs"),
        "__main__.Odd",
    ),
    "a network in a wrapper that keeps its own state": (
        module(modules=b"}" + text("module") + b"c__main__\nOdd\n)\x81}bs"),
        "__main__.Odd",
    ),
    "a name with spaces": (module(ONE, kind=b"__main__\nNet evil"), ""),
    "an attribute that leads everywhere": (
        module(
            ONE, extra=text("x") + b"c__builtin__\ngetattr\n(ctorch\nTensor\n" + text("__class__") + b"tR"
        ),
        "builtins.getattr",
    ),
    "an attribute of what is called": (
        module(ONE, extra=text("x") + b"c__builtin__\ngetattr\n(ctorch.hub\nhub\n" + text("load") + b"tR)R"),
        "torch.hub.hub.load",
    ),
    "a module of Python 2": (
        module(ONE, extra=text("x") + b"ccommands\ngetoutput\n"),
        "subprocess.getoutput",
    ),
    "a function of a package": (
        module(ONE, extra=text("x") + b"cpip\nmain\n(" + text("install evil") + b"tR"),
        "pip.main",
    ),
}


def opened(path):
    with supervised() as events, pytest.raises(InputError) as failure:
        read_checkpoint(path)
    assert events == []
    return str(failure.value)


def written(path, body, *, form="zip"):
    numbers = struct.pack("<4f", 1, 2, 3, 4)
    if form == "old":
        keys = pickle.dumps(["0"], 2) + struct.pack("<q", 4) + numbers
        path.write_bytes(
            MAGIC + pickle.dumps(1001, 2) + pickle.dumps({}, 2) + b"\x80\x02" + body + b"." + keys
        )
    else:
        archive(path, b"\x80\x02" + body + b".", parts={"data/0": numbers})


@pytest.mark.parametrize("kind", list(BROKEN))
def test_a_network_by_hand_that_does_not_fit_together(tmp_path, kind):
    body = BROKEN[kind]
    written(tmp_path / "m", body.replace(b")\x81}(", b")\x81q\x00}(", 1) if "themselves" in kind else body)
    assert "would run" not in opened(tmp_path / "m")


@pytest.mark.parametrize("kind", list(NO_NETWORK))
def test_what_is_no_network_is_refused(tmp_path, kind):
    body, name = NO_NETWORK[kind]
    written(tmp_path / "m", body)
    assert f"refers to {name}" in opened(tmp_path / "m") or not name


def attack(path, canary, kind):
    """The pickle of an attack without its first and last instruction, so that it is a value in another pickle."""
    RUN_CODE[kind](path, canary)
    content = path.read_bytes()
    if content[:2] == b"PK":
        with zipfile.ZipFile(path) as opened:
            content = opened.read(next(name for name in opened.namelist() if name.endswith("data.pkl")))
    return content.removeprefix(b"\x80\x02").removesuffix(b".")


def is_read(read, path):
    """Whether a file is read, and what happened meanwhile."""
    with supervised(strict=True) as events:
        try:
            read(path)
        except (InputError, stand_ins.NoNetwork, ValueError, KeyError, TypeError, AttributeError, IndexError):
            return False, events
    return True, events


# Not those that are of the old format, which the tests of bad input read, and not a file of two pickles.
@pytest.mark.parametrize("kind", sorted(set(RUN_CODE) - {"executed", "persistent", "second_pickle"}))
def test_every_attack_beside_the_weights_or_in_their_place_is_refused(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    body = attack(tmp_path / "attack", tmp_path / "canary", kind)
    beside = (
        module(ONE, extra=text("x") + body),
        module(ONE, extra=text("_non_persistent_buffers_set") + body),
        b"}(" + text("model") + module(ONE) + text("x") + body + b"u",
    )
    for network in (
        *beside,
        module(b"}" + text("w") + body + b"s"),
        module(modules=b"}" + text("part") + body + b"s"),
    ):
        written(tmp_path / "m", network)
        before = {path.name for path in tmp_path.iterdir()}
        # A NumPy number of objects is dropped, as it is beside weights that are no network.
        harmless = kind == "numpy_object" and network in beside
        # The machine alone too, as if the list of names had been deceived.
        for read in (read_checkpoint, stand_ins.read_network):
            assert is_read(read, tmp_path / "m") == (harmless, [])
        assert {path.name for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("form", list(FORMATS))
def test_a_network_by_hand_is_read(tmp_path, form):
    written(tmp_path / "m", module(ONE), form=form)
    contents = read_checkpoint(tmp_path / "m")
    assert contents.state["w"].tolist() == [1, 2, 3, 4]
    assert contents.module == "__main__.Net"


def test_a_compiled_network_is_read(tmp_path):
    """As torch.compile pickles it: a call of the wrapper with the network and how it is compiled."""
    how = b"ctorch._dynamo.eval_frame\nOptimizeContext\n(NNNtR"
    body = b"ctorch._dynamo.eval_frame\nOptimizedModule\n(" + module(ONE) + how + b"tR"
    written(tmp_path / "m", body)
    contents = read_checkpoint(tmp_path / "m")
    assert list(contents.state) == ["_orig_mod.w"]
    assert contents.module == "__main__.Net"


LONG = text("a" * 300)
COPIES = {
    "sets": b"cbuiltins\nset\nq\x01](" + b"K\x01" * 300 + b"eq\x02" + b"h\x01h\x02\x85R" * 40,
    "paths": b"cpathlib\nPosixPath\nq\x01" + LONG + b"q\x02" + b"h\x01h\x02h\x02\x86Rq\x02" * 40,
    "bytes": b"c_codecs\nencode\nq\x01" + LONG + b"q\x02" + (b"h\x01h\x02" + text("latin1") + b"\x86R") * 40,
}


@pytest.mark.parametrize("kind", list(COPIES))
def test_copies_of_copies_end(tmp_path, monkeypatch, kind):
    written(tmp_path / "m", module(ONE, extra=text("x") + b"](" + COPIES[kind] + b"e"))
    monkeypatch.setattr(stand_ins, "LONGEST_TEXT", 10_000)
    with pytest.raises(ValueError, match=r"^$"):
        stand_ins.read_network(tmp_path / "m")


def test_a_network_of_as_many_parts_as_allowed(tmp_path, monkeypatch):
    written(tmp_path / "m", nested(3, shared=False))
    parts = 3 * 2 + 2  # three modules with one module each, one with a tensor
    monkeypatch.setattr(stand_ins, "MOST_TENSORS", parts)
    assert list(read_checkpoint(tmp_path / "m").state) == ["a.a.a.w"]
    monkeypatch.setattr(stand_ins, "MOST_TENSORS", parts - 1)
    assert "its parts do not fit together" in opened(tmp_path / "m")


def test_a_pickle_of_as_many_instructions_as_allowed(tmp_path, monkeypatch):
    body = module(ONE)
    written(tmp_path / "m", body)
    count = 1 + sum(1 for _ in pickletools.genops(body + b"."))  # with that of the protocol
    monkeypatch.setattr(stand_ins, "MOST_INSTRUCTIONS", count)
    assert list(read_checkpoint(tmp_path / "m").state) == ["w"]
    monkeypatch.setattr(stand_ins, "MOST_INSTRUCTIONS", count - 1)
    assert "its parts do not fit together" in opened(tmp_path / "m")


@pytest.mark.parametrize("pickled", [False, True])
def test_names_are_counted_wherever_they_stand(tmp_path, monkeypatch, pickled):
    inner = {str(number): 1 for number in range(20)}
    network = nn.Linear(2, 2) if pickled else nn.Linear(2, 2).state_dict()
    torch.save({"model": network, **{f"k{number}": inner for number in range(20)}}, tmp_path / "m")
    names = 1 + 2 + 20 + 20 * 20
    monkeypatch.setattr(reading, "MOST_NAMES", names)
    assert set(read_checkpoint(tmp_path / "m").state) == {"weight", "bias"}
    monkeypatch.setattr(reading, "MOST_NAMES", names - 1)
    assert f"it holds more than {names - 1} names" in opened(tmp_path / "m")


def kept(place):
    return b"r" + struct.pack("<I", place)


def again(place):
    return b"j" + struct.pack("<I", place)


DEEP_KEY = b")" + b"\x85" * 100 + b"N"
DOUBLED = b")" + kept(9) + (b"0" + again(9) + again(9) + b"\x86" + kept(9)) * 25
LARGE = b"".join(b"\x8a\x12" + (k << 64).to_bytes(18, "little") + b"N" for k in range(1, 1002))
TUPLES = b"".join(b"J" + struct.pack("<i", k) + b"\x85N" for k in range(1001))
TYPE = b"cnumpy\ndtype\n" + text("f4") + b"\x85R"
RAW = b"c_codecs\nencode\n" + text("a" * 64_000) + text("latin1") + b"\x86R"
ARRAY = b"cnumpy\nndarray\n)R"
# Each is an item with a text for its key, and would make the reader hash, copy or join without an end.
COSTLY = {
    "tuples so deep that hashing them ends the process": text("x") + b"}" + DEEP_KEY + b"s",
    "a tuple of itself and itself, 25 times": text("x") + b"}" + DOUBLED + b"Ns",
    "numbers whose hashes are equal": text("x") + b"}(" + LARGE + b"u",
    "tuples as keys, whose hashes can be equal": text("x") + b"}(" + TUPLES + b"u",
    "tuples in a list that becomes a set": text("x")
    + b"c__builtin__\nset\n]("
    + b"".join(b"J" + struct.pack("<i", k) + b"\x85" for k in range(1001))
    + b"e\x85R",
    "tuples in pairs that become a dictionary": text("x")
    + b"ccollections\nOrderedDict\n]("
    + b"".join(b"J" + struct.pack("<i", k) + b"\x85N\x86" for k in range(1001))
    + b"e\x85R",
    "a long list that is copied": text("x")
    + b"]("
    + b"K\x01" * 2000
    + b"e"
    + kept(5)
    + b"0](c__builtin__\nset\n"
    + kept(6)
    + (again(6) + again(5) + b"\x85R") * 510
    + b"e",
    "a path that is joined with itself": text("x")
    + b"](cpathlib\nPath\n"
    + kept(6)
    + text("a" * 64)
    + kept(7)
    + (again(6) + again(7) + again(7) + b"\x86R" + kept(7)) * 25
    + b"e",
    "bytes of many arrays": text("x")
    + b"]("
    + RAW
    + kept(5)
    + (ARRAY + b"(K\x01K\x02\x85" + TYPE + b"\x89" + again(5) + b"tb") * 1010
    + b"e",
}


@pytest.mark.parametrize("pickled", [False, True])
@pytest.mark.parametrize("kind", list(COSTLY))
def test_a_value_that_costs_more_than_its_bytes_is_refused_before_it_is_made(
    tmp_path, monkeypatch, kind, pickled
):
    """Beside a network, and beside a state dict that torch itself would open."""
    weights = module(ONE) if pickled else ONE
    written(tmp_path / "m", b"}(" + text("model") + weights + COSTLY[kind] + b"u")

    made = []
    monkeypatch.setattr(torch, "load", lambda *arguments, **options: made.append(1))
    monkeypatch.setattr(stand_ins.Machine, "run", lambda *arguments: made.append(2))
    opened(tmp_path / "m")
    assert made == []


def test_a_long_name_is_refused_before_it_is_joined(tmp_path):
    long = text("a" * 2000)
    written(tmp_path / "m", module(b"}" + long + tensor() + b"s"))
    assert "a name of 2,000 characters" in opened(tmp_path / "m")
    method = b"c__builtin__\ngetattr\n(c__main__\nNet\n" + long + b"tR"
    written(tmp_path / "m", module(ONE, extra=text("x") + method))
    assert "refers to builtins.getattr" in opened(tmp_path / "m")
    (tmp_path / "m").write_bytes(b"\x80\x04" + long + text("a") + b"\x93.")
    assert "breaks off or is broken" in opened(tmp_path / "m")


class Settings:
    """Pickles to a harmless namespace."""

    def __init__(self, **values):
        self.values = values

    def __reduce__(self):
        return __import__("argparse").Namespace, (), self.values


@pytest.mark.parametrize("pickled", [False, True])
def test_settings_under_many_keys_are_looked_at_once(tmp_path, monkeypatch, pickled):
    layer = nn.Linear(2, 2)
    settings = Settings(**{"a" * 2000: 1, "b": 2})
    content = {f"k{number}": settings for number in range(300)}
    torch.save({"model": layer if pickled else layer.state_dict(), **content}, tmp_path / "m")
    seen = []
    before = reading._settings
    monkeypatch.setattr(reading, "_settings", lambda value: seen.append(value) or before(value))
    extra = read_checkpoint(tmp_path / "m").extra
    assert len(extra) == 200
    assert set(extra.values()) == {2}
    assert len(seen) == 2  # the namespace and the weights


def test_common_containers_and_loggers_do_not_hinder(tmp_path):
    layer = nn.Linear(2, 2)
    layer.kept = [frozenset({1}), collections.deque([1, 2], maxlen=3), logging.getLogger("any")]
    torch.save(layer, tmp_path / "m")
    assert list(read_checkpoint(tmp_path / "m").state) == ["weight", "bias"]


NOT_PLAIN = {
    "QInt8Storage": lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
    "_rebuild_sparse_tensor": lambda: torch.eye(2).to_sparse(),
    "_rebuild_meta_tensor_no_storage": lambda: torch.empty(2, device="meta"),
    "UninitializedBuffer": nn.UninitializedBuffer,
    "conjugated": lambda: torch.ones(2, dtype=torch.complex64).conj(),
}


@pytest.mark.parametrize("form", list(FORMATS))
@pytest.mark.parametrize("kind", list(NOT_PLAIN))
def test_tensors_that_are_no_plain_numbers_are_refused_by_their_kind(tmp_path, form, kind):
    layer = nn.Linear(2, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        layer.register_buffer("odd", NOT_PLAIN[kind]())
        torch.save(layer, tmp_path / "m", **FORMATS[form])
    assert re.search(rf"tensors that are not plain numbers \(\S*{kind}", opened(tmp_path / "m"))


@pytest.mark.parametrize("form", list(FORMATS))
def test_tensors_and_settings_have_no_odd_keys(tmp_path, network, form):
    network.history = [(step, step / 2) for step in range(2000)]
    torch.save({"model": network, "state": network.state_dict()}, tmp_path / "m", **FORMATS[form])
    pickles = pickled_names(tmp_path / "m")
    assert pickles.complete
    assert pickles.odd_keys == (form == "old")  # the mark of the old format


@pytest.mark.parametrize(
    ("others", "more"), [([nn.Tanh()], ""), ([nn.Tanh(), nn.ReLU(), nn.GELU()], " and 1 more")]
)
def test_four_classes_of_a_network_are_named(tmp_path, others, more):
    network = nn.Sequential(nn.Linear(2, 3), *others)
    torch.save(network, tmp_path / "m.pt")
    (note,) = read_checkpoint(tmp_path / "m.pt").notes
    kinds = [f"{type(part).__module__}.{type(part).__name__}" for part in (network, *network)]
    assert note.endswith("classes " + ", ".join(kinds[:4]) + more)
