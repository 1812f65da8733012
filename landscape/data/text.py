"""Text as token numbers, one for each byte: two texts that come with every Python, and the user's own files."""

import hashlib
import importlib
import sysconfig
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from platform import python_version
from typing import Annotated, Literal

import torch
from torch import Tensor

from landscape.data.examples import Data, InMemory
from landscape.errors import InputError, UsageError
from landscape.losses.loss_functions import IGNORED
from landscape.records.reading import check_regular
from landscape.registry.bounds import Integer, PositiveInt, Real
from landscape.registry.names import Options, Row, options_of

Source = Literal["topics", "stdlib"]
LARGEST = 64 << 20
"""Bytes of a text that are read: a checkpoint of unknown origin may name any file."""

# Modules that are one file in every Python since 3.11.
MODULES = (
    *("argparse", "calendar", "cmd", "configparser", "csv", "dataclasses", "difflib", "doctest", "enum"),
    *("fractions", "ftplib", "functools", "gettext", "heapq", "inspect", "ipaddress", "mailbox", "optparse"),
    *("pdb", "pickle", "pprint", "random", "shutil", "smtplib", "statistics", "subprocess", "tarfile"),
    *("textwrap", "tokenize", "typing"),
)
"""The modules whose source code is ``source=stdlib``, in this order."""


def text(
    *,
    source: Source = "topics",
    length: Annotated[int, Integer(2)] = 128,
    test: Annotated[float, Real(0, 1, open_low=True, open_high=True)] = 0.1,
    limit: PositiveInt | None = None,
) -> Data:
    """Text that every Python carries, as sequences of token numbers for a language model; a token is a byte.

    ``topics`` is the language reference that ``help()`` shows, about 0.5 MB of English; ``stdlib`` is the source code
    of :data:`MODULES`, about 1.7 MB. Both change with the version of Python; a note and the provenance of every number
    say which text it is by its hash.

    Args:
        source: Which text; ``text:FILE`` reads a file of yours.
        length: Tokens of a sequence. A remainder at the end of a part is left out.
        test: The share of the sequences, those at the end of the text, that is held out.
        limit: Bytes that are read from the beginning of the text; by default all.

    Raises:
        InputError: This Python carries no such text, or it has fewer than two sequences.
    """
    content = _topics() if source == "topics" else _modules()
    origin = f"{_ORIGINS[source]} of Python {python_version()}"
    specification = "text" if source == "topics" else f"text:source={source}"
    return _sequences(specification, content[:limit], origin, length=length, test=test)


def text_at(name: str) -> Row[Data] | None:
    """The row of ``text:FILE``; ``None`` for any other name."""
    file = name.removeprefix("text:")
    if file in (name, ""):
        return None
    options = {key: option for key, option in options_of(text).by_name.items() if key != "source"}
    return Row(name, partial(_of_file, file=file), f"the bytes of {file}", stated=Options(options))


_ORIGINS: Mapping[Source, str] = {
    "topics": "the language reference (pydoc_data.topics)",
    "stdlib": f"the source code of {len(MODULES)} modules",
}


def _topics() -> bytes:
    try:
        topics = importlib.import_module("pydoc_data.topics").topics
    except (ImportError, AttributeError) as failure:
        raise InputError(
            f"text: this Python comes without the texts of help(), pydoc_data.topics ({failure}); name a file of "
            "yours, text:FILE.txt, or source=stdlib"
        ) from failure
    return "\n\n".join(topics[name] for name in sorted(topics)).encode()


def _modules() -> bytes:
    # Not by importing, which would run their code and find files of the user's that have the same names.
    folder = Path(sysconfig.get_path("stdlib"))
    paths = [folder / f"{name}.py" for name in MODULES]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise InputError(
            f"text:source=stdlib: {folder} has no {', '.join(missing[:3])}{' …' if len(missing) > 3 else ''}: this "
            "Python comes without the source code of its library; name a file of yours, text:FILE.txt, or source=topics"
        )
    return b"\n\n".join(path.read_bytes() for path in paths)


def _of_file(*, file: str, length: int = 128, test: float = 0.1, limit: int | None = None) -> Data:
    path = Path(file).expanduser()
    if not path.is_file():
        raise InputError(
            f"text:{file}: there is no file {path}; text:source=topics is the text of this Python"
        )
    size = check_regular(path)
    most = min(size, size if limit is None else limit)
    if most > LARGEST:
        raise UsageError(
            f"text:{file} has {size:,} bytes, more than {LARGEST:,}; read its beginning: limit={LARGEST}"
        )
    try:
        with path.open("rb") as opened:
            content = opened.read(most)
    except OSError as failure:
        raise InputError(f"text:{file} cannot be read: {failure.strerror}; name another file") from failure
    return _sequences(f"text:{file}", content, file, length=length, test=test)


def _sequences(name: str, content: bytes, origin: str, *, length: int, test: float) -> Data:
    """The sequences of a text, those at its end held out: no byte is in both parts."""
    count = len(content) // length
    if count < 2:
        raise InputError(
            f"{name}: {len(content):,} bytes are {count} sequences of {length} tokens, and there must be one to train "
            "on and one to test on; take a smaller length or a longer text"
        )
    rows = torch.frombuffer(bytearray(content[: count * length]), dtype=torch.uint8).view(count, length)
    held_out = min(count - 1, max(1, round(test * count)))
    train, last = (_examples(part.to(torch.int64), name) for part in (rows[:-held_out], rows[-held_out:]))
    digest = hashlib.sha256(content).hexdigest()[:12]
    notes = (
        f"{len(content):,} bytes of {origin}, SHA-256 {digest}…; {length} tokens a sequence, one token a byte",
        f"train: the first {len(train):,} sequences, test: the last {held_out:,}; the loss is --loss next-token",
    )
    return Data(name, train, last, classes=None, input_shape=(length,), loss="next-token", notes=notes)


def _examples(tokens: Tensor, name: str) -> InMemory:
    """Sequences ``(N, T)`` with the token that follows each token as its target; the last has none."""
    targets = tokens.roll(-1, 1)
    targets[:, -1] = IGNORED
    return InMemory(tokens, targets, name=name)
