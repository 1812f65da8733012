import dataclasses
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from landscape.errors import InputError, UsageError
from landscape.records.surface import Surface


@pytest.fixture
def surface() -> Surface:
    loss = np.array([[1.0, np.nan, 3.0], [np.inf, 5.0, np.nan]])
    computed = np.array([[True, True, True], [True, True, False]])
    return Surface(
        x=np.array([-1.0, 0.0, 1.0]),
        y=np.array([-0.5, 0.5]),
        loss=loss,
        accuracy=loss / 10,
        computed=computed,
        meta={"plane": {"kind": "random", "cosine": -0.0123}, "centre": {"loss": 1.5}, "name": "θ"},
    )


@pytest.mark.parametrize("scored", [True, False])
def test_save_and_load_give_the_same_surface(surface, tmp_path, scored):
    if not scored:
        surface = Surface(
            x=surface.x, y=surface.y, loss=surface.loss, accuracy=None, computed=surface.computed, meta={}
        )
    surface.save(tmp_path / "deep" / "s.npz")
    again = Surface.load(tmp_path / "deep" / "s.npz")
    for name in ("x", "y", "loss", "accuracy", "computed"):
        a, b = getattr(surface, name), getattr(again, name)
        assert (a is None) == (b is None)
        assert a is None or (a.dtype == b.dtype and a.tobytes() == b.tobytes())
    assert again.meta == {**surface.meta, "schema": "landscape.surface/1"}


def test_file_has_no_clock_and_no_pickle_in_it(surface, tmp_path):
    surface.save(tmp_path / "s.npz")
    with zipfile.ZipFile(tmp_path / "s.npz") as archive:
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    with np.load(tmp_path / "s.npz", allow_pickle=False) as archive:
        assert set(archive.files) == {"x", "y", "loss", "accuracy", "computed", "meta"}
        assert archive["loss"].shape == (2, 3)


def test_failed_save_leaves_the_old_file_and_no_other(surface, tmp_path, monkeypatch):
    path = tmp_path / "s.npz"
    surface.save(path)
    held = path.read_bytes()
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("no space left on device")))
    with pytest.raises(OSError, match="no space"):
        surface.described(more=1).save(path)
    assert path.read_bytes() == held
    assert list(tmp_path.iterdir()) == [path]


def test_truncated_file_is_refused_at_every_length(surface, tmp_path):
    path = tmp_path / "s.npz"
    surface.save(path)
    held = path.read_bytes()
    for length in range(0, len(held), 37):
        path.write_bytes(held[:length])
        with pytest.raises(InputError, match=r"s\.npz"):
            Surface.load(path)


def _pickled(path) -> None:
    with path.open("wb") as file:
        np.savez(file, loss=np.array([object()]), meta=np.array("{}"))


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_text("not a surface"),
        lambda path: np.save(path, np.zeros(3)),
        lambda path: np.savez(path, a=np.zeros(3)),
        lambda path: np.savez(path, meta=np.array("[]")),
        lambda path: np.savez(path, meta=np.array('{"schema": "landscape.surface/9"}')),
        lambda path: np.savez(path, meta=np.array('{"schema": "landscape.surface/1"}'), x=np.zeros(2)),
        _pickled,
        lambda path: path.mkdir(),
        lambda path: None,
    ],
)
def test_foreign_file_is_refused_with_one_clear_line(tmp_path, write):
    path = tmp_path / "s.npy"
    write(path)
    path = next(tmp_path.glob("s.npy*"), path)
    with pytest.raises(InputError, match="landscape surface CHECKPOINT") as caught:
        Surface.load(path)
    assert "\n" not in str(caught.value)


def test_arrays_that_do_not_fit_are_refused(surface):
    with pytest.raises(ValueError, match=r"loss has shape \(3, 2\)"):
        Surface(
            x=surface.x, y=surface.y, loss=surface.loss.T, accuracy=None, computed=surface.computed, meta={}
        )
    with pytest.raises(ValueError, match="do not increase"):
        Surface(
            x=surface.x[::-1],
            y=surface.y,
            loss=surface.loss,
            accuracy=None,
            computed=surface.computed,
            meta={},
        )


def test_arrays_cannot_be_written_to_and_are_not_the_callers(surface):
    with pytest.raises(ValueError, match="read-only"):
        surface.loss[0, 0] = 2
    mine = np.zeros((2, 3))
    Surface(x=surface.x, y=surface.y, loss=mine, accuracy=None, computed=surface.computed, meta={})
    mine[0, 0] = 1


def test_preview_of_nothing_is_refused(surface):
    with pytest.raises(UsageError, match="nothing to preview"):
        surface.preview()


def test_reading_a_surface_imports_no_torch():
    code = (
        "import sys, landscape.records.surface, landscape.surfaces.journal;"
        "sys.exit('torch' in sys.modules or 'matplotlib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_surface_is_shown_in_one_line(surface):
    assert repr(surface) == (
        "Surface(3 × 2 points, -1 to 1 by -0.5 to 0.5, loss 1 to 5, 5 of 6 computed; loss, accuracy)"
    )
    line = Surface(
        x=np.linspace(-1, 1, 5),
        y=np.zeros(1),
        loss=np.full((1, 5), 0.25),
        accuracy=None,
        computed=np.ones((1, 5), dtype=bool),
        meta={"label": "sam"},
    )
    assert repr(line) == "Surface('sam', 5 points, -1 to 1, loss 0.25 to 0.25; loss)"


def test_a_notebook_shows_what_a_surface_holds(surface):
    html = dataclasses.replace(surface, meta={**surface.meta, "label": "<b>"})._repr_html_()
    for part in (
        "random",
        "3 points, -1 to 1",
        "2 points, -0.5 to 0.5",
        "1 to 5",
        "5 of 6 points",
        "&lt;b&gt;",
    ):
        assert part in html
