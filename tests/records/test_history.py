"""The history survives a kill in the middle of a line."""

import json

from landscape.records import history


def test_entries_come_back_in_order(tmp_path):
    path = tmp_path / "history.jsonl"
    for epoch in (1, 2, 3):
        history.append(path, {"epoch": epoch, "loss": 1 / epoch})
    assert history.read(path) == tuple({"epoch": e, "loss": 1 / e} for e in (1, 2, 3))


def test_a_missing_history_is_empty(tmp_path):
    assert history.read(tmp_path / "history.jsonl") == ()
    history.truncate(tmp_path / "history.jsonl", epochs=3, steps=30)
    assert not (tmp_path / "history.jsonl").exists()


def test_epochs_beyond_the_checkpoint_and_half_lines_are_dropped(tmp_path):
    path = tmp_path / "history.jsonl"
    for epoch in (1, 2, 3):
        history.append(path, {"epoch": epoch})
    with path.open("a") as file:
        file.write('{"epoch": 4, "lo')
    history.truncate(path, epochs=2, steps=20)
    assert path.read_text() == '{"epoch": 1}\n{"epoch": 2}\n'


def test_measures_within_an_epoch_go_by_their_step(tmp_path):
    path = tmp_path / "measures-history.jsonl"
    lines = [json.dumps({"epoch": step / 10, "step": step, "measure": "loss"}) for step in (5, 10, 15, 20)]
    path.write_text("\n".join(lines) + "\n")
    history.truncate(path, epochs=1, steps=15)
    assert path.read_text().splitlines() == lines[:3]


def test_a_history_that_is_right_is_not_written_again(tmp_path):
    path = tmp_path / "history.jsonl"
    history.append(path, {"epoch": 1})
    before = path.stat().st_mtime_ns, path.stat().st_ino
    history.truncate(path, epochs=1, steps=10)
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == before
