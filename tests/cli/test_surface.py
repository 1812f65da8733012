"""``landscape surface`` from its flags to its files: every plane and format, shards, settings from a file."""

import errno
import json

import numpy as np
import pytest
from command_line import TINY

from landscape.records.surface import Surface
from landscape.surfaces.journal import Journal
from landscape.surfaces.plane import PLANES

SMALL = ("--points", "3", "--limit", "20", "--device", "cpu", "-q")
GIVEN = {
    "checkpoints": ["runs/sgd-0", "runs/sam-0", "runs/sgd-1"],
    "interpolation": ["runs/sgd-0", "runs/sam-0"],
    "bezier": ["runs/sgd-0", "runs/sam-0"],
    "trajectory": ["runs/sgd-0", "runs/sgd-1", "runs/sam-0"],
}


@pytest.mark.parametrize("plane", PLANES)
def test_every_plane_is_drawn_with_both_splits_and_gradient_norms(landscape, runs, tmp_path, plane):
    given = GIVEN.get(plane, ["runs/sgd-0"])
    name = "bezier:steps=2" if plane == "bezier" else plane
    flags = ("--plane", name, "--split", "both", "--gradient-norm", *SMALL, "-o", "s.pdf")
    done = landscape("surface", *given, *flags)
    assert done.code == 0, done.err
    assert done.out.split() == ["s.pdf", "s.txt", "s.tex"]
    surface = Surface.load(tmp_path / "s.npz")
    assert surface.meta["plane"]["kind"] == plane
    assert set(surface.values) == {"loss", "accuracy", "test_loss", "test_accuracy", "gradient_norm"}
    assert surface.centre_error == 0
    assert "train split, n = 20, and test split, n = 20" in (tmp_path / "s.txt").read_text()
    assert (tmp_path / "s.pdf").read_bytes().count(b"/Type3") == 0


def test_lines_of_two_checkpoints_are_two_panels(landscape, runs, tmp_path):
    flags = ("--plane", "line", "--split", "both", *SMALL, "-o", "s.svg")
    assert landscape("surface", "runs/sgd-0", "runs/sam-0", *flags).code == 0
    assert [Surface.load(tmp_path / f"s-{k}.npz").is_line for k in (1, 2)] == [True, True]


def test_a_page_is_written_at_once_and_the_same_again_by_plot(landscape, runs, tmp_path):
    assert landscape("surface", "runs/sgd-0", *SMALL, "-o", "s.html").out.split() == ["s.html"]
    assert landscape("plot", "s.npz", "-o", "t.html").code == 0
    assert (tmp_path / "s.html").read_bytes() == (tmp_path / "t.html").read_bytes()


def test_a_page_of_a_line_is_refused_before_anything_is_computed(landscape, runs, tmp_path):
    refused = landscape("surface", "runs/sgd-0", "--plane", "line", *SMALL, "-o", "s.html")
    assert refused.code == 2
    assert ".html is for planes, and 'line' is a line" in refused.error
    assert not list(tmp_path.glob("s*"))


def test_numbers_for_other_programs_are_those_of_the_file(landscape, runs, tmp_path):
    done = landscape("surface", "runs/sgd-0", "runs/sam-0", *SMALL, "-o", "s.csv")
    assert done.out.split() == ["s-1.csv", "s-2.csv"]
    table = np.genfromtxt(tmp_path / "s-2.csv", delimiter=",", names=True)
    assert np.array_equal(table["loss"], Surface.load(tmp_path / "s-2.npz").loss.ravel())
    assert landscape("plot", "s-2.npz", "-o", "t.csv").out.split() == ["t.csv"]
    assert (tmp_path / "t.csv").read_bytes() == (tmp_path / "s-2.csv").read_bytes()
    assert landscape("plot", "s-2.npz", "-o", "t.vts").code == 0


def test_drawing_never_writes_over_numbers(landscape, runs, tmp_path):
    assert landscape("surface", "runs/sgd-0", *SMALL, "-o", "s.npz").code == 0
    held = (tmp_path / "s.npz").read_bytes()
    assert landscape("plot", "s.npz", "-o", "t.npz").code == 0
    assert (tmp_path / "t.npz").read_bytes() == held
    refused = landscape("plot", "t.npz", "-o", "s.npz")
    assert refused.code == 2
    assert "s.npz exists and is not overwritten" in refused.error


