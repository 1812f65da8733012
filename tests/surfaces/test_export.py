import csv
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from landscape.records.surface import Surface
from landscape.surfaces.export import EXPORTS


@pytest.fixture
def surface() -> Surface:
    loss = np.array([[1 / 3, np.nan, 3.0], [np.inf, 5.0, -6.5e-300]])
    return Surface(
        x=np.array([-0.1, 0.0, 0.1]),
        y=np.array([-1 / 3, 2.0]),
        loss=loss,
        accuracy=None,
        computed=np.ones((2, 3), bool),
        meta={"name": "θ"},
        test_loss=2 * loss,
    )


def test_comma_separated_values_are_the_numbers_to_the_last_bit(surface, tmp_path):
    with EXPORTS[".csv"](surface, tmp_path / "s.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["x", "y", "loss", "test_loss"]
    for k, row in enumerate(rows):
        i, j = divmod(k, 3)
        wanted = [surface.x[j], surface.y[i], surface.loss[i, j], surface.test_loss[i, j]]
        assert np.array_equal([float(cell) for cell in row.values()], wanted, equal_nan=True)


def test_a_line_has_one_coordinate(surface, tmp_path):
    line = Surface(
        x=surface.x,
        y=np.zeros(1),
        loss=surface.loss[:1],
        accuracy=None,
        computed=np.ones((1, 3), bool),
        meta={},
    )
    assert EXPORTS[".csv"](line, tmp_path / "s.csv").read_text().splitlines()[:2] == [
        "x,loss",
        f"-0.1,{1 / 3!r}",
    ]


def test_structured_grid_has_every_point_at_its_place(surface, tmp_path):
    root = ElementTree.parse(EXPORTS[".vts"](surface, tmp_path / "s.vts")).getroot()
    assert root.get("type") == "StructuredGrid"
    grid = root.find("StructuredGrid")
    assert grid.get("WholeExtent") == grid.find("Piece").get("Extent") == "0 2 0 1 0 0"
    places = np.array(grid.find("Piece/Points/DataArray").text.split(), float).reshape(2, 3, 3)
    assert np.array_equal(places[..., 0], np.broadcast_to(surface.x, (2, 3)))
    assert np.array_equal(places[..., 1], np.broadcast_to(surface.y[:, None], (2, 3)))
    assert (places[..., 2] == 0).all()
    arrays = {
        a.get("Name"): np.array(a.text.split(), float) for a in grid.findall("Piece/PointData/DataArray")
    }
    assert np.array_equal(arrays["loss"].reshape(2, 3), surface.loss, equal_nan=True)
    assert np.array_equal(arrays["test_loss"].reshape(2, 3), surface.test_loss, equal_nan=True)


def test_netcdf_comes_back_through_xarray(surface, tmp_path):
    import xarray

    with xarray.open_dataset(EXPORTS[".nc"](surface, tmp_path / "s.nc"), engine="scipy") as data:
        assert data.loss.dims == ("y", "x")
        assert np.array_equal(data.x, surface.x)
        assert np.array_equal(data.loss, surface.loss, equal_nan=True)
        assert np.array_equal(data.test_loss, surface.test_loss, equal_nan=True)
        assert data.attrs["meta"] == '{"name": "θ"}'


@pytest.mark.parametrize("suffix", [".csv", ".vts"])
def test_same_surface_gives_the_same_bytes(surface, tmp_path, suffix):
    first = EXPORTS[suffix](surface, tmp_path / f"a{suffix}").read_bytes()
    assert EXPORTS[suffix](surface, tmp_path / f"b{suffix}").read_bytes() == first


def test_half_a_character_in_a_name_ends_no_export(surface, tmp_path):
    import dataclasses

    odd = dataclasses.replace(surface, meta={"name": "\ud800\x1bθ"})
    for suffix, write in EXPORTS.items():
        assert write(odd, tmp_path / f"s{suffix}").exists()
