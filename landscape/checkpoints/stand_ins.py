"""Reads the weights of a pickled network, as ``torch.save(model, …)`` writes it, without running its code.

A pickle is a program for a small machine, and its instructions can import and call anything. The machine here imports
nothing and calls nothing that a file names: a class or function that it does not know itself is a :class:`Name`, which
is text, and an object of such a class is a :class:`StandIn`, which keeps the parameters, buffers and modules out of
its state and drops the rest. So torch's own layers are stand-ins too. ``torch.serialization.safe_globals`` does not
serve here: what it admits holds for all threads, and torch refuses the old format of whole networks all the same.

A file is read so only if its names are used as those of a network are: to make objects, whose states are then set, and
as values that nothing calls. Names of Python's own library, and calls of other functions, are refused.
"""

import argparse
import io
import pickletools
import struct
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from landscape.checkpoints.archive import data_start
from landscape.checkpoints.inert import Array, DType, Unused
from landscape.checkpoints.pickled_names import MARK, MOST_INSTRUCTIONS, imported_name
from landscape.checkpoints.pickled_tensors import ADMITTED, Kind, Maker, Memory, NotPlain
from landscape.records.reading import LONGEST_NAME, LONGEST_TEXT, check_names

MOST_TENSORS = 200_000
"""Most modules and tensors in a file; a few that contain each other could otherwise claim any number."""

_ITEM = 64  # bytes that an item of a set or dictionary takes
_MOST_WRAPPERS = 8
_PYTHON = frozenset({*sys.stdlib_module_names, "__builtins__"})
# Objects of the standard library that networks refer to; harmless unless called.
_KEPT = frozenset("builtins.getattr contextlib.nullcontext functools.partial".split())
# The calls in pickled networks: the first wraps a module, the results of the others are not needed.
_MODULE = "torch._dynamo.eval_frame.OptimizedModule"
_TENSORS = ("torch._utils._rebuild_", "torch.nn.parameter.Uninitialized")
_UNUSED = frozenset(
    {
        "functools.partial",
        "torch._dynamo.eval_frame.OptimizeContext",
        "torch.nn.backends.thnn._get_thnn_function_backend",
    }
)


class NoNetwork(Exception):
    """The file holds no readable network; the message is the refused name, if there is one."""


@dataclass(frozen=True, eq=False)
class Name:
    """The name of a class or function in the file, which is never imported."""

    text: str


class StandIn:
    """An object of a class that is not imported: parameters, buffers and modules by name, and nothing else."""

    __slots__ = ("buffers", "kind", "modules", "parameters", "temporary")

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.parameters: Mapping[str, Tensor | None] | None = None  # None for an object that is no module
        self.buffers: Mapping[str, Tensor | None] = {}
        self.modules: Mapping[str, StandIn | None] = {}
        self.temporary: set[Any] = set()

    def fill(self, state: object) -> None:
        """Reads parameters, buffers and modules from the state of an object."""
        if isinstance(state, dict) and "_parameters" in state:
            self.parameters = state["_parameters"]
            self.buffers = state.get("_buffers", {})
            self.modules = state.get("_modules", {})
            temporary = state.get("_non_persistent_buffers_set")
            self.temporary = temporary if isinstance(temporary, set) else set()

    def check(self) -> None:
        """Raises an error unless all parts have the right type; later instructions may have changed them."""
        for content, kind in ((self.parameters, Tensor), (self.buffers, Tensor), (self.modules, StandIn)):
            if not isinstance(content, dict):
                raise ValueError
            if not all(isinstance(k, str) and (v is None or isinstance(v, kind)) for k, v in content.items()):
                raise ValueError

    @property
    def unwrapped(self) -> "StandIn":
        """The network inside DataParallel, torch.compile and averaged models."""
        network = self
        for _ in range(_MOST_WRAPPERS):
            inner = network.modules.get("module") or network.modules.get("_orig_mod")
            if not isinstance(inner, StandIn) or len(network.modules) > 1 or network.parameters:
                break
            network = inner
        return network