def test_shards_are_put_together_to_what_one_run_gives(landscape, runs, tmp_path):
    assert landscape("surface", "runs/sgd-0", *SMALL, "-o", "whole.npz").code == 0
    for k in (1, 2):
        part = landscape("surface", "runs/sgd-0", *SMALL, "--shard", f"{k}/2", "-o", f"part-{k}.pdf")
        assert part.out.split() == [f"part-{k}.npz"]
    assert landscape("surface", "--merge", "part-1.npz", "part-2.npz", "-o", "m.png", "-q").code == 0
    whole, merged = (Surface.load(tmp_path / name) for name in ("whole.npz", "m.npz"))
    assert {n: v.tobytes() for n, v in merged.values.items()} == {
        n: v.tobytes() for n, v in whole.values.items()
    }
    kept = [{k: v for k, v in s.meta.items() if k != "command"} for s in (whole, merged)]
    assert kept[0] == kept[1]
    assert "--shard" not in merged.meta["command"]


def test_flags_are_taken_from_a_file(landscape, runs, tmp_path):
    settings = 'plane = "sam"\npoints = "3x5"\nspan = 0.1\nlimit = 20\ncenter = true\ngradient_norm = true\n'
    (tmp_path / "s.toml").write_text(settings + 'split = "both"\nvenue = "icml"\noutput = "s.png"\n')
    done = landscape("surface", "runs/sgd-0", "-c", "s.toml", "-q", "--device", "cpu")
    assert done.code == 0, done.err
    surface = Surface.load(tmp_path / "s.npz")
    assert surface.loss.shape == (5, 3)
    assert surface.x[-1] == 0.1
    assert surface.gradient_norm is not None
    assert surface.test_loss is not None


def test_a_dry_run_writes_nothing(landscape, runs, tmp_path, snapshot):
    before = snapshot()
    done = landscape("surface", "runs/sgd-0", "runs/sam-0", *SMALL, "--dry-run", "--shard", "1/2")
    assert done.code == 0
    assert [line.split(" of ")[0] for line in done.out.splitlines()] == [
        "runs/sgd-0: 5 points",
        "runs/sam-0: 5 points",
    ]
    assert snapshot() == before


def test_a_full_disk_costs_nothing_that_was_computed(landscape, runs, tmp_path, monkeypatch):
    append, left = Journal.append, [6]

    def full(self, index, value):
        left[0] -= 1
        if left[0] == 0:
            raise OSError(errno.ENOSPC, "No space left on device", "s.journal")
        append(self, index, value)

    monkeypatch.setattr(Journal, "append", full)
    stopped = landscape("surface", "runs/sgd-0", *SMALL, "-o", "s.png")
    assert stopped.code == 3
    assert "s.journal: No space left on device" in stopped.error
    assert len((tmp_path / "s.journal").read_text().splitlines()) == 6
    assert landscape("surface", "runs/sgd-0", *SMALL, "-o", "s.png").code == 0
    assert left[0] == -4


def test_checkpoints_of_different_models_share_no_plane(landscape, runs, tmp_path):
    wide = [word.replace("width=8", "width=9") for word in TINY]
    assert landscape("train", *wide, "-o", "wide", "-q").code == 0
    refused = landscape("surface", "runs/sgd-0", "wide", "--plane", "checkpoints", *SMALL, "-o", "s.png")
    assert refused.code == 3
    assert "wide" in refused.error
    assert not list(tmp_path.glob("s.*"))


def test_a_font_or_a_file_that_cannot_be_used_is_named(landscape, runs, tmp_path):
    assert landscape("surface", "runs/sgd-0", *SMALL, "-o", "s.npz").code == 0
    missing = landscape("plot", "s.npz", "--font", "No Such Font", "-o", "t.pdf")
    assert missing.code == 2
    assert "there is no font 'No Such Font'" in missing.error
    (tmp_path / "x.h5").write_bytes(b"\x89HDF\r\n\x1a\nrest")
    assert landscape("plot", "x.h5", "-o", "t.pdf").code in (2, 3)
    assert not list(tmp_path.glob("t.*"))


