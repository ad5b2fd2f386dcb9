"""One thread: the suite runs in several processes, and the sizes here are tiny."""

import torch

torch.set_num_threads(1)