@dataclass
class Network:
    """The content of a file with a pickled network.

    Attributes:
        file: Its path.
        content: The content, with states in the place of networks.
        classes: The class of each network, without wrappers, by its place: empty for the top, or ``model``.
        kinds: The classes of all objects.
    """

    file: Path
    content: object = None
    classes: dict[str, str] = field(default_factory=dict)
    kinds: tuple[str, ...] = ()
    _left: int = field(default_factory=lambda: MOST_TENSORS)
    _known: dict[int, object] = field(default_factory=dict)

    def with_states(self, content: object, place: str = "", depth: int = 3) -> object:
        """The content with states in the place of networks, as deep as weights are looked for."""
        if isinstance(content, StandIn) and content.parameters is not None:
            content.check()
            self.classes[place] = content.unwrapped.kind
        elif not isinstance(content, dict) or not depth:
            return content
        if id(content) not in self._known:  # one object may stand in many places
            self._known[id(content)] = content
            self._known[id(content)] = (
                self._state(content)
                if isinstance(content, StandIn)
                else {
                    k: self.with_states(v, f"{place}.{k}".strip("."), depth - 1) for k, v in content.items()
                }
            )
        return self._known[id(content)]

    def _state(self, network: StandIn) -> "OrderedDict[str, Tensor]":
        """Parameters and buffers by name and in order, as ``torch.nn.Module.state_dict`` gives them."""
        state: OrderedDict[str, Tensor] = OrderedDict()
        waiting = [("", network)]
        while waiting:
            prefix, module = waiting.pop()
            check_names(self.file, [prefix])
            if module.parameters is None:  # its class defines its own state, whose form is unknown
                raise NoNetwork(module.kind)
            module.check()
            self._left -= 1 + len(module.parameters) + len(module.buffers) + len(module.modules)
            if self._left < 0:
                raise ValueError
            buffers = {name: t for name, t in module.buffers.items() if name not in module.temporary}
            for name, tensor in (*module.parameters.items(), *buffers.items()):
                check_names(
                    self.file, [name]
                )  # before it is joined: one long name may be that of many tensors
                if tensor is not None:
                    state[f"{prefix}{name}"] = tensor
            parts = [(f"{prefix}{name}.", part) for name, part in module.modules.items() if part is not None]
            waiting += reversed(parts)
        return state


def read_network(file: Path) -> Network:
    """The content of a file of ``torch.save``, of either format, in which every network has become its state.

    Raises:
        NoNetwork: It names what no network needs, or calls a function, or holds no network.
        Exception: Of any kind, where the file is damaged.
    """
    with file.open("rb") as stream:
        archive = stream.read(2) == b"PK"
        stream.seek(0)
        machine = Machine(file.stat().st_size)
        content = _of_archive(stream, machine) if archive else _of_old_format(stream, machine)
    network = Network(file, kinds=tuple(machine.kinds))
    network.content = network.with_states(content)
    if not network.classes:
        raise NoNetwork
    return network


def _of_archive(stream: io.BufferedReader, machine: "Machine") -> object:
    """The content of a zip archive that :func:`landscape.checkpoints.archive.check_archive` has passed."""
    with zipfile.ZipFile(stream) as archive:
        members = {member.filename: member for member in archive.infolist()}
    (pickled,) = [name for name in members if name.rpartition("/")[2] == "data.pkl"]
    folder = pickled.removesuffix("data.pkl")

    def content(name: str) -> bytes:
        member = members[folder + name]
        stream.seek(data_start(stream, member))
        return stream.read(member.file_size)

    if f"{folder}byteorder" in members and content("byteorder") != sys.byteorder.encode():
        raise ValueError
    result = machine.run(io.BytesIO(content("data.pkl")))
    for key, memory in machine.memories.items():
        member = members[f"{folder}data/{key}"]
        if memory.storage.nbytes() > member.file_size:
            raise ValueError
        stream.seek(data_start(stream, member))
        _fill(memory.storage, stream)
    return result


def _of_old_format(stream: io.BufferedReader, machine: "Machine") -> object:
    """The content of a file of torch before 1.6: mark, version, machine, content, keys, then the numbers by key."""
    if machine.run(stream) != MARK:
        raise NoNetwork
    for _ in range(2):
        machine.run(stream)
    result = machine.run(stream)
    keys = machine.run(stream)
    if not isinstance(keys, list) or set(keys) != set(machine.memories):
        raise ValueError
    for key in keys:
        memory = machine.memories[key]
        (count,) = struct.unpack("<q", stream.read(8))
        if count * memory.dtype.itemsize != memory.storage.nbytes():
            raise ValueError
        _fill(memory.storage, stream)
    return result


