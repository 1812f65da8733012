"""One thread a process: the tests run in parallel processes, and small tensors gain nothing from more."""

import torch

torch.set_num_threads(1)
