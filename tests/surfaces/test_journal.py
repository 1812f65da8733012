import json
import os
import random

import numpy as np
import pytest
import torch

from landscape.errors import InputError, UsageError
from landscape.surfaces.journal import read_journal
from landscape.surfaces.sampling import sample_surface


class Killed(BaseException):
    """What a signal does to a process, in one that goes on."""


def _until(count: int):
    def progress(done: int, total: int) -> None:
        if done >= count:
            raise Killed

    return progress


def _bytes(surface, tmp_path) -> bytes:
    surface.save(tmp_path / "surface.npz")
    return (tmp_path / "surface.npz").read_bytes()


@pytest.mark.parametrize("trial", range(20))
def test_killing_at_a_random_moment_and_resuming_gives_the_same_bytes(network, tmp_path, trial):
    dice = random.Random(trial)
    undisturbed = _bytes(sample_surface(network.objective, points=(5, 4)), tmp_path)
    journal = tmp_path / "surface.journal"
    for _ in range(2):
        with pytest.raises(Killed):
            sample_surface(
                network.objective, points=(5, 4), journal=journal, progress=_until(dice.randint(0, 20))
            )
        # A process can also die in the middle of a write, of the header as well.
        held = journal.read_bytes()
        journal.write_bytes(held[: len(held) - dice.choice([0, 0, 1, 7, 30, len(held), len(held) - 9])])
    resumed = sample_surface(network.objective, points=(5, 4), journal=journal)
    assert _bytes(resumed, tmp_path) == undisturbed
    assert len(journal.read_bytes().splitlines()) == 21


def test_resuming_computes_only_what_is_missing(network, tmp_path):
    journal = tmp_path / "journal"
    with pytest.raises(Killed):
        sample_surface(network.objective, points=4, journal=journal, progress=_until(10))
    calls = []
    sample_surface(network.objective, points=4, journal=journal, progress=lambda d, t: calls.append(d))
    assert calls == [10, 11, 12, 13, 14, 15, 16]


def test_finished_journal_is_read_and_nothing_is_computed(network, tmp_path, monkeypatch):
    journal = tmp_path / "journal"
    first = sample_surface(network.objective, points=3, journal=journal)
    monkeypatch.setattr(type(network.objective), "evaluate", None)
    again = sample_surface(network.objective, points=3, journal=journal)
    assert np.array_equal(first.loss, again.loss)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"plane": "random:seed=1"}, "plane"),
        ({"points": 5}, "x"),
        ({"span": 2.0}, "x"),
        ({"objective": "moved"}, "plane|centre"),
        ({"objective": "other data"}, "centre.loss"),
        ({"objective": "other name"}, "provenance.data"),
    ],
)
def test_journal_of_another_run_is_refused_by_name_and_left_alone(network, tmp_path, change, named):
    journal = tmp_path / "journal"
    sample_surface(network.objective, points=3, journal=journal)
    held = journal.read_bytes()
    options = {"plane": "random", "points": 3, **change}
    objective = network.objective
    match options.pop("objective", None):
        case "moved":
            objective = objective.at(objective.point + 0.1)
        case "other data":
            twisted = [(x.flip(0), y) for x, y in network.batches]
            objective = type(objective)(network.model, torch.nn.CrossEntropyLoss(), twisted).described(
                data="noise", split="train"
            )
        case "other name":
            objective = objective.described(data="other")
    with pytest.raises(InputError, match=rf"journal of another run: its ({named}).*; delete it"):
        sample_surface(objective, options.pop("plane"), journal=journal, **options)
    assert journal.read_bytes() == held


@pytest.mark.parametrize("content", [b"no journal\n", b"{}\n", b"[1, 2]\n", b"\x00\xff\n", b"half a line"])
def test_foreign_file_is_refused_and_left_alone(network, tmp_path, content):
    journal = tmp_path / "thesis.txt"
    journal.write_bytes(content)
    with pytest.raises(InputError, match=r"thesis\.txt is not the journal"):
        sample_surface(network.objective, points=3, journal=journal)
    assert journal.read_bytes() == content


@pytest.mark.parametrize("line", [b"nonsense", b"[99, 1.0, null]", b"[1]", b'["a", 1.0, null]'])
def test_damage_in_the_middle_is_refused_with_its_line(network, tmp_path, line):
    journal = tmp_path / "journal"
    sample_surface(network.objective, points=3, journal=journal)
    lines = journal.read_bytes().splitlines()
    lines[3] = line
    journal.write_bytes(b"\n".join(lines) + b"\n")
    with pytest.raises(InputError, match="damaged in line 4"):
        sample_surface(network.objective, points=3, journal=journal)


def test_unfinished_run_can_be_previewed(quadratic, tmp_path):
    journal = tmp_path / "journal"
    with pytest.raises(Killed):
        sample_surface(quadratic(), points=51, journal=journal, progress=_until(51 * 51 // 20))
    partial = read_journal(journal)
    assert not partial.complete
    assert np.isnan(partial.loss[~partial.computed]).all()
    preview = partial.preview()
    assert preview.loss.shape == (7, 7)
    assert np.isfinite(preview.loss).all()
    assert preview.x[0] <= -0.9
    whole = sample_surface(quadratic(), points=51)
    assert (preview.loss == whole.loss[1::8, 1::8]).all()


def test_missing_journal_is_named(tmp_path):
    with pytest.raises(InputError, match="no such journal"):
        read_journal(tmp_path / "none")


def test_every_line_of_a_journal_is_json(network, tmp_path):
    journal = tmp_path / "deep" / "journal"
    sample_surface(network.objective, points=2, journal=journal)
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    assert lines[0]["schema"] == "landscape.surface-journal/2"
    assert sorted(line[0] for line in lines[1:]) == [0, 1, 2, 3]


def test_a_second_process_is_refused_while_the_first_computes_and_changes_nothing(network, tmp_path):
    journal, refused = tmp_path / "surface.journal", []

    def second(done, total):
        if done == 4:
            before = journal.read_bytes()
            with pytest.raises(UsageError, match="another process is computing this surface") as caught:
                sample_surface(network.objective, points=3, journal=journal)
            refused.append(caught)
            assert journal.read_bytes() == before

    first = sample_surface(network.objective, points=3, journal=journal, progress=second)
    assert len(refused) == 1
    assert _bytes(first, tmp_path) == _bytes(sample_surface(network.objective, points=3), tmp_path)


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_a_link_or_a_pipe_is_no_place_for_a_journal(network, tmp_path, kind):
    journal, target = tmp_path / "surface.journal", tmp_path / "bashrc"
    target.write_text("mine\n")
    if kind == "link":
        journal.symlink_to(target)
    else:
        os.mkfifo(journal)
    with pytest.raises(
        InputError, match=f"surface.journal is a {'symbolic link' if kind == 'link' else 'pipe'}"
    ):
        sample_surface(network.objective, points=3, journal=journal)
    assert target.read_text() == "mine\n"
