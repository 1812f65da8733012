"""Reading checkpoints as they are found, safely."""

from landscape.checkpoints.checkpoint import Checkpoint as Checkpoint
from landscape.checkpoints.checkpoint import load_checkpoint as load_checkpoint
from landscape.checkpoints.reading import FORMAT as FORMAT
from landscape.checkpoints.reading import Contents as Contents
from landscape.checkpoints.reading import read_checkpoint as read_checkpoint
