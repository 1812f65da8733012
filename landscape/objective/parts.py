"""Every batch, or example, as data of its own: the readings of a measure that are means over parts."""

from collections.abc import Iterable, Iterator

from landscape.errors import UsageError
from landscape.objective.batch import Batch, example, leading_size
from landscape.objective.batches import Batches


def batches_apart(batches: Batches, *, here: bool = False) -> Iterator[Batches]:
    """Each batch of some weight; with ``here`` of those that this process visits.

    Raises:
        UsageError: Other processes have batches that this one does not hold.
    """
    for number, size, batch in _visited(batches, here):
        yield batches.single(batch, size, batches.weights[number])


def examples_apart(batches: Batches, *, here: bool = False) -> Iterator[Batches]:
    """Each example of some weight; with ``here`` of the batches that this process visits.

    Raises:
        UsageError: As for batches.
    """
    for _, _, batch in _visited(batches, here):
        for index in range(leading_size(batch)):
            single = example(batch, index)
            weight = batches.weight_of(single)
            if weight > 0:
                yield batches.single(single, 1, weight)


def batches_before(batches: Batches) -> int:
    """How many batches of some weight the processes before this one visit."""
    return batches.division.here.start


def examples_before(batches: Batches) -> int:
    """How many examples of some weight they visit; all processes count theirs."""
    group = batches.group
    if group.alone:
        return 0
    with group.together("count of examples"):
        count = sum(1 for _ in examples_apart(batches, here=True))
    return sum(group.gathered(count)[: group.rank])


def _visited(batches: Batches, here: bool) -> Iterable[tuple[int, int, Batch]]:
    """The numbers, sizes and batches."""
    if not here and batches.is_divided:
        raise UsageError(
            "processes='own': this process has a part of the batches, so that a loop over them would be over that part "
            "alone; call objective.by_batch(function) or by_example(function) in every process: each computes its own, "
            "and all get the results for all"
        )
    numbers, pairs = (batches.division.here, batches.here()) if here else (range(len(batches)), iter(batches))
    return ((number, *pair) for number, pair in zip(numbers, pairs, strict=True))
