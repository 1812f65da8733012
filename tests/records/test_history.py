"""The history survives a kill in the middle of a line."""

from landscape.records import history


def test_entries_come_back_in_order(tmp_path):
    path = tmp_path / "history.jsonl"
    for epoch in (1, 2, 3):
        history.append(path, {"epoch": epoch, "loss": 1 / epoch})
    assert history.read(path) == tuple({"epoch": e, "loss": 1 / e} for e in (1, 2, 3))


def test_a_missing_history_is_empty(tmp_path):
    assert history.read(tmp_path / "history.jsonl") == ()
    history.truncate(tmp_path / "history.jsonl", 3)
    assert not (tmp_path / "history.jsonl").exists()


def test_epochs_beyond_the_checkpoint_and_half_lines_are_dropped(tmp_path):
    path = tmp_path / "history.jsonl"
    for epoch in (1, 2, 3):
        history.append(path, {"epoch": epoch})
    with path.open("a") as file:
        file.write('{"epoch": 4, "lo')
    history.truncate(path, 2)
    assert path.read_text() == '{"epoch": 1}\n{"epoch": 2}\n'


def test_a_history_that_is_right_is_not_written_again(tmp_path):
    path = tmp_path / "history.jsonl"
    history.append(path, {"epoch": 1})
    before = path.stat().st_mtime_ns, path.stat().st_ino
    history.truncate(path, 1)
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == before
