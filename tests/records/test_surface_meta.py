"""Meta data of files that somebody else may have written: read as described, or refused in one line."""

import dataclasses
import json
import random

import numpy as np
import pytest

from landscape.errors import InputError
from landscape.plotting import caption
from landscape.plotting.caption import axis_labels, quantity
from landscape.records.landmarks import Landmarks
from landscape.records.surface import Surface
from landscape.records.surface_meta import misfit
from landscape.surfaces.journal import Journal, read_journal

HEIGHT = {"height": 0.5, "at": 0.25}
META = {
    "plane": {
        "kind": "interpolation", "settings": {"seed": 0}, "cosine": None, "norms": [1.0], "ignored": ["bias"],
        "labels": ["t"], "eigenvalues": [2.0, 1.0], "converged": True, "explained_variance": [0.7, 0.2],
        "explained_variance_of_a_random_walk": [0.6, 0.2], "curve": {"t": [0.0, 1.0], "barrier": HEIGHT},
    },
    "centre": {"sha256": "ab", "loss": 1.0},
    "provenance": {"model": "mlp", "data": "digits", "num_examples": 20, "batch_norm": "stored"},
    "test": {"split": "test", "num_examples": 10},
    "barrier": {"loss": HEIGHT},
    "checkpoints": [
        {
            "label": label, "sha256": "ab", "distance": 0.0, "surface": {"loss": 1.0}, "own": {"loss": 1.0},
            "agree": agree,
        } for label, agree in (("a", True), ("b", None))
    ],
    "batch_norm": "interpolated", "command": "landscape surface", "loss": "cross-entropy", "label": "sgd",
}  # fmt: skip
WRONG = [
    None, True, -1, 1e308, 10**400, "x", "", [], {}, [1], ["a"], [None], [[1]], {"a": 1}, [{}], {"loss": "x"}, ["a"] * 3
]  # fmt: skip


@pytest.fixture
def surface() -> Surface:
    path = Landmarks(np.zeros((2, 1)), np.zeros(2), ("a", "b"))
    return Surface(
        x=np.linspace(0, 1, 3), y=np.zeros(1), loss=np.ones((1, 3)), accuracy=None, computed=np.ones((1, 3), bool),
        meta=META, trajectory=path,
    )  # fmt: skip


def places(content, place=()):
    entries = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in entries:
        yield (*place, key)
        if isinstance(value, (dict, list)):
            yield from places(value, (*place, key))


def test_whatever_stands_in_a_field_a_file_is_read_and_captioned_or_refused(surface, tmp_path):
    dice = random.Random(0)
    refused = read = 0
    for place in places(META):
        for value in dice.sample(WRONG, 6):
            meta = json.loads(json.dumps(META))
            inner = meta
            for key in place[:-1]:
                inner = inner[key]
            inner[place[-1]] = value
            dataclasses.replace(surface, meta=meta).save(tmp_path / "s.npz")
            try:
                found = Surface.load(tmp_path / "s.npz")
            except InputError:
                refused += 1
                continue
            read += 1
            assert caption(found)
            assert len(axis_labels(found)) == 2
            assert quantity([found])
    assert min(refused, read) > 50


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"plane": "x"}, "meta.plane is 'x', not a mapping"),
        ({"plane": {"norms": 1.0}}, "meta.plane.norms is 1.0, not a list"),
        ({"plane": {"labels": ["a", "b", "c"]}}, "meta.plane.labels has 3 entries, more than 2"),
        ({"barrier": {"loss": {"at": 1.0}}}, "meta.barrier.loss has no height"),
        ({"centre": {"loss": 10**400}}, "meta.centre.loss is a number of more than 64 bits"),
        ({"command": ["rm"]}, "meta.command is ['rm']"),
        ({"provenance": {"num_examples": True}}, "meta.provenance.num_examples is True"),
    ],
)
def test_a_field_of_another_type_is_named(change, words):
    assert misfit(META) is None
    assert misfit({**META, **change}) == words


def test_what_is_not_described_is_kept(surface, tmp_path):
    surface.described(mine={"a": [None]}).save(tmp_path / "s.npz")
    assert Surface.load(tmp_path / "s.npz").meta["mine"] == {"a": [None]}


def test_the_meta_data_of_a_journal_are_looked_at_too(tmp_path):
    with Journal(
        tmp_path / "j", {"x": [0.0, 1.0], "y": [0.0], "values": ["loss"], "meta": {"plane": {"labels": 3}}}
    ):
        pass
    with pytest.raises(InputError, match=r"meta\.plane\.labels is 3, not a list"):
        read_journal(tmp_path / "j")
