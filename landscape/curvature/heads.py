"""The rows of attention weights that belong to each head, in networks that say how many heads they have."""

from collections.abc import Iterator, Mapping, Sequence
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
_OUTPUTS = "out_proj", "o_proj", "c_proj", "proj", "out", "out_lin", "wo", "to_out.0"


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
    heads: dict[str, Pieces] = {}
    for name, module in network.named_modules():
        for label, _, piece in _of_module(name, module, set(names)):
            heads.setdefault(label, []).append(piece)
    return heads


@dataclass(frozen=True)
class Head:
    """The free pieces of one head, or of several that share keys and values: weights first, then biases.

    Rows are those of ``queries``, ``keys`` and ``values``; ``outputs`` are columns of the projection after the head.
    What is not known or not free is empty. ``shared`` is the number of heads.
    """

    queries: Pieces
    keys: Pieces
    values: Pieces
    outputs: Pieces
    shared: int


def whole_heads(network: nn.Module, names: Sequence[str]) -> list[Head]:
    """The heads of a network of which anything is free.

    Args:
        network: The network.
        names: Which of its parameters are free.
    """
    free, heads = set(names), list[Head]()
    modules = dict(network.named_modules())
    for name, module in modules.items():
        pieces: dict[str, tuple[Pieces, Pieces, Pieces]] = {}
        for label, kind, piece in _of_module(name, module, free):
            pieces.setdefault(label, ([], [], []))[kind].append(piece)
        groups = len(pieces)
        for group, parts in enumerate(pieces.values()):
            shared = (_number(module, _COUNTS) or groups) // groups
            heads.append(Head(*parts, _outputs(modules, name, free, group, groups), shared))
    return heads


def _of_module(name: str, module: nn.Module, free: set[str]) -> Iterator[tuple[str, int, tuple[str, Rows]]]:
    """The name of a head, whether of queries (0), keys (1) or values (2), and the rows of a parameter, for each."""
    count = _number(module, _COUNTS)
    if not count:
        return
    groups = _number(module, _KEY_VALUE_COUNTS) or count
    for parameter, owner, projection in _projections(module):
        path = f"{name}.{parameter}".lstrip(".")
        if path not in free:
            continue
        # The weights of Hugging Face's Conv1D are stored as (inputs, outputs).
        dim = 1 if type(owner).__name__ == "Conv1D" and parameter.endswith("weight") else 0
        size = module.get_parameter(parameter).shape[dim]
        for group, kind, rows in _by_group(size, dim, projection, count, groups):
            yield f"{name}.head.{group}".lstrip("."), kind, (path, rows)


def _outputs(modules: Mapping[str, nn.Module], name: str, free: set[str], group: int, groups: int) -> Pieces:
    """The columns of the projection after a group of heads; empty if there is none that is known and free."""
    parent = name.rpartition(".")[0]
    for path in (*(f"{name}.{output}" for output in _OUTPUTS), f"{parent}.output.dense"):
        weight = getattr(modules.get(path.lstrip(".")), "weight", None)
        key = f"{path}.weight".lstrip(".")
        if weight is not None and weight.ndim == 2 and key in free:
            dim = 0 if type(modules[path.lstrip(".")]).__name__ == "Conv1D" else 1
            size = weight.shape[dim] // groups
            return [(key, Rows(dim, group * size, size))] if size * groups == weight.shape[dim] else []
    return []


def _by_group(
    size: int, dim: int, projection: int | None, count: int, groups: int
) -> Iterator[tuple[str, int, Rows]]:
    """The rows of each group of heads in a tensor of queries (0), keys (1), values (2), or all three (``None``)."""
    shared = count // groups
    if count % groups or size % (count + 2 * groups if projection is None else groups):
        return
    width = size // (count + 2 * groups) if projection is None else 0
    for group in range(groups):
        label = str(group) if shared == 1 else f"{group * shared}-{group * shared + shared - 1}"
        if projection is not None:
            yield label, projection, Rows(dim, group * (size // groups), size // groups)
            continue
        yield label, 0, Rows(dim, group * shared * width, shared * width)
        for kind, first in ((1, count), (2, count + groups)):
            yield label, kind, Rows(dim, (first + group) * width, width)


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
