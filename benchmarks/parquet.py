"""The memory of a fit on a Parquet file, in pieces and as a whole, while the file grows.

python benchmarks/parquet.py                 prints a table
python benchmarks/parquet.py --rows 2000000  of a larger file

Each fit runs in a process of its own, whose peak resident memory is taken. What importing alone
costs is a column too.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet

STEPS = 500  # of each series
INPUTS = 6
GROWTH = (1, 2, 4)
BUFFER = 25_000
GROUP = 12_500  # rows of a row group
TASKS, WAYS = ("forecast", "classify", "detect"), ("pieces", "whole")
COLUMNS = ("import", *(f"{task}, {way}" for task in TASKS for way in WAYS))


def write(path: Path, rows: int) -> None:
    """A long table of series of ``STEPS`` daily steps, a group of rows at a time."""
    random = np.random.default_rng(0)
    days = np.datetime64("2020-01-01") + np.arange(STEPS)
    writer = None
    for first in range(0, rows // STEPS, GROUP // STEPS):
        ids = np.arange(first, min(first + GROUP // STEPS, rows // STEPS))
        count = len(ids) * STEPS
        columns = {
            "id": pa.array(np.repeat([f"series {i:08}" for i in ids], STEPS)),
            "day": pa.array(np.tile(days, len(ids))),
            "kind": pa.array(np.repeat([f"kind {i % 2}" for i in ids], STEPS)),
            "y": pa.array(random.normal(10, 1, count)),
            **{f"x{i}": pa.array(random.normal(0, 1, count)) for i in range(INPUTS)},
        }
        table = pa.table(columns)
        writer = writer or pa.parquet.ParquetWriter(path, table.schema)
        writer.write_table(table, row_group_size=GROUP)
    if writer is not None:
        writer.close()


def fit(path: Path, column: str) -> None:
    """One epoch of a small model; prints peak memory in MiB and seconds."""
    import torch  # noqa: PLC0415  (its memory is part of what is measured)

    from gatework import Classifier, Detector, Forecaster  # noqa: PLC0415

    torch.set_num_threads(1)
    task, _, way = column.partition(", ")
    inputs = tuple(f"x{i}" for i in range(INPUTS))
    named = {"time": "day", "id": "id", "hidden_size": 4, "epochs": 1, "features": inputs}
    begin = time.perf_counter()
    if way:
        model = {
            "forecast": lambda: Forecaster(
                horizon=4, context=8, batch_size=1024, target="y", **named
            ),
            "classify": lambda: Classifier(target="kind", convolution="none", **named),
            "detect": lambda: Detector(target="y", batch_size=256, **named),
        }[task]()
        model.fit(path if way == "whole" else model.open_stream(path, BUFFER))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{peak:.0f} {time.perf_counter() - begin:.1f}")


def main() -> None:
    """Print the table, or run one fit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=60_000, help="of the smallest file")
    parser.add_argument("--child", nargs=2, metavar=("PATH", "COLUMN"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        fit(Path(asked.child[0]), asked.child[1])
        return
    print(f"Pieces of at most {BUFFER:,} rows, row groups of {GROUP:,}; peak memory, MiB (time).\n")
    print("| rows | file, MiB | " + " | ".join(COLUMNS) + " |\n|" + "---:|" * (2 + len(COLUMNS)))
    with tempfile.TemporaryDirectory() as folder:
        for factor in GROWTH:
            path = Path(folder) / "series.parquet"
            write(path, factor * asked.rows)
            cells = [f"{factor * asked.rows:,}", f"{path.stat().st_size / 2**20:.0f}"]
            for column in COLUMNS:
                command = [sys.executable, __file__, "--child", str(path), column]
                run = subprocess.run(command, capture_output=True, text=True, check=True)
                peak, seconds = run.stdout.split()
                cells.append(f"{peak} ({float(seconds):.0f} s)")
            print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