def test_a_journal_says_which_run_it_is(landscape, runs, tmp_path, monkeypatch):
    monkeypatch.setattr(Journal, "append", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert landscape("surface", "runs/sgd-0", *SMALL, "-o", "s.png").code == 130
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    header = json.loads((tmp_path / "s.journal").read_text().splitlines()[0])
    assert header["meta"]["plane"]["kind"] == "random"
    other = landscape("surface", "runs/sam-0", *SMALL, "-o", "s.png")
    assert other.code == 3
    assert "s.journal is the journal of another run" in other.error


NORMALISED = """
from torch import nn

def net(num_classes=10):
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, num_classes)
    )
"""


@pytest.fixture
def normalised(landscape, tmp_path):
    """Two runs of a network with batch norm, and the flags that name it."""
    (tmp_path / "net.py").write_text(NORMALISED)
    flags = ("-m", "./net.py:net", "--limit", "128", "--points", "5", "--device", "cpu")
    asked = ("-m", "./net.py:net", "-d", "digits", "--epochs", "3", "-b", "256", "--device", "cpu", "-q")
    assert landscape("train", *asked, "--optimizers", "sgd", "--seeds", "0-1", "-o", "runs").code == 0
    return "runs/sgd-0", "runs/sgd-1", *flags


def test_both_ends_of_a_line_have_their_own_batch_norm_statistics(landscape, normalised, tmp_path):
    for mode in ("stored", "recalibrate"):
        flags = ("--batch-norm", mode, "--split", "both", "--plane", "interpolation", "-o", f"{mode}.png")
        done = landscape("surface", *normalised, *flags)
        assert done.code == 0, done.err
        surface = Surface.load(tmp_path / f"{mode}.npz")
        for run, check in zip(normalised[:2], surface.meta["checkpoints"], strict=True):
            own = Surface.load(_alone(landscape, run, normalised, mode, tmp_path))
            for name, loss in check["own"].items():
                assert loss == pytest.approx(own.values[name][2, 2], rel=1e-5)
                assert check["surface"][name] == pytest.approx(loss, rel=1e-3)
        assert surface.loss[0, -1] == pytest.approx(check["own"]["loss"], rel=1e-3)
        assert "loss at the checkpoints: " in done.err
        assert "barrier of test_loss" in done.err
        caption = (tmp_path / f"{mode}.txt").read_text()
        assert f"Loss at the checkpoints: {surface.loss[0, 0]:.4g} at sgd-0 (its own " in caption
    assert "Batch norm: statistics recomputed at every point from 128 training examples." in caption
    assert "batch-norm statistics: recomputed at every point from 128 training examples" in done.err
    assert ("interpolated" in done.err) is False


def _alone(landscape, run, normalised, mode, folder):
    """The surface of one of the runs by itself, whose centre is the run's own loss."""
    file = folder / f"{run[5:]}-{mode}.npz"
    flags = ("--batch-norm", mode, "--split", "both", "--points", "5", "-q", "-o", file)
    assert landscape("surface", run, *normalised[2:], *flags).code == 0
    return file


def test_planes_through_checkpoints_recalibrate_by_default_and_end_what_was_begun(
    landscape, normalised, tmp_path, monkeypatch
):
    flags = ("surface", *normalised, "--split", "both", "--plane", "interpolation", "-o", "s.png")
    done = landscape(*flags)
    assert done.code == 0, done.err
    caption = (tmp_path / "s.txt").read_text()
    assert "Batch norm: statistics recomputed at every point from 128 training examples." in caption
    assert "with its stored statistics" in caption
    surface = Surface.load(tmp_path / "s.npz")
    assert [check["agree"] for check in surface.meta["checkpoints"]] == [True, True]
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "append", None)  # nothing is computed again
        assert landscape(*flags).code == 0
    with monkeypatch.context() as patch:
        append, left = Journal.append, [3]

        def interrupted(self, *point):
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            append(self, *point)

        patch.setattr(Journal, "append", interrupted)
        assert landscape(*flags, "--overwrite").code == 130
    assert landscape(*flags, "--overwrite").code == 0
    again = Surface.load(tmp_path / "s.npz")
    assert all(values.tobytes() == again.values[name].tobytes() for name, values in surface.values.items())
    assert again.meta["checkpoints"] == surface.meta["checkpoints"]
    planned = landscape(*flags, "--dry-run")
    assert "batch-norm statistics recomputed at every point from 128 training examples" in planned.out


