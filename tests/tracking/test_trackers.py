"""Trackers are told of every epoch, and nothing that they do stops or changes a run."""

import contextlib
import importlib.util
import warnings

import pytest

from landscape.errors import Remark, UsageError
from landscape.tracking import TRACKERS, Guarded
from landscape.training import Job, Measuring, Recipe, train, train_job

RECIPE = Recipe(model="mlp:width=8,depth=1", epochs=2, batch_size=512, device="cpu")


class Heard:
    """A tracker that remembers what it was told, and fails where it is asked to."""

    def __init__(self, fails=""):
        self.fails = fails
        self.told = []

    def begin(self, recipe, folder, epoch):
        self._hear("begin", recipe["optimizer"], folder.name, epoch)

    def log(self, values, epoch):
        self._hear("log", dict(values), epoch)

    def finish(self, ending):
        self._hear("finish", ending)

    def _hear(self, kind, *what):
        self.told.append((kind, *what))
        if kind == self.fails:
            raise ConnectionError("the server\nis away")


def test_a_tracker_hears_every_epoch_every_measure_and_the_end(tmp_path):
    heard = Heard()
    measuring = Measuring(2, names=("loss",), limit=50)
    run = train(RECIPE, output=tmp_path / "run", trackers=[heard], measuring=measuring)
    assert [told[0] for told in heard.told] == ["begin", "log", "log", "log", "finish"]
    assert heard.told[0] == ("begin", "sgd", "run", 0)
    assert heard.told[-1] == ("finish", "finished")
    logged = {name: value for name, value in run.history[1].items() if name != "epoch"}
    assert heard.told[2] == ("log", logged, 2)
    assert set(heard.told[3][1]) == {"train/loss", "test/loss"}


def test_a_tracker_counts_steps_where_the_network_is_measured_after_steps(tmp_path):
    heard = Heard()
    measuring = Measuring(2, names=("loss",), limit=50, unit="steps")
    train(RECIPE, output=tmp_path / "run", trackers=[heard], measuring=measuring)
    logs = [(min(values), step) for kind, values, step in heard.told[1:-1]]
    assert [step for _, step in logs] == sorted(step for _, step in logs)
    measured = [step for name, step in logs if name == "test/loss"]
    assert measured == [2, 4, 6]
    assert [step for name, step in logs if name != "test/loss"] == [3, 6]


@pytest.mark.parametrize("fails", ["begin", "log", "finish"])
def test_a_failing_tracker_warns_once_and_the_run_is_the_same_to_the_byte(tmp_path, fails):
    whole = train(RECIPE, output=tmp_path / "a")
    good = Heard()
    with pytest.warns(Remark) as warned:
        run = train(RECIPE, output=tmp_path / "b", trackers=[Heard(fails), good])
    assert [str(w.message) for w in warned] == [
        "tracking with Heard failed (ConnectionError: the server is away); the run goes on without it"
    ]
    assert run.checkpoint.read_bytes() == whole.checkpoint.read_bytes()
    assert [told[0] for told in good.told] == ["begin", "log", "log", "finish"]


def test_an_interruption_and_a_failure_are_told(tmp_path):
    for failure, ending in ((KeyboardInterrupt, "interrupted"), (ZeroDivisionError, "failed")):
        heard = Heard()

        def stop(_, failure=failure):
            raise failure

        with pytest.raises(failure):
            train(RECIPE, output=tmp_path / ending, trackers=[heard], progress=stop)
        assert heard.told[-1] == ("finish", ending)


def test_a_resumed_run_begins_where_it_stopped(tmp_path):
    def stop(at):
        if at.epoch == 2:
            raise KeyboardInterrupt

    with contextlib.suppress(KeyboardInterrupt):
        train(RECIPE, output=tmp_path, progress=stop)
    heard = Heard()
    train(RECIPE, output=tmp_path, trackers=[heard])
    assert heard.told[0][-1] == 1
    assert [told[-1] for told in heard.told[1:-1]] == [2]


def test_nothing_is_logged_where_there_is_nothing():
    heard = Heard()
    Guarded([heard]).log({}, 1)
    assert heard.told == []


@pytest.mark.parametrize("name", list(TRACKERS))
def test_a_package_that_is_not_installed_is_said_before_anything_is_trained(monkeypatch, name):
    monkeypatch.setattr(importlib.util, "find_spec", lambda asked: None)
    with pytest.raises(UsageError, match=rf"{name} is not installed; pip install '.*wandb.* installs it"):
        TRACKERS.build(name)


def job(tmp_path, name):
    return Job(RECIPE, tmp_path / "runs" / "sgd-0", trackers=(name,))


def tracked(tmp_path, name):
    with warnings.catch_warnings():
        warnings.simplefilter("error", Remark)
        return train_job(job(tmp_path, name))


def test_tensorboard_holds_the_history(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = tracked(tmp_path, "tensorboard")
    events = EventAccumulator(str(run.path / "tensorboard")).Reload()
    for name in ("train_loss", "test_accuracy", "gradients"):
        seen = [(e.step, e.value) for e in events.Scalars(name)]
        assert seen == [(h["epoch"], pytest.approx(h[name])) for h in run.history]


def test_wandb_writes_an_offline_run(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = tracked(tmp_path, "wandb:project=p")
    [file] = (run.path / "wandb").glob("offline-run-*/*.wandb")
    content = file.read_bytes()
    assert all(word in content for word in (b"test_accuracy", b"mlp:width=8"))


def test_mlflow_holds_the_history_and_the_recipe_and_a_resumed_run_is_the_same_run(tmp_path, monkeypatch):
    from mlflow.tracking import MlflowClient

    # Files need only `mlflow-skinny`, where a database would need all of MLflow and ten times as long.
    uri = (tmp_path / "store").as_uri()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")

    def stop(at):
        if at.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_job(job(tmp_path, "mlflow"), progress=stop)
    run = tracked(tmp_path, "mlflow")
    client = MlflowClient(tracking_uri=uri)
    [logged] = client.search_runs([client.get_experiment_by_name("landscape").experiment_id])
    assert (logged.info.status, logged.data.params["optimizer"]) == ("FINISHED", "sgd")
    seen = [(m.step, m.value) for m in client.get_metric_history(logged.info.run_id, "train_loss")]
    assert seen == [(h["epoch"], h["train_loss"]) for h in run.history]
