"""``--shard-weights``: commands in several processes print and write once, and the numbers of one process."""

import json
import os
import tempfile

import numpy as np
import pytest
from command_cases import together
from command_line import TINY, call
from command_line import landscape as landscape

from landscape import records
from landscape.records.surface import Surface

DATA = ("--dtype", "float64", "--limit", "40", "-b", "20", "--device", "cpu", "-q")
MEASURES = "loss,accuracy,gradient-norm,dominant-eigenvalue:max_iterations=4"
PLANES = {"random": ("run",), "interpolation": ("run", "other")}
POINTS = 3


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with two trained networks, where files that are to be thrown away lie in ``temporary``."""
    folder = tmp_path_factory.mktemp("runs")
    for seed, name in enumerate(("run", "other")):
        assert call(["train", *TINY, "--seed", str(seed), "-o", str(folder / name), "-q"]) == 0
    (folder / "temporary").mkdir()
    return folder


@pytest.fixture(autouse=True)
def thrown_away(runs, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield {"variables": {"TMPDIR": str(runs / "temporary")}}
    assert not list((runs / "temporary").iterdir())


def surface(runs, plane, file):
    paths = [str(runs / name) for name in PLANES[plane]]
    return ["surface", *paths, "--plane", plane, "--points", str(POINTS), *DATA[:-1], "-o", str(file)]


def values(folder):
    return Surface.load(folder / "s.npz").values


def test_measures_are_printed_once_and_equal_those_of_one_process(runs, tmp_path, thrown_away):
    words = ["measure", str(runs / "run"), "-M", MEASURES, *DATA, "--no-resume", "--format", "json"]
    assert call([*words, "-o", str(tmp_path / "alone.jsonl")]) == 0
    codes, out, err = together(
        runs,
        tmp_path / "here",
        *words,
        "--shard-weights",
        "-o",
        str(tmp_path / "sharded.jsonl"),
        **thrown_away,
    )
    assert (codes, err) == ([0, 0], "")
    alone = records.read(tmp_path / "alone.jsonl").estimates
    written = records.read(tmp_path / "sharded.jsonl").estimates
    assert [each["value"] for each in json.loads(out)] == [each.value for each in written]
    assert [each.measure for each in written] == [each.measure for each in alone]
    assert [each.value for each in written] == pytest.approx([each.value for each in alone], rel=1e-12)


@pytest.mark.thorough
@pytest.mark.parametrize("plane", PLANES)
def test_a_surface_is_that_of_one_process_also_after_the_first_was_killed(runs, tmp_path, thrown_away, plane):
    assert call(surface(runs, plane, tmp_path / "s.csv")) == 0
    expected, there = values(tmp_path), tmp_path / "there"
    there.mkdir()
    words = [*surface(runs, plane, there / "s.csv"), "--shard-weights"]
    count = expected["loss"].size
    if plane == "random":
        codes, *_ = together(runs, tmp_path / "killed", *words, appends=count - 2, **thrown_away)
        assert all(codes)
        assert sorted(file.name for file in there.iterdir()) == ["s.journal"]
    begun = 0 if plane == "interpolation" else count - 2
    # It would be killed again if it began anew.
    codes, out, err = together(runs, tmp_path / "ended", *words, appends=count - begun, **thrown_away)
    assert codes == [0, 0]
    assert err.count("examples: loss") == 1
    assert out.split() == [str(there / "s.csv")]
    computed = values(there)
    assert computed.keys() == expected.keys()
    for name, numbers in expected.items():
        np.testing.assert_allclose(computed[name], numbers, rtol=1e-12)
    assert {file.name for file in there.iterdir()} == {
        file.name for file in tmp_path.iterdir() if file.is_file()
    }


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["measure", "run"], "--shard-weights divides the weights over processes, and this is one"),
        (["surface", "run"], "--shard-weights divides the weights over processes, and this is one"),
        (["surface", "run", "--shard", "auto"], "in all processes together; leave out --shard"),
        (["surface", "a.npz", "b.npz", "--merge"], "in all processes together; leave out --merge"),
    ],
)
def test_what_weights_cannot_be_divided_for_is_refused(runs, landscape, words, reason):
    words = [str(runs / word) if word == "run" else word for word in words]
    refused = landscape(*words, *DATA, "--shard-weights", "-o", "none.csv" if words[0] == "surface" else "m")
    assert refused.code == 2
    assert reason in refused.error
    assert not os.listdir()
