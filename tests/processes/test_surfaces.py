"""Surfaces by several processes: the bytes of one, whoever is slow, killed, late or of another run."""

import errno
import json
import os
import signal
import subprocess
import threading
import time

import pytest
from started import results, started
from surface_cases import HELD, computes, hangs, kinds

from landscape.errors import InputError
from landscape.surfaces import claims as claims_module
from landscape.surfaces.claims import SILENCE, Claims, FolderGone
from landscape.surfaces.journal import Journal, header_line
from landscape.surfaces.sampling import sample_surface
from landscape.surfaces.sampling_together import sample_together
from landscape.surfaces.shared import Shared, divided

KINDS = ["random", "eigenvectors", "barrier", "gradient"]


class Interrupted(BaseException):
    """What a signal does to a process, in one that goes on."""


@pytest.fixture(scope="module")
def cases():
    objective, requests = kinds()
    return objective, requests, {name: sample_surface(objective, **each) for name, each in requests.items()}


def together(folder, cases, name="random", *, objective=None, workers=1, **changes):
    """The bytes of a surface, and the points that were computed here."""
    with Shared(folder, workers=workers) as shared:
        surface = sample_together(shared, objective or cases[0], **{**cases[1][name], **changes})
        return surface.to_bytes(), shared.computed


def interrupted(call, *, after):
    """Interrupts a surface after some points."""
    append, left = Journal.append, [after]

    def interrupting(self, index, value):
        if left[0] == 0:
            raise Interrupted
        left[0] -= 1
        append(self, index, value)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Journal, "append", interrupting)
        with pytest.raises(Interrupted):
            call()


@pytest.fixture(scope="module", params=[1, 2, 3])
def ranks(request, tmp_path_factory, cases):
    """Processes that begin, that continue what another number of them began, or what one by itself began."""
    folder, count = tmp_path_factory.mktemp("ranks"), request.param
    if count == 2:
        interrupted(lambda: together(folder / "random", cases, workers=5), after=7)
    elif count == 3:
        journal = folder / "random.journal"
        interrupted(lambda: sample_surface(cases[0], **cases[1]["random"], journal=journal), after=6)
    return results(computes, folder, ranks=count, seconds=120)


@pytest.mark.parametrize("name", KINDS)
def test_every_process_has_the_bytes_of_one_that_is_alone(ranks, cases, name):
    expected = cases[2][name].to_bytes()
    assert [bytes(each[name].numpy()) == expected for each in ranks] == [True] * len(ranks)
    assert "barrier" in cases[2]["barrier"].meta


def test_finished_points_are_not_computed_again(ranks, cases):
    done = {1: 0, 2: 7, 3: 6}[len(ranks)]
    assert sum(int(each["random points"]) for each in ranks) == 20 - done


def test_neither_a_process_that_hangs_nor_one_that_is_killed_stalls_the_others(tmp_path, cases):
    process, names = started(hangs, tmp_path), ("alive", "dead")
    try:
        while not all((tmp_path / f"{name}.hangs").exists() for name in names):
            assert process.is_alive()
            time.sleep(0.02)
        content, computed = together(tmp_path / "alive", cases)
        assert content == cases[2]["random"].to_bytes()
        assert computed == 20 - HELD
    finally:
        os.kill(process.pid, signal.SIGKILL)
    # It may stay as a zombie, as a process does for which nobody waits.
    while claims_module._status(process.pid)[0] not in ("Z", None):
        time.sleep(0.01)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(claims_module.Pause, "__call__", lambda _: pytest.fail("it waited for a dead process"))
        content, computed = together(tmp_path / "dead", cases)
    assert (content, computed) == (cases[2]["random"].to_bytes(), 20 - HELD)
    process.join(10)


def owned(folder, name, *, mtime=None, **identity):
    """A claim of a process with this identity."""
    file = folder / "0000000a.worker"
    file.write_text(json.dumps({**claims_module._identity(), **identity}))
    os.link(file, folder / f"{name}.0.claim")
    if mtime is not None:
        os.utime(file, (mtime, mtime))
    file.unlink()


@pytest.mark.parametrize(
    ("identity", "age", "is_stale"),
    [
        ({}, SILENCE + 10, False),  # this process, which lives, whatever the clock says
        ({"started": "1"}, 0, True),  # an earlier process that had its number
        ({"pid": 2**22 + 1}, 0, True),
        ({"place": ["elsewhere"]}, SILENCE - 60, False),
        ({"place": ["elsewhere"]}, SILENCE + 10, True),
        ({"place": None, "pid": None}, 0, False),
        ({}, None, True),  # given back
    ],
)
def test_which_claims_are_abandoned(tmp_path, identity, age, is_stale, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 0.0)  # the clock of this machine decides nothing
    with Claims(tmp_path / "work") as mine:
        now = mine._me.stat().st_mtime
        owned(mine.folder, "piece", mtime=0 if age is None else now - age, **identity)
        assert mine.claim("piece") == is_stale
        assert mine.claim("piece") == is_stale  # and keeps it


