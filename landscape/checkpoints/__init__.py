"""Reading checkpoints as they are found, safely; writing ours."""
