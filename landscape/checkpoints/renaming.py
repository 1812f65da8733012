"""Drops and renames tensors of a checkpoint, as ``--drop`` and ``--rename`` request."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path

from torch import Tensor

from landscape.errors import InputError, UsageError
from landscape.registry.nearest import did_you_mean

_MOST_COMPARED = 1000  # names among which a similar one is looked for


@dataclass(frozen=True)
class Renaming:
    """The patterns of ``--drop`` and the pairs of ``--rename``.

    Attributes:
        drop: Names or patterns such as ``head.*``.
        rename: ``OLD=NEW``, where ``OLD`` is a name or what names begin with, and either may be empty.
    """

    drop: Sequence[str] = ()
    rename: Sequence[str] = ()

    @property
    def mark(self) -> str:
        """Suffix of the file's hash, because the weights differ; empty without changes."""
        text = repr((list(self.drop), list(self.rename))).encode()
        return f":{hashlib.sha256(text).hexdigest()[:12]}" if self.drop or self.rename else ""

    def applied(self, file: Path, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
        """The remaining tensors under their new names, and notes on the changes.

        Raises:
            InputError: A pattern or a name matches nothing, or two tensors would have one name.
            UsageError: A renaming is not of the form ``OLD=NEW``.
        """
        kept, notes = dict(state), []
        for pattern in self.drop:
            dropped = {name: None for name in kept if fnmatchcase(name, pattern)}
            if not dropped:
                raise InputError(_unmatched(file, f"--drop {pattern}", pattern, kept))
            notes.append(f"{_count(dropped)} left out, such as {next(iter(dropped))} (--drop {pattern})")
            kept = {name: tensor for name, tensor in kept.items() if name not in dropped}
        for text in self.rename:
            old, equals, new = text.partition("=")
            if not equals or old == new:
                raise UsageError(
                    f"--rename '{text}' is not OLD=NEW, such as backbone.=encoder. or fc.weight=head.weight"
                )
            names = [name for name in kept if _renamed(name, old, new) is not None]
            if not names:
                raise InputError(_unmatched(file, f"--rename {text}", old, kept))
            renamed = {_renamed(name, old, new) or name: tensor for name, tensor in kept.items()}
            if len(renamed) < len(kept):
                raise InputError(
                    f"{file}: --rename {text} gives two tensors one name; leave one of them out with --drop"
                )
            notes.append(f"{_count(names)} renamed, such as {names[0]} to {_renamed(names[0], old, new)}")
            kept = renamed
        if not kept:
            raise InputError(f"{file}: --drop {','.join(self.drop)} leaves no tensor; drop fewer")
        return kept, tuple(notes)


def _renamed(name: str, old: str, new: str) -> str | None:
    """The new name; ``None`` if the renaming does not apply."""
    if name == old:
        return new or None
    if old and not old.endswith("."):  # a whole part of the name
        old, new = f"{old}.", f"{new}." if new else ""
    return (f"{new}{name.removeprefix(old)}" or None) if name.startswith(old) else None


def _count(names: Collection[str]) -> str:
    return f"{len(names)} tensors" if len(names) > 1 else "one tensor"


def _unmatched(file: Path, flag: str, pattern: str, names: Mapping[str, Tensor]) -> str:
    some = islice(names, _MOST_COMPARED)
    parts = {".".join(name.split(".")[:end]) for name in some for end in range(1, name.count(".") + 2)}
    guess = did_you_mean(pattern.strip("*."), sorted(parts))
    first = ", ".join(list(names)[:3])
    return f"{file}: {flag} matches none of the {len(names)} names{guess}; they begin with {first}"
