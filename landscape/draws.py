"""Random signs, normal and uniform numbers as a function of a seed, the number of a row and the number of a column.

A stream of random numbers depends on the order in which it is read, on the device, and on the version of torch. The
numbers here do not: they come from the counter-based generator Threefry2x64 with 20 rounds, in integer operations, so
that they are the same bits on every device, for any division of rows and columns, on any number of processes.

References:
    Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011, doi 10.1145/2063384.2063405.
"""

import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

Rows = int | range | Tensor

_ROTATIONS = (16, 42, 12, 31, 16, 32, 24, 21)
_ROUNDS = 20
_PARITY = 0x1BD11BDAA9FC1A22
_MASK = 2**64 - 1
# The counter is (number of the block in its row, number of the row). The upper bits of the first tell what is drawn, so
# that signs and normals of one key are independent; the second is −1 for new keys only, because rows count from 0.
_SIGNS, _NORMALS, _UNIFORMS = (kind << 60 for kind in range(3))
_KEYS = -1
# Counters at a time: on the CPU what stays in its cache, elsewhere what bounds the memory of the intermediate results.
_CPU_BLOCK, _DEVICE_BLOCK = 1 << 14, 1 << 22
_LARGE_PAGES = 1 << 22  # bytes from which numpy asks for them


@dataclass(frozen=True)
class Draws:
    """Random numbers as a pure function, without a state: asked twice, it answers the same.

    Entry (r, c) of an answer depends on the key, on r and on ``first + c`` only. Signs, normals and uniforms of one key
    are independent of each other; two calls for the same kind of numbers at the same rows and columns are the same
    numbers, so that whoever needs new ones uses other rows, or another key by :meth:`fold`.

    Attributes:
        seed: The first half of the key, modulo 2⁶⁴.
        stream: The second half: draws with different streams are independent.
    """

    seed: int
    stream: int = 0

    @classmethod
    def of(cls, generator: torch.Generator) -> "Draws":
        """Draws whose seed is the next number of a generator, on whatever device that is."""
        number = torch.randint(0, 2**62, (), generator=generator, device=generator.device, dtype=torch.int64)
        return cls(int(number))

    def fold(self, number: int) -> "Draws":
        """An independent substream for every number."""
        return Draws(*_block((self.seed, self.stream), (number, _KEYS)))

    def chance(self, number: int) -> float:
        """One uniform number in [0, 1), on the host, for a decision there: a multiple of 2⁻⁵³."""
        return (self.fold(number).seed >> 11) * 2.0**-53

    def signs(self, rows: Rows, columns: int, *, first: int = 0, like: Tensor) -> Tensor:
        """Independent ±1, ``(rows, columns)``, 64 from each word of the generator.

        Args:
            rows: Their numbers from 0: how many, a range, or a tensor ``(rows,)`` of int64.
            columns: The number of columns.
            first: The number of the first column.
            like: The tensor whose device and dtype the answer gets.

        Returns:
            A tensor without a gradient, contiguous.
        """

        def expand(words: Tensor, target: Tensor) -> None:
            table = _table(_byte_signs, like.dtype, like.device)
            torch.index_select(table, 0, _parts(words, torch.uint8).int(), out=target.view(-1, 8))

        return self._drawn(_SIGNS, 128, rows, columns, first, like, expand)

    def normals(self, rows: Rows, columns: int, *, first: int = 0, like: Tensor) -> Tensor:
        """Independent standard normal numbers, ``(rows, columns)``, the same bits on every device for one dtype.

        Each is the sum of two of 65 536 quantiles, rounded to multiples of 2⁻²⁰ so that the sum is exact, times a
        constant that makes the variance 1. The distribution function is within 8e-6 of the normal one (most at 0, a
        value of probability 2⁻¹⁶), the fourth and sixth moments are 2.9996 and 14.990 instead of 3 and 15, the odd ones
        are 0, and the largest absolute value is 6.12. Arguments and result as for :meth:`signs`.
        """

        def expand(words: Tensor, target: Tensor) -> None:
            table, parts = _table(_quantiles, torch.int32, like.device), _parts(words, torch.int32)
            total = table.index_select(0, parts & 0xFFFF)
            total += table.index_select(0, (parts >> 16) & 0xFFFF)
            single = target.dtype in (torch.float16, torch.bfloat16)
            scaled = total.to(torch.float32 if single else target.dtype)
            target.copy_(scaled.mul_(_normal_scale()).view(target.shape))

        return self._drawn(_NORMALS, 4, rows, columns, first, like, expand)

    def uniforms(self, rows: Rows, columns: int, *, first: int = 0, like: Tensor) -> Tensor:
        """Independent uniform numbers in [0, 1), ``(rows, columns)``, multiples of 2⁻²⁴.

        In half precision they are multiples of 2⁻¹¹, in bfloat16 of 2⁻⁸, so that none is rounded to 1. Arguments and
        result as for :meth:`signs`.
        """
        bits = min(24, 1 - round(math.log2(torch.finfo(like.dtype).eps)))

        def expand(words: Tensor, target: Tensor) -> None:
            parts = (_parts(words, torch.int32) >> (32 - bits)) & (2**bits - 1)
            target.copy_(parts.view(target.shape)).mul_(2.0**-bits)

        return self._drawn(_UNIFORMS, 4, rows, columns, first, like, expand)

    def _drawn(
        self,
        kind: int,
        width: int,
        rows: Rows,
        columns: int,
        first: int,
        like: Tensor,
        expand: Callable[[Tensor, Tensor], None],
    ) -> Tensor:
        """The answer, from blocks of counters that stand for ``width`` columns each."""
        numbers = _numbers(rows, like.device)
        drawn = _empty(len(numbers), columns, like)
        limit = _CPU_BLOCK if like.device.type == "cpu" else _DEVICE_BLOCK
        blocks = range(first // width, -(-(first + columns) // width))
        for few in _pieces(range(len(numbers)), max(1, limit // max(1, len(blocks)))):
            for part in _pieces(blocks, limit):
                words = self._words(kind, numbers[few.start : few.stop], part)
                start, stop = max(first, part.start * width), min(first + columns, part.stop * width)
                target = drawn[few.start : few.stop, start - first : stop - first]
                if target.is_contiguous() and stop - start == len(part) * width:
                    expand(words, target)
                    continue
                padded = like.new_empty(len(few), len(part) * width, requires_grad=False)
                expand(words, padded)
                target.copy_(padded[:, start - part.start * width : stop - part.start * width])
        return drawn

    def _words(self, kind: int, rows: Tensor, blocks: range) -> Tensor:
        """The words of some blocks of some rows, ``(rows, blocks, 2)`` in int64."""
        shape = len(rows), len(blocks)
        low = torch.arange(kind + blocks.start, kind + blocks.stop, device=rows.device).expand(shape).clone()
        high = rows[:, None].expand(shape).clone()
        threefry((self.seed, self.stream), low, high)
        return torch.stack([low, high], dim=2)


def one_by_one(draw: Callable[..., Tensor], rows: int, columns: int, *, like: Tensor) -> Iterator[Tensor]:
    """The rows of a method of :class:`Draws`, one after the other; several short ones are drawn at once."""
    few = max(1, (1 << 18) // max(1, columns))
    for start in range(0, rows, few):
        yield from draw(range(start, min(start + few, rows)), columns, like=like)


def threefry(key: tuple[int, int], low: Tensor, high: Tensor) -> None:
    """Replaces counters, as two tensors of int64 of one shape, by the words of Threefry2x64 with 20 rounds."""
    if low.device.type == "cpu":  # numpy works on the same memory with less overhead a call
        _rounds(key, low.numpy(), high.numpy(), np.array)
    else:
        _rounds(key, low, high, int)


def _rounds(key: tuple[int, int], x: Any, y: Any, constant: Callable[[int], Any]) -> None:
    """The rounds on numpy's arrays or torch's tensors of int64, in place, with constants of the fitting kind."""
    # Additions wrap around, and a right shift repeats the sign bit, which the mask removes: int64 serves as uint64.
    words = _schedule(key)
    for number in range(_ROUNDS + 1):
        if number % 4 == 0:
            turn = number // 4
            x += constant(_signed(words[turn % 3]))
            y += constant(_signed(words[(turn + 1) % 3] + turn))
        if number < _ROUNDS:
            x += y
            left, right, mask = _shifts(constant)[number % 8]
            wrapped = y >> right
            wrapped &= mask
            y <<= left
            y |= wrapped
            y ^= x


@cache
def _shifts(constant: Callable[[int], Any]) -> list[tuple[Any, Any, Any]]:
    """The constants of the rotations: numpy converts an int in every call, which takes as long as the call."""
    return [(constant(r), constant(64 - r), constant((1 << r) - 1)) for r in _ROTATIONS]


def _block(key: tuple[int, int], counter: tuple[int, int]) -> tuple[int, int]:
    """The same for a single counter, in Python's integers, which costs less than any call of torch."""
    words = _schedule(key)
    x, y = counter[0] + words[0] & _MASK, counter[1] + words[1] & _MASK
    for number in range(_ROUNDS):
        x = x + y & _MASK
        rotation = _ROTATIONS[number % 8]
        y = (y << rotation & _MASK | y >> (64 - rotation)) ^ x
        if number % 4 == 3:
            turn = number // 4 + 1
            x, y = x + words[turn % 3] & _MASK, y + words[(turn + 1) % 3] + turn & _MASK
    return x, y


def _schedule(key: tuple[int, int]) -> tuple[int, int, int]:
    first, second = key[0] & _MASK, key[1] & _MASK
    return first, second, first ^ second ^ _PARITY


def _signed(word: int) -> int:
    """The int64 with the bits of a word of 64 bits."""
    return (word + 2**63 & _MASK) - 2**63


def _parts(words: Tensor, dtype: torch.dtype) -> Tensor:
    """The words as smaller integers, the lowest bits first."""
    assert (
        sys.byteorder == "little"
    )  # as on every machine that torch is built for; elsewhere the bytes are swapped
    return words.view(dtype).flatten()


def _numbers(rows: Rows, device: torch.device) -> Tensor:
    """The numbers of the rows, ``(rows,)`` in int64."""
    if isinstance(rows, Tensor):
        return rows.to(device, torch.int64)
    rows = range(rows) if isinstance(rows, int) else rows
    return torch.arange(rows.start, rows.stop, rows.step, device=device)


def _pieces(numbers: range, size: int) -> Iterator[range]:
    return (numbers[start : start + size] for start in range(0, len(numbers), size))


def _empty(rows: int, columns: int, like: Tensor) -> Tensor:
    size = rows * columns * like.element_size()
    if like.device.type != "cpu" or size < _LARGE_PAGES:
        return like.new_empty(rows, columns, requires_grad=False)
    # numpy asks Linux for large pages, which makes a fresh array of 40 MB four times faster to fill than torch's.
    return torch.from_numpy(np.empty(size, dtype=np.uint8)).view(like.dtype).view(rows, columns)


@cache
def _table(make: Callable[[], Tensor], dtype: torch.dtype, device: torch.device) -> Tensor:
    return make().to(device, dtype)


def _byte_signs() -> Tensor:
    """The signs of all bytes, ``(256, 8)``, the lowest bit first: 1 where the bit is set."""
    bits = torch.arange(256, device="cpu")[:, None] >> torch.arange(8, device="cpu")
    return 2 * (bits & 1) - 1


def _quantiles() -> Tensor:
    """The quantiles of the normal distribution at (i + ½)/2¹⁶ in multiples of 2⁻²⁰, ``(2¹⁶,)``."""
    levels = (torch.arange(1 << 15, device="cpu", dtype=torch.float64) + 0.5) / (1 << 16)
    lower = (torch.special.ndtri(levels) * (1 << 20)).round().to(torch.int32)
    return torch.cat([lower, -lower.flip(0)])


@cache
def _normal_scale() -> float:
    """What makes the variance of the sum of two quantiles 1."""
    return 1 / math.sqrt(2 * float(_quantiles().double().square().mean()))
