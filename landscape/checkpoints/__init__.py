"""Reading checkpoints as they are found, safely."""

from landscape.checkpoints.checkpoint import Checkpoint as Checkpoint
from landscape.checkpoints.checkpoint import load_checkpoint as load_checkpoint
from landscape.checkpoints.conversion import convert as convert
from landscape.checkpoints.inspection import Inspection as Inspection
from landscape.checkpoints.inspection import inspect_checkpoint as inspect_checkpoint
from landscape.checkpoints.reading import FORMAT as FORMAT
from landscape.checkpoints.reading import Contents as Contents
from landscape.checkpoints.reading import read_checkpoint as read_checkpoint
from landscape.checkpoints.weights import Weights as Weights