def test_a_curve_of_a_network_with_stored_statistics_is_refused(landscape, normalised, tmp_path):
    flags = ("surface", *normalised, "--plane", "bezier:steps=2", "-q", "-o", "s.png")
    refused = landscape(*flags, "--batch-norm", "stored")
    assert refused.code == 2
    assert "--batch-norm stored" in refused.error
    assert not list(tmp_path.glob("s.*"))
    assert landscape(*flags).code == 0
    assert "Barrier on the curve" in (tmp_path / "s.txt").read_text()


def test_the_plan_of_measures_counts_recalibration_apart(landscape, normalised):
    asked = ("measure", *normalised[:1], *normalised[2:6], "-M", "average-sharpness", "--dry-run", "-q")
    words = "at every point but the checkpoint, where batch-norm statistics are recomputed"
    assert words not in " ".join(landscape(*asked).out.split())
    planned = landscape(*asked, "--batch-norm", "recalibrate")
    assert planned.code == 0, planned.err
    assert words in " ".join(planned.out.split())


def test_no_barrier_is_printed_where_a_checkpoint_has_another_loss(landscape, normalised, tmp_path):
    frozen = (
        NORMALISED.replace("return ", "net = ") + "    net[1].weight.requires_grad_(False)\n    return net\n"
    )
    (tmp_path / "net.py").write_text(frozen)
    done = landscape("surface", *normalised, "--plane", "interpolation", "-o", "s.png")
    assert done.code == 0
    assert "barrier of" not in done.err
    assert "no barrier is given: " in done.err
    assert "does not pass through it" in done.err
    caption = (tmp_path / "s.txt").read_text()
    assert "no barrier is given: " in caption
    assert "Barrier" not in caption


def test_aligned_checkpoints_are_nearer_and_the_record_and_the_caption_say_so(landscape, runs, tmp_path):
    before = {path: path.read_bytes() for path in runs.rglob("*.pt")}
    flags = ("--plane", "interpolation", "--align", "--split", "both", *SMALL[:-1], "-o", "s.svg")
    done = landscape("surface", "runs/sgd-0", "runs/sam-0", *flags)
    assert done.code == 0, done.err
    assert "runs/sam-0: aligned to runs/sgd-0 by weight matching:" in done.err
    assert "barrier of test_loss before aligning" in done.err
    surface = Surface.load(tmp_path / "s.npz")
    aligned = surface.meta["aligned"]
    assert aligned["to"] == "sgd-0"
    distances = aligned["networks"][0]["distances"]
    assert distances["after"] <= distances["before"]
    plain = landscape("surface", "runs/sgd-0", "runs/sam-0", *flags[:2], *flags[3:-1], "plain.svg")
    assert plain.code == 0
    there = Surface.load(tmp_path / "plain.npz")
    assert aligned["before"]["loss"] == there.loss[0].tolist()
    assert aligned["before"]["barrier"] == there.meta["barrier"]
    assert [check["label"] for check in surface.meta["checkpoints"]] == ["sgd-0", "sam-0, aligned"]
    assert all(check["agree"] for check in surface.meta["checkpoints"])
    assert "sam-0 is aligned to sgd-0 by weight matching" in (tmp_path / "s.txt").read_text()
    assert {path: path.read_bytes() for path in runs.rglob("*.pt")} == before


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--plane", "random"], "--plane random has no such"),
        (["--plane", "interpolation", "--parameters", "layers.1.*"], "leave out --parameters"),
        (["--plane", "interpolation", "--merge"], "--merge combines what is computed"),
    ],
)
def test_what_cannot_be_aligned_is_refused(landscape, runs, flags, says):
    refused = landscape("surface", "runs/sgd-0", "runs/sam-0", *flags, "--align", *SMALL)
    assert refused.code == 2
    assert says in refused.error


def test_basins_are_printed_in_eighty_columns_before_the_files(landscape, runs, tmp_path):
    ends = ("--plane", "interpolation", *SMALL[2:])
    assert landscape("surface", "runs/sgd-0", "runs/sam-0", *ends, "--points", "9", "-o", "s.npz").code == 0
    done = landscape("plot", "s.npz", "--kind", "basins", "-o", "b.svg")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].split() == ["basin", "x", "minimum", "saddle", "depth", "points", "joins"]
    assert f"{Surface.load(tmp_path / 's.npz').loss.min():.4g}" in lines[1].split()
    assert max(map(len, lines)) <= 80
    assert lines[-3:] == ["b.svg", "b.txt", "b.tex"]
