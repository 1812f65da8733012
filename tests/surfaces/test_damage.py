"""A byte changed in the numbers of a surface, finished or not: noticed, or without effect; never other numbers."""

from collections import Counter

import numpy as np
from byte_edits import byte_edits

from landscape.errors import InputError
from landscape.records.surface import Surface
from landscape.surfaces.journal import read_journal
from landscape.surfaces.sampling import sample_surface


def same(a, b):
    return (
        a.meta == b.meta
        and a.values.keys() == b.values.keys()
        and all(np.array_equal(a.values[name], b.values[name], equal_nan=True) for name in a.values)
        and np.array_equal(a.computed, b.computed)
        and np.array_equal(a.x, b.x)
        and np.array_equal(a.y, b.y)
    )


def outcome(read, path, good):
    """How reading it ends: ``refused`` or ``same``; ``fewer`` where points are missing and the others are right."""
    found, said = None, ""
    try:
        found = read(path)
    except InputError as failure:
        said = str(failure)
    if found is None:
        assert len(said.splitlines()) == 1
        return "refused"
    if same(found, good):
        return "same"
    there = found.computed
    assert found.meta == good.meta
    assert there.sum() < good.computed.sum()
    assert all(np.array_equal(found.values[name][there], good.values[name][there]) for name in found.values)
    return "fewer"


def test_byte_edits_of_a_journal_are_noticed_or_change_no_number(network, tmp_path):
    good_path, path = tmp_path / "good.journal", tmp_path / "edited.journal"
    sample_surface(network.objective, points=5, journal=good_path)
    good, ends = read_journal(good_path), []
    for content in byte_edits(good_path.read_bytes()):
        path.write_bytes(content)
        ends.append(outcome(read_journal, path, good))
    print(Counter(ends))  # shown by -s
    assert ends.count("refused") > 0.9 * len(ends)


def test_byte_edits_of_a_finished_surface_are_noticed_or_change_no_number(network, tmp_path):
    good_path, path = tmp_path / "good.npz", tmp_path / "edited.npz"
    sample_surface(network.objective, points=5).save(good_path)
    good, ends = Surface.load(good_path), []
    for content in byte_edits(good_path.read_bytes()):
        path.write_bytes(content)
        ends.append(outcome(Surface.load, path, good))
    print(Counter(ends))  # shown by -s
    assert "fewer" not in ends
    assert ends.count("refused") > 0.5 * len(ends)


def test_a_changed_digit_of_a_loss_is_noticed(network, tmp_path):
    path = tmp_path / "surface.journal"
    sample_surface(network.objective, points=3, journal=path)
    content = path.read_bytes()
    good = read_journal(path)
    start, ends = content.index(b"\n", content.index(b"\n") + 1) + 1, []
    for place in range(start, content.index(b"\n", start)):
        if chr(content[place]).isdigit():
            other = b"0123456789"[(content[place] - ord("0") + 1) % 10]
            path.write_bytes(content[:place] + bytes([other]) + content[place + 1 :])
            ends.append(outcome(read_journal, path, good))
    # Of the 17 digits of a number, the last can often be another one without a change of the number.
    assert set(ends) <= {"refused", "same"}
    assert ends.count("same") <= 2
