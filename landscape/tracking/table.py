"""The trackers by name. A new one is its file and its row here."""

from landscape.registry.names import NameTable, Row
from landscape.tracking.logger import Logger
from landscape.tracking.mlflow import MLflow
from landscape.tracking.tensorboard import TensorBoard
from landscape.tracking.wandb import WeightsAndBiases

TRACKERS: NameTable[Logger] = NameTable(
    "tracker",
    [
        Row("tensorboard", TensorBoard, "event files in the folder of the run"),
        Row("wandb", WeightsAndBiases, "Weights & Biases, offline in the folder of the run"),
        Row("mlflow", MLflow, "MLflow, at MLFLOW_TRACKING_URI or in mlflow.db beside the run"),
    ],
)
