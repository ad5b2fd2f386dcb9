"""One thread: the suite runs in several processes, and the sizes here are tiny."""

import os

# Where a test wants more threads than one, those that wait leave the processor to the other
# processes. OpenMP reads this when torch loads it, Keras its own when it is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("KERAS_BACKEND", "torch")

import torch

torch.set_num_threads(1)