def _fill(storage: torch.UntypedStorage, stream: io.BufferedReader) -> None:
    if storage.nbytes():
        target = torch.empty(0, dtype=torch.uint8, device="cpu").set_(storage).numpy()
        if stream.readinto(target.data) != storage.nbytes():
            raise EOFError


_VALUES = frozenset("BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE SHORT_BINSTRING BINSTRING".split())
_CONSTANTS: dict[str, Callable[[], object]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
}


@dataclass
class Machine:
    """Follows the instructions of pickles in protocol 2, which is what ``torch.save`` writes.

    Attributes:
        left: Bytes that tensors may still take; at first those of the file.
        memories: The memory of tensors by key.
        kinds: The classes of the objects for which there are stand-ins, in order.
    """

    left: int
    memories: dict[str, Memory] = field(default_factory=dict)
    kinds: dict[str, None] = field(default_factory=dict)
    stack: list[Any] = field(default_factory=list)
    below: list[list[Any]] = field(default_factory=list)
    memo: dict[object, Any] = field(default_factory=dict)
    instructions: int = 0
    copied: int = 0

    def run(self, stream: IO[bytes]) -> object:
        """The value of one pickle."""
        self.stack, self.below, self.memo = [], [], {}
        for opcode, argument, _ in pickletools.genops(stream):
            self.instructions += 1
            if self.instructions > MOST_INSTRUCTIONS:
                raise ValueError
            name = opcode.name
            if name in _VALUES:
                self.push(argument)
            elif name in _CONSTANTS:
                self.push(_CONSTANTS[name]())
            elif name in ("BINPUT", "LONG_BINPUT"):
                self.memo[argument] = self.stack[-1]
            elif name in ("BINGET", "LONG_BINGET"):
                self.push(self.memo[argument])
            elif name == "MARK":
                self.below.append(self.stack)
                self.stack = []
            elif name == "GLOBAL":
                self.push(_named(str(argument)))
            elif name not in ("PROTO", "STOP"):
                _STEPS[name](self)  # a KeyError for anything that torch.save does not write
        return self.stack.pop()

    def push(self, value: object) -> None:
        """Puts a value on the stack, which the making of the value may have changed."""
        self.stack.append(value)

    def since_mark(self) -> list[Any]:
        """The items above the last mark."""
        items = self.stack
        self.stack = self.below.pop()
        return items

    def last(self, count: int) -> list[Any]:
        """The last items, in order."""
        return [self.stack.pop() for _ in range(count)][::-1]

    def append(self, items: list[Any]) -> None:
        """Puts items into a list; those of other objects are dropped."""
        if type(self.stack[-1]) is list:
            self.stack[-1].extend(items)
        elif not isinstance(self.stack[-1], (StandIn, Unused)):
            raise ValueError

    def set_items(self, items: list[Any]) -> None:
        """Puts keys and values into a dictionary; those of other objects are dropped."""
        target = self.stack[-1]
        if type(target) in (dict, OrderedDict):
            target.update(zip(items[::2], items[1::2], strict=True))
        elif not isinstance(target, (StandIn, Unused)):
            raise ValueError

    def new(self) -> None:
        """An object of a class, made without its constructor."""
        kind, arguments = self.last(2)
        self.push(self._stand_in(kind.text) if isinstance(kind, Name) else self._made(kind, arguments))

    def call(self) -> None:
        """The result of a call, if it is one of which pickled networks consist."""
        function, arguments = self.last(2)
        if not isinstance(function, Name):
            self.push(self._made(function, arguments))
        elif function.text == "builtins.getattr":
            self.push(_attribute(*arguments))
        elif function.text == _MODULE:
            wrapper = self._stand_in(_MODULE)
            wrapper.fill({"_parameters": {}, "_modules": {"_orig_mod": arguments[0]}})
            self.push(wrapper)
        elif function.text in _UNUSED or _is_member(function.text, arguments):
            self.push(Unused())
        elif function.text.startswith(_TENSORS):
            raise NotPlain(function.text)
        else:
            raise NoNetwork(function.text)

    def build(self) -> None:
        """Sets the state of an object; ignored for objects that need none."""
        target, state = self.last(2)
        self.push(target)
        if isinstance(target, StandIn):
            target.fill(state)
        elif isinstance(target, (Array, DType)):
            target.__setstate__(state)
        elif isinstance(target, argparse.Namespace) and isinstance(state, dict):
            vars(target).update({name: value for name, value in state.items() if isinstance(name, str)})

    def persistent(self) -> None:
        """The memory of a tensor, or in the old format a class with its source, of which only the name is kept."""
        (identity,) = self.last(1)
        if not isinstance(identity, tuple):
            raise ValueError
        if len(identity) == 4 and identity[0] == "module" and isinstance(identity[1], Name):
            self.push(identity[1])
            return
        mark, kind, key, _, count, *view = identity
        if isinstance(kind, Name):
            raise NotPlain(kind.text)
        if mark != "storage" or not isinstance(kind, Kind) or not isinstance(key, str) or any(view):
            raise ValueError
        if key not in self.memories:
            if not isinstance(count, int) or not 0 <= count <= self.left:
                raise ValueError
            self.left -= count * kind.dtype.itemsize
            if self.left < 0:
                raise ValueError
            storage = torch.UntypedStorage(count * kind.dtype.itemsize)  # type: ignore[no-untyped-call]
            self.memories[key] = Memory(storage, kind.dtype)
        self.push(Memory(self.memories[key].storage, kind.dtype))

    def _stand_in(self, kind: str) -> StandIn:
        self.kinds[kind] = None
        return StandIn(kind)

    def _made(self, maker: object, arguments: object) -> object:
        """The result of one of our own replacements."""
        if not isinstance(maker, Maker) or not isinstance(arguments, tuple):
            raise NoNetwork
        for value in arguments:
            if isinstance(value, (str, bytes)):
                self.copied += len(value)
            elif isinstance(value, (list, tuple, dict, set)):
                self.copied += _ITEM * len(value)
        # Bounds copies: a file could convert one long list into many sets, or join a path with itself.
        if self.copied > LONGEST_TEXT:
            raise ValueError
        return maker.make(*arguments)