def test_of_twelve_that_see_an_abandoned_claim_one_takes_it_over(tmp_path):
    pieces = [str(number) for number in range(20)]
    everyone = [Claims(tmp_path / "work") for _ in range(12)]
    for piece in pieces:
        owned(tmp_path / "work", piece, started="1")
    start, won = threading.Barrier(12), []

    def take(claims):
        for piece in pieces:
            start.wait(30)
            if claims.claim(piece):
                won.append(piece)

    threads = [threading.Thread(target=take, args=(claims,)) for claims in everyone]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == sorted(pieces)
    for claims in everyone:
        claims.__exit__()


def test_pieces_cover_the_grid_and_become_small():
    for total, workers in ((1, 1), (121, 2), (2601, 64), (1_000_000, 3)):
        pieces = divided(range(total), workers)
        assert [index for piece in pieces for index in piece] == list(range(total))
        assert len(pieces) <= 1100
        assert len(pieces[0]) <= max(1, total / (8 * workers))
        assert len(pieces[-1]) <= -(-total // 1024)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"plane": "random:seed=1"}, "plane.options.seed is None, here it is 1"),
        ({"points": 5}, "points is"),
        ({"span": 2.0}, "span is None, here it is 2.0"),
        ({"gradient_norm": True}, "gradient_norm is False, here it is True"),
        ({"forward": "plain"}, "forward is None, here it is plain"),
        ({"objective": "moved"}, "weights is"),
        ({"objective": "other data"}, "provenance.examples is"),
    ],
)
def test_another_run_in_the_folder_is_refused_and_named(tmp_path, cases, change, named):
    folder = tmp_path / "work"
    interrupted(lambda: together(folder, cases), after=3)
    before = sorted(folder.iterdir())
    objective, request = cases[0], {**change}
    match request.pop("objective", None):
        case "moved":
            objective = objective.at(objective.point + 0.1)
        case "other data":
            objective = next(objective.per_batch())
    with pytest.raises(InputError) as caught:
        together(folder, cases, objective=objective, **request)
    assert str(caught.value).startswith(f"{folder} is the work of another run: its {named}")
    assert sorted(folder.iterdir()) == before


def test_the_folder_of_another_version_is_refused(tmp_path, cases):
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "run").write_bytes(header_line({"schema": "landscape.surface-work/7"}))
    with pytest.raises(InputError, match=r"begun by another version .*work/7.*delete it to start over"):
        together(folder, cases)


def test_lost_and_torn_results_are_computed_again_and_damaged_ones_named(tmp_path, cases):
    folder = tmp_path / "work"
    assert together(folder, cases)[1] == 20
    [journal] = folder.glob("*.journal")
    whole = journal.read_bytes()
    journal.write_bytes(whole[:-9])
    assert together(folder, cases) == (cases[2]["random"].to_bytes(), 1)
    journal.write_bytes(b"")
    assert together(folder, cases) == (cases[2]["random"].to_bytes(), 19)
    journal.write_bytes(whole.replace(b"[", b"[7", 3))
    with pytest.raises(InputError, match=rf"{journal.name} is damaged in line"):
        together(folder, cases)
    [plane] = folder.glob("*.plane")
    plane.write_bytes(plane.read_bytes()[:-400])
    with pytest.raises(InputError, match=rf"{plane.name} is damaged; delete its folder"):
        together(folder, cases)


def test_a_folder_of_something_else_is_not_touched(tmp_path, cases):
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds thesis\.txt"):
        together(folder, cases)
    assert [file.name for file in folder.iterdir()] == ["thesis.txt"]
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(InputError, match="symbolic link"):
        together(tmp_path / "link", cases)


@pytest.mark.parametrize(
    ("link", "words"),
    [
        (
            lambda *_: (_ for _ in ()).throw(PermissionError(errno.EPERM, "Operation not permitted")),
            "no hard links",
        ),
        (lambda a, b: b.write_bytes(b""), "two processes create the same file"),
    ],
    ids=["none", "not exclusive"],
)
def test_a_file_system_without_exclusive_creation_is_refused(tmp_path, cases, monkeypatch, link, words):
    monkeypatch.setattr(os, "link", link)
    with pytest.raises(InputError, match=rf"{words}.*--shard I/N.*--merge"):
        together(tmp_path / "work", cases)


def test_a_folder_that_is_removed_ends_the_work(tmp_path, cases):
    with Shared(tmp_path / "work", workers=1) as shared:
        shared.tick = lambda done, total: (
            done and subprocess.run(["rm", "-r", tmp_path / "work"], check=False)
        )
        with pytest.raises(FolderGone):
            sample_together(shared, cases[0], **{**cases[1]["random"], "points": 15})
    assert not (tmp_path / "work").exists()
    with pytest.raises(FolderGone):
        Shared(tmp_path / "work", create=False)
