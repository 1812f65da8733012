"""Surfaces for other programs: comma-separated values, ParaView, netCDF."""

import csv
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from landscape.errors import UsageError
from landscape.records.storage import write_whole
from landscape.records.surface import Surface
from landscape.registry.extras import install
from landscape.tables.escaping import for_csv, for_html, for_terminal


def to_csv(surface: Surface, path: Path) -> Path:
    """One line a point: its coordinates and values in full precision, ``nan`` where not computed."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    axes = ["x"] if surface.is_line else ["x", "y"]
    writer.writerow([*axes, *map(for_csv, surface.values)])
    for row, column in np.ndindex(surface.loss.shape):
        place = [surface.x[column], surface.y[row]][: len(axes)]
        numbers = [*place, *(values[row, column] for values in surface.values.values())]
        writer.writerow([repr(float(number)) for number in numbers])
    write_whole(path, out.getvalue().encode())
    return path


def to_vts(surface: Surface, path: Path) -> Path:
    """A structured grid of VTK as plain XML, flat at height 0; "Warp By Scalar" in ParaView makes the relief."""
    nx, ny = len(surface.x), len(surface.y)
    extent = f"0 {nx - 1} 0 {ny - 1} 0 0"
    # VTK's first coordinate runs fastest, as ours does in a flattened (ny, nx) array.
    corners = "\n".join(f"{x!r} {y!r} 0" for y in surface.y.tolist() for x in surface.x.tolist())
    fields = "\n".join(
        f'<DataArray type="Float64" Name="{for_html(name)}" format="ascii">\n'
        + "\n".join(repr(number) for number in values.reshape(-1).tolist())
        + "\n</DataArray>"
        for name, values in surface.values.items()
    )
    text = (
        '<?xml version="1.0"?>\n'
        '<VTKFile type="StructuredGrid" version="0.1" byte_order="LittleEndian">\n'
        f'<StructuredGrid WholeExtent="{extent}">\n<Piece Extent="{extent}">\n'
        f'<PointData Scalars="loss">\n{fields}\n</PointData>\n'
        f'<Points>\n<DataArray type="Float64" NumberOfComponents="3" format="ascii">\n{corners}\n</DataArray>\n'
        "</Points>\n</Piece>\n</StructuredGrid>\n</VTKFile>\n"
    )
    write_whole(path, text.encode())
    return path


def to_netcdf(surface: Surface, path: Path) -> Path:
    """A netCDF data set with coordinates x and y and ``meta`` as a JSON attribute, through xarray.

    Raises:
        UsageError: The extra ``netcdf`` is not installed.
    """
    try:
        import xarray
    except ImportError:
        raise UsageError(f"netCDF needs xarray; {install('netcdf')} adds it, or write .csv") from None
    fields = {name: (("y", "x"), values) for name, values in surface.values.items()}
    # Terminal escapes are also JSON escapes; a lone surrogate could not be written.
    meta = for_terminal(json.dumps(dict(surface.meta), sort_keys=True, ensure_ascii=False))
    data = xarray.Dataset(fields, {"x": surface.x, "y": surface.y}, {"meta": meta})
    write_whole(path, bytes(data.to_netcdf(engine="scipy")))
    return path


EXPORTS: Mapping[str, Callable[[Surface, Path], Path]] = {".csv": to_csv, ".vts": to_vts, ".nc": to_netcdf}
"""By suffix, the function that writes a surface to a file of that kind and returns its path."""
