"""Writes tests/saved_v1: models as this version saves them, with their forecasts.

Run once for each format of saved models, into a new folder. A folder that has been released is
never written again: the models in it stand for those that users have.
"""

import json
from pathlib import Path

import numpy as np
from data_tools import quick

from gatework.data import load_cube

HERE = Path(__file__).parent
FOLDER = HERE / "saved_v1"
MODELS = {
    "lstm": {"target": "passengers", "time": "month", "scaling": "log"},
    "own_cell": {"cell": f"{HERE / 'own_cell.py'}:LeakyGRU", "num_layers": 2},
}


def main():
    cube = load_cube("airpassengers")
    for name, arguments in MODELS.items():
        model = quick(**arguments | {"horizon": 2, "context": 4, "epochs": 3}).fit(cube)
        model.save(FOLDER / name)
        evaluation = model.evaluate(cube, np.array([140]))
        forecasts = {
            "predict": model.predict(cube).tolist(),
            "evaluate": evaluation.forecasts[evaluation.model].tolist(),
        }
        (FOLDER / name / "forecasts.json").write_text(json.dumps(forecasts, indent=1) + "\n")


if __name__ == "__main__":
    main()
