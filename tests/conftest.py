"""One thread: the suite runs in several processes, and the sizes here are tiny."""

import os

import torch

torch.set_num_threads(1)

os.environ.setdefault("KERAS_BACKEND", "torch")  # Keras reads it when it is imported
