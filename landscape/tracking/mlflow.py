"""Runs in MLflow."""

import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from landscape.tracking.logger import Ending, required

_TAG = "landscape.folder"
_STATUS: Mapping[Ending, str] = {"finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}


class MLflow:
    """A run in an MLflow store, written by its own client, so that the global state of ``mlflow`` is not touched.

    Args:
        experiment: The experiment of the run. The store is that of ``MLFLOW_TRACKING_URI``, or the database
            ``mlflow.db`` beside the run.
    """

    def __init__(self, *, experiment: str = "landscape") -> None:
        required("mlflow")
        self.experiment = experiment
        self._client: Any = None
        self._id = ""

    def begin(self, recipe: Mapping[str, object], folder: Path, epoch: int) -> None:
        """Begins the run, or continues the one with the tag of this folder."""
        from mlflow.tracking import MlflowClient

        place = folder.resolve()
        store = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{place.parent / 'mlflow.db'}"
        self._client = MlflowClient(tracking_uri=store)
        known = self._client.get_experiment_by_name(self.experiment)
        experiment = known.experiment_id if known else self._client.create_experiment(self.experiment)
        runs = self._client.search_runs([experiment]) if epoch else []
        # The folder is compared here, because its characters would need quoting in a filter of MLflow.
        same = [run for run in runs if run.data.tags.get(_TAG) == str(place)]
        if same:
            self._id = same[0].info.run_id
            self._client.update_run(self._id, status="RUNNING")
            return
        run = self._client.create_run(experiment, run_name=folder.name, tags={_TAG: str(place)})
        self._id = run.info.run_id
        for name, value in recipe.items():
            self._client.log_param(self._id, name, value)

    def log(self, values: Mapping[str, float], epoch: int) -> None:
        """Logs all values in one batch; characters that MLflow does not allow in a name become ``_``."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [
            Metric(re.sub(r"[^\w\-. /]", "_", name), value, now, epoch) for name, value in values.items()
        ]
        self._client.log_batch(self._id, metrics=metrics)

    def finish(self, ending: Ending) -> None:
        """Sets the status of the run."""
        self._client.set_terminated(self._id, status=_STATUS[ending])
