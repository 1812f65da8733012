"""Both splits in one sweep, gradient norms, shards, full disks and killed processes."""

import dataclasses
import errno
import os

import numpy as np
import pytest
import torch
from torch import nn

from landscape.errors import InputError, UsageError
from landscape.objective import Objective
from landscape.surfaces.journal import Journal, read_journal
from landscape.surfaces.merging import merged
from landscape.surfaces.sampling import sample_surface


def _bytes(surface, folder) -> bytes:
    surface.save(folder / "surface.npz")
    return (folder / "surface.npz").read_bytes()


@pytest.fixture
def held_out(network):
    half = [(x.flip(0), y) for x, y in network.batches[:2]]
    return Objective(network.model, nn.CrossEntropyLoss(), half).described(data="noise", split="test")


def test_both_splits_in_one_sweep_are_those_of_two_sweeps(network, held_out):
    both = sample_surface(network.objective, points=4, test=held_out, gradient_norm=True)
    train = sample_surface(network.objective, points=4)
    test = sample_surface(held_out, points=4)
    assert both.loss == pytest.approx(train.loss, rel=1e-6)
    assert np.array_equal(both.accuracy, train.accuracy)
    assert np.array_equal(both.test_loss, test.loss)
    assert np.array_equal(both.test_accuracy, test.accuracy)
    assert not np.allclose(both.loss, both.test_loss)


def test_gradient_norm_is_that_at_each_point(quadratic, quadratic_model):
    surface = sample_surface(quadratic(), points=(3, 4), gradient_norm=True)
    objective, model = quadratic(), quadratic_model(torch.float64)
    from landscape.surfaces.plane import build_plane

    plane = build_plane("random", objective)
    for i, b in enumerate(surface.y):
        for j, a in enumerate(surface.x):
            slope = model.A @ (objective.point + a * plane.x + b * plane.y) + model.b
            assert surface.gradient_norm[i, j] == pytest.approx(float(slope.norm()), rel=1e-12)
    assert sample_surface(quadratic(), points=2).gradient_norm is None


def test_test_data_at_another_point_are_refused(network, held_out):
    with pytest.raises(UsageError, match="stands at another point"):
        sample_surface(network.objective, points=3, test=held_out.at(held_out.point + 1))


@pytest.mark.parametrize("plane", ["random", "line"])
@pytest.mark.parametrize("parts", [2, 3])
def test_shards_merged_equal_one_run(network, held_out, tmp_path, plane, parts):
    asked = {"points": 5, "test": held_out}
    whole = sample_surface(network.objective, plane, **asked)
    shards = [sample_surface(network.objective, plane, shard=(k + 1, parts), **asked) for k in range(parts)]
    assert sum(int(shard.computed.sum()) for shard in shards) == whole.loss.size
    assert not shards[0].complete
    assert _bytes(merged(shards[::-1]), tmp_path) == _bytes(whole, tmp_path)


def test_a_journal_of_another_shard_is_refused(network, tmp_path):
    sample_surface(network.objective, points=3, shard=(1, 2), journal=tmp_path / "j")
    with pytest.raises(InputError, match="journal of another run: its shard"):
        sample_surface(network.objective, points=3, shard=(2, 2), journal=tmp_path / "j")


def test_shards_of_different_surfaces_are_not_merged(network):
    first = sample_surface(network.objective, points=3, shard=(1, 2))
    with pytest.raises(InputError, match="other coordinates x"):
        merged([first, sample_surface(network.objective, points=5, shard=(2, 2))])
    with pytest.raises(InputError, match="its plane differs"):
        merged([first, sample_surface(network.objective, "random:seed=1", points=3, shard=(2, 2))])
    changed = dataclasses.replace(first, loss=first.loss + 1)
    with pytest.raises(InputError, match="another loss than the shards before"):
        merged([first, changed])
    with pytest.raises(UsageError, match="no shards"):
        merged([])
    assert not merged([first]).complete


@pytest.mark.parametrize("shard", [(0, 2), (3, 2), (1, 0)])
def test_a_shard_that_is_none_is_refused(network, shard):
    with pytest.raises(UsageError, match="is not allowed"):
        sample_surface(network.objective, points=3, shard=shard)


@pytest.mark.parametrize(("points", "centre"), [(3, True), ((5, 3), True), (4, False), ((5, 4), False)])
def test_a_centre_that_is_asked_for_is_there_or_the_grid_is_refused(network, points, centre):
    if centre:
        assert sample_surface(network.objective, points=points, centre=True).centre_error == 0
        return
    with pytest.raises(
        UsageError, match="none at its centre, the checkpoint; take odd numbers: --points 5x5"
    ):
        sample_surface(network.objective, points=points, centre=True)


class _FullDisk:
    """A file on a disk that takes so many bytes more, the last write in part."""

    def __init__(self, file, room: int) -> None:
        self.file, self.room = file, room

    def write(self, line: bytes) -> int:
        if self.room == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        part = line[: self.room]
        self.room -= len(part)
        return self.file.write(part)

    def close(self) -> None:
        self.file.close()


@pytest.mark.parametrize("room", [0, 10, 60, 200])
def test_a_full_disk_loses_nothing(network, tmp_path, monkeypatch, room):
    path = tmp_path / "journal"
    whole = sample_surface(network.objective, points=4)
    opened = Journal.__init__

    def on_full_disk(self, *arguments) -> None:
        opened(self, *arguments)
        self._file = _FullDisk(self._file, room)

    monkeypatch.setattr(Journal, "__init__", on_full_disk)
    with pytest.raises(OSError, match="No space left on device"):
        sample_surface(network.objective, points=4, journal=path)
    monkeypatch.setattr(Journal, "__init__", opened)
    kept = read_journal(path)
    assert np.array_equal(kept.loss[kept.computed], whole.loss[kept.computed])
    assert int(kept.computed.sum()) == path.read_bytes().count(b"\n") - 1
    resumed = sample_surface(network.objective, points=4, journal=path)
    assert _bytes(resumed, tmp_path) == _bytes(whole, tmp_path)


def test_a_short_write_is_written_to_its_end(network, tmp_path, monkeypatch):
    class Short(_FullDisk):
        def write(self, line: bytes) -> int:
            return self.file.write(line[:7])

    opened = Journal.__init__

    def shortened(self, *arguments) -> None:
        opened(self, *arguments)
        self._file = Short(self._file, 0)

    monkeypatch.setattr(Journal, "__init__", shortened)
    surface = sample_surface(network.objective, points=3, journal=tmp_path / "journal")
    assert np.array_equal(read_journal(tmp_path / "journal").loss, surface.loss)
