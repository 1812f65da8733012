"""The rows of attention weights that belong to each head, in networks that say how many heads they have."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import nn

_COUNTS = "num_heads", "num_attention_heads", "n_heads", "n_head", "heads", "nhead"
_KEY_VALUE_COUNTS = "num_key_value_heads", "num_kv_heads", "n_kv_heads"
# Projections by what networks call them: queries, keys and values in one tensor, one after the other, or in three.
_JOINT = "qkv", "c_attn", "qkv_proj", "in_proj_weight", "in_proj_bias"
_APART = (
    ("q_proj", "k_proj", "v_proj"),
    ("query", "key", "value"),
    ("q_proj_weight", "k_proj_weight", "v_proj_weight"),
    ("q_lin", "k_lin", "v_lin"),
    ("to_q", "to_k", "to_v"),
    ("wq", "wk", "wv"),
    ("q", "k", "v"),
)


@dataclass(frozen=True)
class Rows:
    """Some neighbouring rows of a tensor, or columns: indices ``start`` to ``start + count`` of one dimension."""

    dim: int
    start: int
    count: int


Pieces = list[tuple[str, Rows]]


def rows_of_heads(network: nn.Module, names: Sequence[str]) -> dict[str, Pieces]:
    """The rows of queries, keys and values by head, ``blocks.0.attn.head.3``; empty if there is none that is known.

    Where several heads share keys and values (grouped queries), these heads are one part, ``head.0-3``.

    Args:
        network: The network.
        names: Which of its parameters are free; the others belong to no head.
    """
    free = set(names)
    heads: dict[str, Pieces] = {}
    for name, module in network.named_modules():
        count = _number(module, _COUNTS)
        if not count:
            continue
        groups = _number(module, _KEY_VALUE_COUNTS) or count
        for parameter, owner, projection in _projections(module):
            path = f"{name}.{parameter}".lstrip(".")
            if path not in free:
                continue
            # The weights of Hugging Face's Conv1D are stored as (inputs, outputs).
            dim = 1 if type(owner).__name__ == "Conv1D" and parameter.endswith("weight") else 0
            size = module.get_parameter(parameter).shape[dim]
            for group, rows in _by_group(size, dim, projection, count, groups):
                heads.setdefault(f"{name}.head.{group}".lstrip("."), []).append((path, rows))
    return heads


def _by_group(
    size: int, dim: int, projection: int | None, count: int, groups: int
) -> Iterator[tuple[str, Rows]]:
    """The rows of each group of heads in a tensor of queries (0), keys (1), values (2), or all three (``None``)."""
    shared = count // groups
    if count % groups or size % (count + 2 * groups if projection is None else groups):
        return
    width = size // (count + 2 * groups) if projection is None else 0
    for group in range(groups):
        label = str(group) if shared == 1 else f"{group * shared}-{group * shared + shared - 1}"
        if projection is not None:
            yield label, Rows(dim, group * (size // groups), size // groups)
            continue
        yield label, Rows(dim, group * shared * width, shared * width)
        for first in (count, count + groups):
            yield label, Rows(dim, (first + group) * width, width)


def _projections(module: nn.Module) -> Iterator[tuple[str, nn.Module, int | None]]:
    """Parameters of the projections of an attention: name, owner, and whether of queries, keys or values."""
    children = dict(module.named_children())
    own = dict(module.named_parameters(recurse=False))
    kinds: dict[str, int | None] = dict.fromkeys(_JOINT)
    for triple in _APART:
        if all(name in children or name in own for name in triple):
            kinds |= {name: k for k, name in enumerate(triple)}
            break
    for name, kind in kinds.items():
        if name in own:
            yield name, module, kind
        for parameter in ("weight", "bias"):
            owner = children.get(name)
            if owner is not None and getattr(owner, parameter, None) is not None:
                yield f"{name}.{parameter}", owner, kind


def _number(module: nn.Module, attributes: Sequence[str]) -> int | None:
    """The first of some attributes that is a number, of a module or of its configuration."""
    for holder in (module, getattr(module, "config", None)):
        for attribute in attributes:
            number = getattr(holder, attribute, None)
            if isinstance(number, int) and not isinstance(number, bool) and number > 0:
                return number
    return None
