"""Runs in MLflow."""

import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from landscape.tracking.extra import required
from landscape.tracking.tracker import Ending

_TAG = "landscape.folder"
_STATUS: Mapping[Ending, str] = {"finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}


class MLflow:
    """A run in an MLflow store, by a client of its own: no global state of ``mlflow`` is touched.

    Args:
        experiment: Where it belongs. The store is what ``MLFLOW_TRACKING_URI`` says, or the data base ``mlflow.db``
            beside the run.
    """

    def __init__(self, *, experiment: str = "landscape") -> None:
        required("mlflow")
        self.experiment = experiment
        self._client: Any = None
        self._id = ""

    def begin(self, recipe: Mapping[str, object], folder: Path, epoch: int) -> None:
        """Begin the run, or go on with the one of this folder."""
        import os

        from mlflow.tracking import MlflowClient

        beside = f"sqlite:///{folder.resolve().parent / 'mlflow.db'}"
        self._client = MlflowClient(tracking_uri=os.environ.get("MLFLOW_TRACKING_URI") or beside)
        found = self._client.get_experiment_by_name(self.experiment)
        where = found.experiment_id if found else self._client.create_experiment(self.experiment)
        place = str(folder.resolve())
        known = (
            [r for r in self._client.search_runs([where]) if r.data.tags.get(_TAG) == place] if epoch else []
        )
        if known:
            self._id = known[0].info.run_id
            self._client.update_run(self._id, status="RUNNING")
            return
        run = self._client.create_run(where, run_name=folder.name, tags={_TAG: place})
        self._id = run.info.run_id
        for name, value in recipe.items():
            self._client.log_param(self._id, name, value)

    def log(self, values: Mapping[str, float], epoch: int) -> None:
        """All of them at this epoch, in one batch; characters that MLflow has no place for become ``_``."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [
            Metric(re.sub(r"[^\w\-. /]", "_", name), value, now, epoch) for name, value in values.items()
        ]
        self._client.log_batch(self._id, metrics=metrics)

    def finish(self, ending: Ending) -> None:
        """Say how it ended."""
        self._client.set_terminated(self._id, status=_STATUS[ending])
