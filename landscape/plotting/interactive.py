"""Surfaces as one interactive HTML file that needs nothing but a browser, also offline."""

import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import LogNorm, to_hex
from numpy.typing import NDArray
from scipy.interpolate import RegularGridInterpolator

from landscape.errors import UsageError
from landscape.plotting.caption import UNNAMED, axis_labels, caption, quantity
from landscape.plotting.scale import Scale, shared_scale
from landscape.records.landmarks import Landmarks
from landscape.records.storage import write_whole
from landscape.records.surface import Surface
from landscape.registry.extras import install
from landscape.tables.escaping import for_html

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>
body {{ margin: 0; font: 15px/1.4 serif; color: #222; }}
#plot {{ width: 100%; height: 82vh; }}
#scale {{ position: absolute; left: 1em; top: 0.6em; z-index: 1; font: inherit; }}
p {{ margin: 0.4em 1.5em; max-width: 70em; overflow-wrap: anywhere; }}
</style>
</head>
<body>
<button id="scale" type="button"></button>
<div id="plot"></div>
<p>{caption}</p>
<script type="application/json" id="numbers">{numbers}</script>
<script>{plotly}</script>
<script>{script}</script>
</body>
</html>
"""


def save_page(
    surfaces: Sequence[Surface], titles: Sequence[str], path: str | Path, *, scale: Scale | None = None
) -> Path:
    """Writes surfaces as one HTML file, in which they are turned together with the mouse.

    Heights can be switched between linear and logarithmic, losses appear under the mouse, and paths and checkpoints
    in the plane are drawn at their losses. The same input gives the same bytes.

    Args:
        surfaces: Surfaces on planes, at least one.
        titles: A title for each, or none.
        path: The file.
        scale: The scale of heights and colours; by default :func:`landscape.plotting.scale.shared_scale`.

    Returns:
        The path.

    Raises:
        UsageError: There is no surface, or a line among them; the number of titles differs; plotly is not installed.
    """
    if not surfaces or any(surface.is_line for surface in surfaces):
        raise UsageError(
            f"{path}: .html is for surfaces on a plane; end it in .pdf, .svg or .png for other figures"
        )
    if len(titles) not in (0, len(surfaces)):
        raise UsageError(
            f"{len(surfaces)} surfaces and {len(titles)} titles were given; give as many, or none"
        )
    plotly = plotly_source()
    if plotly is None:
        raise UsageError(f"{path}: plotly is not installed; {install('html')} installs it, or end it in .png")
    text = _PAGE.format(
        title=for_html(", ".join(titles) or quantity(surfaces)),
        caption=for_html(caption(*surfaces, titles=titles)),
        numbers=page_numbers(surfaces, titles, scale),
        plotly=plotly,
        script=resources.files("landscape.plotting").joinpath("interactive.js").read_text(encoding="utf-8"),
    )
    write_whole(Path(path), text.encode())
    return Path(path)


def plotly_source() -> str | None:
    """The JavaScript of plotly; ``None`` where it is not installed."""
    try:
        from plotly.offline import get_plotlyjs
    except ImportError:
        return None
    return str(get_plotlyjs())


def page_numbers(surfaces: Sequence[Surface], titles: Sequence[str] = (), scale: Scale | None = None) -> str:
    """What the page draws, as JSON; losses that are not finite are ``null``."""
    scale = scale or shared_scale(surfaces)
    finite = np.concatenate([surface.loss[np.isfinite(surface.loss)] for surface in surfaces])
    positive = finite[finite > 0]
    names = titles or [""] * len(surfaces)
    numbers = {
        "panels": [_panel(surface, title) for surface, title in zip(surfaces, names, strict=True)],
        "quantity": for_html(quantity(surfaces)),
        # Beside each other, long names would be cut off; they appear under the mouse.
        "labels": [*map(for_html, axis_labels(surfaces[0]) if len(surfaces) == 1 else UNNAMED)],
        "low": scale.levels[0],
        "high": scale.levels[-1],
        "ticks": list(scale.ticks),
        # Losses of zero lie on the floor of a logarithmic height.
        "smallest": float(positive.min()) if positive.size else 1.0,
        "positive": bool(finite.size and finite.min() >= 0 and positive.size),
        "logarithmic": isinstance(scale.norm, LogNorm),
        "colours": [[k / 32, to_hex(colormaps[scale.colours](k / 32))] for k in range(33)],
    }
    # Browsers refuse NaN in JSON, so that one must not slip through.
    text = json.dumps(numbers, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # No "</script>" in a title may end the script element that holds the numbers.
    return text.replace("<", "\\u003c")


def _panel(surface: Surface, title: str) -> dict[str, Any]:
    paths = [("trajectory", surface.trajectory, "lines+markers"), ("checkpoints", surface.markers, "markers")]
    first, second = map(for_html, axis_labels(surface))
    name = for_html(quantity([surface]))
    hover = [
        [
            f"{name} {value:.6g}<br>{first} {a:.4g}<br>{second} {b:.4g}"
            + ("" if surface.accuracy is None else f"<br>accuracy {surface.accuracy[row, column]:.2%}")
            for column, (a, value) in enumerate(zip(surface.x, surface.loss[row], strict=True))
        ]
        for row, b in enumerate(surface.y)
    ]
    return {
        "title": for_html(title),
        "x": surface.x.tolist(),
        "y": surface.y.tolist(),
        "loss": [_plain(row) for row in surface.loss],
        "shown": hover,
        "paths": [_path(surface, name, marks, mode) for name, marks, mode in paths if marks is not None],
    }


def _path(surface: Surface, name: str, marks: Landmarks, mode: str) -> dict[str, Any]:
    x, y = marks.coordinates.T
    # The height of the drawn surface, which is linear between the points of the grid.
    loss = np.where(np.isfinite(surface.loss), surface.loss, np.nan)
    height = RegularGridInterpolator((surface.y, surface.x), loss, bounds_error=False)
    return {
        "name": name,
        "mode": mode,
        "x": x.tolist(),
        "y": y.tolist(),
        "loss": _plain(height((y, x))),
        "labels": [*map(for_html, marks.labels)],
    }


def _plain(values: NDArray[np.float64]) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]
