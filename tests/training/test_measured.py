"""Measuring on the way: what is written, what is left alone, and what an interruption does to it."""

import dataclasses
import json
import signal

import pytest
from command_line import call

from landscape import records
from landscape.checkpoints import load_checkpoint
from landscape.errors import UsageError
from landscape.measures import measure
from landscape.training import Measuring, Recipe, measured, train

RECIPE = Recipe(model="mlp:width=8,norm=batch", data="moons:samples=200", epochs=5, batch_size=32)
MEASURING = Measuring(2, names=("loss", "gradient-norm"), limit=50)


def lines(folder):
    return [json.loads(line) for line in (folder / "measures-history.jsonl").read_text().splitlines()]


def keys(folder):
    return [(line["epoch"], line["provenance"]["split"], line["measure"]) for line in lines(folder)]


EXPECTED = [
    (epoch, split, name) for epoch in (2, 4, 5) for split in ("train", "test") for name in MEASURING.names
]


@pytest.mark.parametrize("optimizer", ["sam", "swa:start=0.3"])
def test_the_weights_do_not_depend_on_it(tmp_path, optimizer):
    recipe = dataclasses.replace(RECIPE, optimizer=optimizer)
    without = train(recipe, output=tmp_path / "without", save_every=1)
    with_it = train(recipe, output=tmp_path / "with", save_every=1, measuring=Measuring(1, limit=20))
    assert with_it.checkpoint.read_bytes() == without.checkpoint.read_bytes()
    for file in (without.path / "checkpoints").iterdir():
        assert (with_it.path / "checkpoints" / file.name).read_bytes() == file.read_bytes()


def test_the_numbers_are_those_of_the_checkpoint_at_that_epoch(tmp_path):
    recipe = dataclasses.replace(RECIPE, optimizer="swa:start=0.3", label_smoothing=0.1)
    run = train(recipe, output=tmp_path, save_every=2, measuring=MEASURING)
    assert keys(tmp_path) == EXPECTED
    assert [line["step"] for line in lines(tmp_path)] == [10] * 4 + [20] * 4 + [25] * 4
    written = records.read(tmp_path / "measures-history.jsonl")
    assert written.unreadable == 0
    for start, file in (
        (0, "checkpoints/epoch-0002.pt"),
        (4, "checkpoints/epoch-0004.pt"),
        (8, "checkpoint.pt"),
    ):
        checkpoint = load_checkpoint(run.path / file)
        for offset, split in ((0, "train"), (2, "test")):
            objective = checkpoint.objective(split, limit=50)
            for found, own in zip(
                measure(objective, MEASURING.names), written.estimates[start + offset :], strict=False
            ):
                assert own.value == pytest.approx(found.value, rel=1e-6)
                # The file of a run that goes on has no name of its own for its weights of then.
                assert own.provenance == dataclasses.replace(found.provenance, checkpoint_file=None)


def test_an_interrupted_run_has_each_line_once(tmp_path):
    whole = train(RECIPE, output=tmp_path / "whole", measuring=MEASURING)

    for step in (3, 10, 13, 20, 25):
        with pytest.raises(KeyboardInterrupt):
            train(
                RECIPE,
                output=tmp_path / "parts",
                measuring=MEASURING,
                progress=lambda at, last=step: at.step == last and signal.raise_signal(signal.SIGINT),
            )
    parts = train(RECIPE, output=tmp_path / "parts", measuring=MEASURING)
    assert keys(parts.path) == keys(whole.path) == EXPECTED
    assert parts.checkpoint.read_bytes() == whole.checkpoint.read_bytes()


def test_what_died_while_it_measured_is_made_up_for(tmp_path, monkeypatch):
    good = measured.append_line
    for count in range(1, 13):
        left = [count]

        def dying(path, line, left=left):
            left[0] -= 1
            if left[0] == 0:
                with path.open("a") as file:
                    file.write(line[: len(line) // 2])
                raise KeyboardInterrupt
            good(path, line)

        monkeypatch.setattr(measured, "append_line", dying)
        with pytest.raises(KeyboardInterrupt):
            train(RECIPE, output=tmp_path / str(count), measuring=MEASURING)
        monkeypatch.setattr(measured, "append_line", good)
        train(RECIPE, output=tmp_path / str(count), measuring=MEASURING)
        assert keys(tmp_path / str(count)) == EXPECTED


def test_a_finished_run_is_not_measured_again(tmp_path):
    run = train(RECIPE, output=tmp_path, measuring=MEASURING)
    before = (tmp_path / "measures-history.jsonl").read_bytes(), run.checkpoint.stat().st_mtime_ns
    train(RECIPE, output=tmp_path, measuring=MEASURING)
    assert ((tmp_path / "measures-history.jsonl").read_bytes(), run.checkpoint.stat().st_mtime_ns) == before


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"every": 0}, "measure_every=0"),
        ({"every": 1, "limit": 0}, "measure_limit=0"),
        ({"every": 1, "names": ("los",)}, "did you mean 'loss'"),
        ({"every": 1, "names": ()}, "measure_names names nothing"),
    ],
)
def test_what_cannot_be_measured_is_a_usage_error(options, expected):
    with pytest.raises(UsageError, match=expected):
        Measuring(**options)


def test_the_command_measures_the_cheap_set_by_default(tmp_path):
    flags = ["-m", "mlp:width=4", "-d", "moons:samples=100", "--epochs", "1", "--device", "cpu", "-q"]
    assert call(["train", *flags, "--measure-every", "1", "-o", tmp_path]) == 0
    assert [name for _, _, name in keys(tmp_path)] == [name.split(":")[0] for name in measured.CHEAP] * 2
    assert call(["train", *flags, "--measure-names", "loss", "-o", tmp_path / "other"]) == 2


def test_the_eigenvalue_starts_where_the_last_one_was_found(tmp_path, monkeypatch):
    name = "dominant-eigenvalue:method=lanczos"

    def taken(folder):
        train(RECIPE, output=tmp_path / folder, measuring=Measuring(1, names=(name,), limit=50))
        return {(line["epoch"], line["provenance"]["split"]): line for line in lines(tmp_path / folder)}

    warm = taken("warm")
    monkeypatch.setattr(measured, "suggest_start", lambda objective, vector: None)
    cold = taken("cold")
    assert {line["details"]["start"] for (epoch, _), line in warm.items() if epoch > 1} == {"suggested"}
    assert {line["details"]["start"] for line in cold.values()} == {"gradient"}
    for key, line in warm.items():
        allowed = line["details"]["residual"] + cold[key]["details"]["residual"]
        assert abs(line["value"] - cold[key]["value"]) <= allowed
    spent = [sum(line["details"]["iterations"] for line in found.values()) for found in (warm, cold)]
    assert spent[0] < spent[1]
