"""Lines, further quantities and landmarks in the file of a surface."""

import dataclasses

import numpy as np
import pytest

from landscape.errors import UsageError
from landscape.records.landmarks import Landmarks
from landscape.records.surface import VALUES, Surface

PATH = Landmarks(
    np.array([[0.0, 1.0], [0.5, -2.0], [3.0, 0.25]]), np.array([0.0, 1e-9, 4.0]), ("a", "b", "épo")
)


def _surface(**changes: object) -> Surface:
    field = np.array([[1.0, np.nan, np.inf], [4.0, 5.0, 6.0]])
    whole = {name: field + k for k, name in enumerate(VALUES)}
    given = {"x": np.arange(3.0), "y": np.arange(2.0), "computed": np.ones((2, 3), bool), "meta": {}}
    return Surface(**{**given, **whole, **changes})


def test_every_field_and_landmark_comes_back_from_the_file(tmp_path):
    surface = _surface(markers=PATH, trajectory=PATH)
    surface.save(tmp_path / "s.npz")
    again = Surface.load(tmp_path / "s.npz")
    assert list(again.values) == list(VALUES)
    for name, array in surface.values.items():
        assert array.tobytes() == again.values[name].tobytes()
    for marks in (again.markers, again.trajectory):
        assert marks.labels == PATH.labels
        assert marks.coordinates.tobytes() == PATH.coordinates.tobytes()
        assert marks.distances.tobytes() == PATH.distances.tobytes()
    again.save(tmp_path / "t.npz")
    assert (tmp_path / "s.npz").read_bytes() == (tmp_path / "t.npz").read_bytes()


def test_what_was_not_asked_for_is_absent(tmp_path):
    _surface(**dict.fromkeys(VALUES[1:])).save(tmp_path / "s.npz")
    with np.load(tmp_path / "s.npz") as archive:
        assert set(archive.files) == {"x", "y", "loss", "computed", "meta"}
    again = Surface.load(tmp_path / "s.npz")
    assert list(again.values) == ["loss"]
    assert again.markers is None
    assert again.trajectory is None


def test_a_line_is_a_surface_of_one_row(tmp_path):
    marks = Landmarks(np.array([[0.0], [1.0]]), np.zeros(2), ("a", "b"))
    field = np.array([[1.0, 2.0, 3.0, 4.0, 5.0]])
    computed = np.array([[True, False, True, False, True]])
    line = Surface(
        x=np.linspace(0, 1, 5),
        y=np.zeros(1),
        loss=field,
        accuracy=None,
        computed=computed,
        meta={},
        markers=marks,
    )
    line.save(tmp_path / "s.npz")
    again = Surface.load(tmp_path / "s.npz")
    assert again.is_line
    assert again.markers.coordinates.shape == (2, 1)
    assert again.preview().x.tolist() == [0.0, 0.5, 1.0]
    assert again.preview().loss.tolist() == [[1.0, 3.0, 5.0]]
    alone = dataclasses.replace(line, computed=np.array([[False, False, True, False, False]]))
    with pytest.raises(UsageError, match="nothing to preview: 1 of 5"):
        alone.preview()


def test_a_preview_keeps_every_field_and_landmark():
    preview = _surface(markers=PATH).preview()
    assert list(preview.values) == list(VALUES)
    assert preview.markers is PATH


def test_landmarks_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="coordinates of 2 landmarks have shape"):
        Landmarks(np.zeros((3, 2)), np.zeros(2), ("a", "b"))
    with pytest.raises(ValueError, match="distances of 2 landmarks"):
        Landmarks(np.zeros((2, 2)), np.zeros(3), ("a", "b"))
    with pytest.raises(ValueError, match="markers have 1 coordinates"):
        _surface(markers=Landmarks(np.zeros((1, 1)), np.zeros(1), ("a",)))
    with pytest.raises(ValueError, match="read-only"):
        PATH.coordinates[0, 0] = 1
    with pytest.raises(ValueError, match="test_loss has shape"):
        _surface(test_loss=np.zeros((3, 2)))
