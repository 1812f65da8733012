"""Files of tomgoldstein/loss-landscape and of Landscaper, written as those tools write them."""

import sys

import numpy as np
import pytest

from landscape.errors import InputError, UsageError
from landscape.plotting import caption
from landscape.plotting.sources import read_source
from landscape.surfaces.foreign import from_loss_landscape


def _at(a, b):
    return 1 + a**2 + 3 * b


def _goldstein(path, *, nx=5, ny=3, left_out=(), test=False, **extra):
    """Filled as its scheduler does: point k of the raveled array is point k of numpy's mesh of both axes."""
    import h5py

    x, y = np.linspace(-1, 1, nx), np.linspace(-0.5, 0.5, ny)
    across, along = np.meshgrid(x, y)
    losses, accuracies = -np.ones((nx, ny)), -np.ones((nx, ny))
    for k in range(losses.size):
        if k not in left_out:
            losses.ravel()[k] = _at(across.ravel()[k], along.ravel()[k])
            accuracies.ravel()[k] = 87.5
    with h5py.File(path, "w") as file:
        file["dir_file"] = "directions.h5"
        file["xcoordinates"], file["ycoordinates"] = x, y
        file["train_loss"], file["train_acc"] = losses, accuracies
        if test:
            file["test_loss"] = losses + 1
        for name, values in extra.items():
            file[name] = values
    return x, y


@pytest.mark.parametrize(("nx", "ny"), [(5, 5), (5, 3), (2, 7)])
def test_every_loss_of_an_h5_file_is_at_its_coordinates(tmp_path, nx, ny):
    x, y = _goldstein(tmp_path / "s.h5", nx=nx, ny=ny, left_out=(1,), test=True)
    [surface] = read_source(tmp_path / "s.h5")
    expected = _at(x[None, :], y[:, None])
    assert not surface.computed[0, 1]
    assert np.isnan(surface.loss[0, 1])
    assert surface.computed.sum() == nx * ny - 1
    assert np.array_equal(surface.loss[surface.computed], expected[surface.computed])
    assert np.array_equal(surface.test_loss[surface.computed], expected[surface.computed] + 1)
    assert set(surface.accuracy[surface.computed]) == {0.875}
    assert "From s.h5 of tomgoldstein/loss-landscape." in caption(surface)


def test_a_line_of_an_h5_file_is_a_line(tmp_path):
    import h5py

    with h5py.File(tmp_path / "s.h5", "w") as file:
        file["xcoordinates"], file["train_loss"] = np.linspace(-1, 1, 4), np.array([1.0, np.nan, 3.0, -1.0])
    [surface] = read_source(tmp_path / "s.h5")
    assert surface.is_line
    assert np.array_equal(surface.loss, [[1.0, np.nan, 3.0, np.nan]], equal_nan=True)
    assert surface.computed.tolist() == [[True, True, True, False]]


def test_other_h5_files_are_refused_with_what_they_hold(tmp_path):
    import h5py

    with h5py.File(tmp_path / "d.h5", "w") as file:
        file["proj_xcoord"] = np.zeros(3)
    with pytest.raises(InputError, match=r"d\.h5 holds proj_xcoord; a surface of tomgoldstein"):
        read_source(tmp_path / "d.h5")
    with h5py.File(tmp_path / "e.h5", "w") as file:
        file["xcoordinates"], file["train_loss"] = np.linspace(-1, 1, 4), np.zeros(3)
    with pytest.raises(InputError, match="3 values of loss on 4 × 1 coordinates"):
        read_source(tmp_path / "e.h5")
    _goldstein(tmp_path / "s.h5")
    held = (tmp_path / "s.h5").read_bytes()
    (tmp_path / "s.h5").write_bytes(held[: len(held) // 2])
    with pytest.raises(InputError, match="damaged or not HDF5"):
        read_source(tmp_path / "s.h5")


def test_without_h5py_the_way_to_get_it_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UsageError, match=r"pip install 'h5py"):
        from_loss_landscape(tmp_path / "s.h5")


def _landscaper(path, shape=(5, 5)):
    """As its ``LossLandscape.save`` does: axis k of the losses belongs to range k."""
    ranges = [np.linspace(-1, 1, count) for count in shape]
    grids = np.meshgrid(*ranges, indexing="ij")
    np.savez(path, loss=_at(*grids[:2]), coordinates=ranges)
    return ranges


def test_every_loss_of_landscaper_is_at_its_coordinates(tmp_path):
    x, y = _landscaper(tmp_path / "s.npz")
    [surface] = read_source(tmp_path / "s.npz")
    assert np.array_equal(surface.loss, _at(x[None, :], y[:, None]))
    assert surface.complete
    assert "From s.npz of Landscaper, which replaces losses that are not finite" in caption(surface)


def test_three_directions_of_landscaper_are_refused(tmp_path):
    ranges = [np.linspace(-1, 1, 3)] * 3
    np.savez(tmp_path / "s.npz", loss=np.zeros((3, 3, 3)), coordinates=ranges)
    with pytest.raises(InputError, match="along 3 directions"):
        read_source(tmp_path / "s.npz")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_no_edit_of_a_file_of_landscaper_is_read_as_another_surface(tmp_path, save):
    file = tmp_path / "s.npz"
    save(file, loss=np.arange(4.0).reshape(2, 2), coordinates=np.array([[0.0, 1.0], [0.0, 1.0]]))
    content = file.read_bytes()
    [good] = read_source(file)
    refused = 0
    for place in range(0, len(content), 3):
        file.write_bytes(content[:place] + bytes([content[place] ^ 0x24]) + content[place + 1 :])
        try:
            [surface] = read_source(file)
        except InputError:
            refused += 1
        else:
            assert np.array_equal(surface.loss, good.loss)
            assert np.array_equal(surface.x, good.x)
    assert refused > len(content) / 6