_STEPS: dict[str, Callable[[Machine], None]] = {
    "TUPLE": lambda machine: machine.push(tuple(machine.since_mark())),
    "TUPLE1": lambda machine: machine.push(tuple(machine.last(1))),
    "TUPLE2": lambda machine: machine.push(tuple(machine.last(2))),
    "TUPLE3": lambda machine: machine.push(tuple(machine.last(3))),
    "APPEND": lambda machine: machine.append(machine.last(1)),
    "APPENDS": lambda machine: machine.append(machine.since_mark()),
    "SETITEM": lambda machine: machine.set_items(machine.last(2)),
    "SETITEMS": lambda machine: machine.set_items(machine.since_mark()),
    "NEWOBJ": Machine.new,
    "REDUCE": Machine.call,
    "BUILD": Machine.build,
    "BINPERSID": Machine.persistent,
}


def _named(argument: str) -> object:
    """The replacement of a class or function."""
    name = imported_name(argument)
    if name in ADMITTED:
        return ADMITTED[name]
    root, *rest = name.split(".")
    if len(name) > LONGEST_NAME or not all(part.isidentifier() for part in (root, *rest)):
        raise NoNetwork
    if root in _PYTHON and root != "math" and name not in _KEPT:
        raise NoNetwork(name)
    return Name(name)


def _attribute(owner: object = None, attribute: object = None, *rest: object) -> object:
    """A method of an object, or a class inside a class, of which only the name is kept."""
    if not isinstance(owner, Name):
        return Unused()
    if owner.text in _KEPT or not isinstance(attribute, str):
        raise NoNetwork("builtins.getattr")
    too_long = len(owner.text) + len(attribute) > LONGEST_NAME
    if too_long or not attribute.isidentifier() or attribute.startswith("__"):
        raise NoNetwork("builtins.getattr")
    return Name(f"{owner.text}.{attribute}")


def _is_member(name: str, arguments: object) -> bool:
    """Whether a call is of a class with a value, as members of enumerations are pickled. Functions begin small."""
    return (
        name.partition(".")[0] not in ("torch", "numpy")
        and name.rpartition(".")[2].lstrip("_")[:1].isupper()
        and isinstance(arguments, tuple)
        and len(arguments) == 1
        and isinstance(arguments[0], (str, int, float))
    )
