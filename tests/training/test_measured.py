"""Measuring on the way: what is written, what is left alone, and what an interruption does to it."""

import dataclasses
import json
import re
import signal

import pytest
import torch
from command_line import call

from landscape import records
from landscape.checkpoints import load_checkpoint
from landscape.errors import Remark, UsageError
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
                # Which file had that content at that epoch is not said: it has another when the next one ends.
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
    for count in range(1, 7):
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


class Killed(BaseException):
    """What a kill looks like to the code that runs then."""


def dying_at(count, function, *, done):
    """The function, killed in its call of that number, before or after its work."""
    left = [count]

    def dying(*arguments):
        left[0] -= 1
        if left[0] == 0 and not done:
            raise Killed
        function(*arguments)
        if left[0] == 0:
            raise Killed

    return dying


def without_seconds(folder):
    text = (folder / "measures-history.jsonl").read_text()
    return re.sub(r'"seconds": [0-9.e-]+', '"seconds": 0', text)


CHEAP = Measuring(2, limit=50)
FEW = Measuring(1, names=("gradient-norm", "surrogate-gap", "dominant-eigenvalue:method=lanczos"), limit=20)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run with the few measures that nothing disturbed; not to be written to."""
    return train(RECIPE, output=tmp_path_factory.mktemp("whole"), measuring=dataclasses.replace(FEW))


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """The same of two epochs."""
    recipe = dataclasses.replace(RECIPE, epochs=2)
    return train(recipe, output=tmp_path_factory.mktemp("short"), measuring=dataclasses.replace(FEW))


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("place", "done"), [("write_whole", False), ("append_line", False), ("append_line", True)]
)
def test_a_run_that_was_killed_while_it_measured_has_the_same_lines_to_the_last_bit(
    tmp_path, monkeypatch, short, place, done
):
    """Also those of eigenvalue searches, and what each has cost; only seconds are those of the process."""
    recipe, whole = dataclasses.replace(RECIPE, epochs=2), short
    assert '"start": "suggested"' in without_seconds(whole.path)
    good = getattr(measured, place)
    for count in (2, 3):  # of four: on test after one epoch, and on train after two
        output = tmp_path / f"{count}"
        monkeypatch.setattr(measured, place, dying_at(count, good, done=done))
        with pytest.raises(Killed):
            train(recipe, output=output, measuring=FEW)
        monkeypatch.setattr(measured, place, good)
        parts = train(recipe, output=output, measuring=FEW)
        assert parts.checkpoint.read_bytes() == whole.checkpoint.read_bytes()
        assert without_seconds(output) == without_seconds(whole.path)
        assert (output / "measures-starts.pt").read_bytes() == (
            whole.path / "measures-starts.pt"
        ).read_bytes()


@pytest.mark.thorough
def test_a_run_that_was_interrupted_within_an_epoch_has_the_same_lines_to_the_last_bit(tmp_path, whole):
    for step in (7, 12):
        with pytest.raises(KeyboardInterrupt):
            train(
                RECIPE,
                output=tmp_path / "parts",
                measuring=FEW,
                progress=lambda at, last=step: at.step == last and signal.raise_signal(signal.SIGINT),
            )
    parts = train(RECIPE, output=tmp_path / "parts", measuring=FEW)
    assert without_seconds(parts.path) == without_seconds(whole.path)


def test_what_one_run_has_found_does_not_reach_another_that_is_measured_by_the_same_object(tmp_path, whole):
    together = dataclasses.replace(FEW)
    train(dataclasses.replace(RECIPE, seed=1), output=tmp_path / "before", measuring=together)
    after = train(RECIPE, output=tmp_path / "after", measuring=together)
    assert without_seconds(after.path) == without_seconds(whole.path)


def test_a_damaged_file_of_starts_is_said_and_costs_no_measure(tmp_path):
    train(dataclasses.replace(RECIPE, epochs=4), output=tmp_path, measuring=CHEAP)
    content = bytearray((tmp_path / "measures-starts.pt").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "measures-starts.pt").write_bytes(content)
    (tmp_path / "measures-history.jsonl").unlink()
    with pytest.warns(
        Remark, match=r"measures-starts\.pt is damaged; eigenvalue searches start from the grad"
    ):
        train(dataclasses.replace(RECIPE, epochs=4), output=tmp_path, measuring=CHEAP)
    assert len(keys(tmp_path)) == 2 * len(CHEAP.names)


def test_two_vectors_of_each_split_are_kept_in_two_bytes_a_number(tmp_path):
    run = train(RECIPE, output=tmp_path, measuring=Measuring(1, limit=50))
    kept = measured.read_starts(tmp_path / "measures-starts.pt")
    assert {split: sorted(vectors) for split, vectors in kept.items()} == {
        "test": [20, 25],
        "train": [20, 25],
    }
    parameters = sum(p.numel() for p in load_checkpoint(run.checkpoint).model.parameters())
    assert {(v.dtype, v.numel()) for vectors in kept.values() for v in vectors.values()} == {
        (torch.bfloat16, parameters)
    }


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
        ({"every": 1, "unit": "minutes"}, "unit='minutes' is not one of epochs, steps"),
    ],
)
def test_what_cannot_be_measured_is_a_usage_error(options, expected):
    with pytest.raises(UsageError, match=expected):
        Measuring(**options)


def test_the_command_measures_the_cheap_set_by_default(tmp_path):
    flags = ["-m", "mlp:width=4", "-d", "moons:samples=100", "--epochs", "1", "--device", "cpu", "-q"]
    assert call(["train", *flags, "--measure-every", "1", "-o", tmp_path]) == 0
    assert [name for _, _, name in keys(tmp_path)] == [name.split(":")[0] for name in measured.CHEAP] * 2
    assert call(["train", *flags, "-M", "loss", "-o", tmp_path / "other"]) == 2


def test_the_command_measures_what_it_is_told_to(tmp_path):
    flags = ["-m", "mlp:width=4", "-d", "moons:samples=100", "--epochs", "1", "--device", "cpu", "-q"]
    names = ["--measure-names", "loss,surrogate-gap:rho=0.1", "-M", "gradient-norm"]
    assert call(["train", *flags, "--measure-every", "1", *names, "-o", tmp_path]) == 0
    assert [name for _, _, name in keys(tmp_path)] == ["loss", "surrogate-gap", "gradient-norm"] * 2


def test_the_eigenvalue_starts_where_the_last_one_was_found(tmp_path, monkeypatch):
    name = "dominant-eigenvalue:method=lanczos"

    def taken(folder):
        train(RECIPE, output=tmp_path / folder, measuring=Measuring(1, names=(name,), limit=50))
        return {(line["epoch"], line["provenance"]["split"]): line for line in lines(tmp_path / folder)}

    warm = taken("warm")
    monkeypatch.setattr(measured, "read_starts", lambda path: {})
    cold = taken("cold")
    assert {line["details"]["start"] for (epoch, _), line in warm.items() if epoch > 1} == {"suggested"}
    assert {line["details"]["start"] for line in cold.values()} == {"gradient"}
    for key, line in warm.items():
        allowed = line["details"]["residual"] + cold[key]["details"]["residual"]
        assert abs(line["value"] - cold[key]["value"]) <= allowed
    spent = [sum(line["details"]["iterations"] for line in found.values()) for found in (warm, cold)]
    assert spent[0] < spent[1]


STEPS = Measuring(2, names=("loss", "dominant-eigenvalue"), limit=20, unit="steps")
EVERY_TWO = [*range(2, 25, 2), 25]
SHORT = dataclasses.replace(RECIPE, epochs=2)
SHORT_STEPS = [2, 4, 6, 8, 10]


def test_after_steps_the_lines_are_of_steps_and_the_weights_are_the_same(tmp_path):
    without = train(RECIPE, output=tmp_path / "without", save_every=1)
    run = train(RECIPE, output=tmp_path / "with", save_every=1, measuring=STEPS)
    assert run.checkpoint.read_bytes() == without.checkpoint.read_bytes()
    assert [line["step"] for line in lines(run.path)] == [step for step in EVERY_TWO for _ in range(4)]
    assert all(line["epoch"] == line["step"] / 5 for line in lines(run.path))
    # Between two epochs, the network is that of the checkpoint.
    loss = measure(
        load_checkpoint(run.path / "checkpoints/epoch-0002.pt").objective("test", limit=20), "loss"
    )
    [own] = [
        e
        for e in lines(run.path)
        if (e["step"], e["measure"], e["provenance"]["split"]) == (10, "loss", "test")
    ]
    assert own["value"] == pytest.approx(loss[0].value, rel=1e-6)


def test_after_steps_the_weights_are_measured_that_are_trained(tmp_path):
    """Not their average, which changes after an epoch only."""
    recipe = dataclasses.replace(RECIPE, optimizer="swa:start=0.3")
    found = {}
    for unit, every in (("steps", 5), ("epochs", 1)):
        train(recipe, output=tmp_path / unit, measuring=dataclasses.replace(STEPS, unit=unit, every=every))
        found[unit] = [line["value"] for line in lines(tmp_path / unit) if line["measure"] == "loss"]
    assert len(found["steps"]) == len(found["epochs"]) == 10
    assert found["steps"][:2] == found["epochs"][:2]
    assert all(a != b for a, b in zip(found["steps"][-2:], found["epochs"][-2:], strict=True))


@pytest.fixture(scope="module")
def by_step(tmp_path_factory):
    """A run of two epochs that was measured after steps; not to be written to."""
    return train(SHORT, output=tmp_path_factory.mktemp("by-step"), measuring=STEPS)


@pytest.mark.parametrize("step", [3, 4, 7])
def test_a_run_that_was_interrupted_has_the_lines_of_all_steps_to_the_last_bit(tmp_path, by_step, step):
    with pytest.raises(KeyboardInterrupt):
        train(
            SHORT,
            output=tmp_path,
            measuring=STEPS,
            progress=lambda at: at.step == step and signal.raise_signal(signal.SIGINT),
        )
    train(SHORT, output=tmp_path, measuring=STEPS)
    assert [line["step"] for line in lines(tmp_path)] == [step for step in SHORT_STEPS for _ in range(4)]
    assert without_seconds(tmp_path) == without_seconds(by_step.path)


@pytest.mark.parametrize(
    ("place", "done"), [("write_whole", False), ("append_line", False), ("append_line", True)]
)
@pytest.mark.parametrize("count", [2, 7, 8])
def test_a_run_that_was_killed_has_the_lines_of_all_steps_to_the_last_bit(
    tmp_path, monkeypatch, by_step, place, done, count
):
    """It goes on from the end of the last epoch, and finds the vector there with which it went on before."""
    with monkeypatch.context() as patch:
        patch.setattr(measured, place, dying_at(count, getattr(measured, place), done=done))
        with pytest.raises(Killed):
            train(SHORT, output=tmp_path, measuring=STEPS)
    train(SHORT, output=tmp_path, measuring=STEPS)
    assert without_seconds(tmp_path) == without_seconds(by_step.path)


def test_an_interruption_while_it_measures_saves_the_steps_before(tmp_path, by_step, monkeypatch):
    good, left = measured.append_line, [5]  # on train after the sixth step

    def interrupted(*arguments):
        good(*arguments)
        left[0] -= 1
        if left[0] == 0:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(measured, "append_line", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(SHORT, output=tmp_path, measuring=STEPS)
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=False)["step"] == 6
    train(SHORT, output=tmp_path, measuring=STEPS)
    assert without_seconds(tmp_path) == without_seconds(by_step.path)


def test_measures_of_the_update_get_it_from_the_optimizer(tmp_path):
    names = ("preconditioned-sharpness", "critical-sharpness")
    recipe = dataclasses.replace(SHORT, optimizer="sam", schedule="constant", lr=0.05)
    train(recipe, output=tmp_path, measuring=dataclasses.replace(STEPS, names=names))
    sharpness = [line for line in lines(tmp_path) if line["measure"] == "preconditioned-sharpness"]
    # The base is SGD with momentum 0.9.
    assert {round(line["details"]["threshold"], 6) for line in sharpness} == {76}
    assert {
        line["details"]["direction"] for line in lines(tmp_path) if line["measure"] == "critical-sharpness"
    } == {"update"}


@pytest.mark.parametrize(
    ("text", "steps"),
    [("5steps", [5, 10]), ("4 steps", [4, 8, 10]), ("1step", [*range(1, 11)]), ("2epochs", [10])],
)
def test_the_command_measures_after_steps(tmp_path, text, steps):
    flags = [
        "-m",
        "mlp:width=4",
        "-d",
        "moons:samples=200",
        "-b",
        "32",
        "--epochs",
        "2",
        "--device",
        "cpu",
        "-q",
    ]
    assert call(["train", *flags, "--measure-every", text, "-M", "loss", "-o", tmp_path]) == 0
    assert [line["step"] for line in lines(tmp_path)] == [step for step in steps for _ in range(2)]


@pytest.mark.parametrize("text", ["0steps", "-1", "steps", "1.5", "5 minutes"])
def test_the_command_refuses_other_intervals(tmp_path, text, capfd):
    assert call(["train", "--measure-every", text, "-o", tmp_path]) == 2
    assert "--measure-every" in capfd.readouterr().err
