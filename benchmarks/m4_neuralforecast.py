"""neuralforecast's LSTM for m4_hourly.py, which runs this in another environment.

FOLDER HORIZON CONTEXT HIDDEN BATCH SEED SECONDS: reads series.npz in the folder, trains for so many
seconds of processor time, writes forecast.npy (N, H) and told.json there.
"""

import json
import logging
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from neuralforecast import NeuralForecast
from neuralforecast.models import LSTM
from pytorch_lightning.callbacks import Callback

logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)


class Budget(Callback):
    """Stops the training after some seconds of processor time."""

    def __init__(self, seconds):
        self.seconds = seconds
        self.steps = 0

    def __deepcopy__(self, memo):  # models are copied before they are trained
        return self

    def on_train_start(self, trainer, module):
        self.began = time.process_time()

    def on_train_batch_end(self, trainer, module, *_):
        self.steps += 1
        self.taken = time.process_time() - self.began
        trainer.should_stop = self.taken >= self.seconds


def main(place, horizon, context, hidden, batch, seed, seconds):
    """Train, forecast, write."""
    torch.set_num_threads(1)
    with np.load(place / "series.npz") as file:
        series = {name: file[name] for name in file.files}
    frame = pd.concat(
        pd.DataFrame({"unique_id": name, "ds": np.arange(len(y)), "y": y})
        for name, y in series.items()
    )
    budget = Budget(seconds)
    model = LSTM(
        h=horizon, input_size=context, encoder_n_layers=1, encoder_hidden_size=hidden,
        decoder_layers=1, windows_batch_size=batch, random_seed=seed, max_steps=10**9,
        accelerator="cpu", enable_progress_bar=False, logger=False, enable_checkpointing=False,
        enable_model_summary=False, callbacks=[budget],
    )  # fmt: skip
    forecaster = NeuralForecast(models=[model], freq=1)
    forecaster.fit(frame)
    told = forecaster.predict().pivot(index="unique_id", columns="ds", values="LSTM")
    forecast = np.stack([told.loc[name].dropna().to_numpy() for name in series])
    np.save(place / "forecast.npy", forecast)
    about = {
        "windows": budget.steps * batch,
        "seconds": budget.taken,
        "parameters": sum(p.numel() for p in forecaster.models[0].parameters()),
    }
    (place / "told.json").write_text(json.dumps(about))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:7]), float(sys.argv[7]))
