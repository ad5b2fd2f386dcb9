"""Forecasts of a file in pieces, as a table: that of the whole."""

import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest
from data_tools import quick

from gatework.cli import forecast


@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
def test_the_times_of_pieces_are_those_of_the_whole(tmp_path, zone):
    # What follows the first series is a midnight, of which a table alone has days only.
    ends = {"a": "2024-01-10 23:00", "b": "2024-01-10 12:00", "c": "2024-01-10 05:00:00.5"}
    parts = [
        pd.DataFrame(
            {
                "id": name,
                "time": pd.date_range(end=end, periods=40, freq="h", tz=zone),
                "y": np.sin(np.arange(40)),
            }
        )
        for name, end in ends.items()
    ]
    path = tmp_path / "long.parquet"
    pd.concat(parts, ignore_index=True).to_parquet(path)
    model = quick(target="y", time="time", id="id", horizon=1, epochs=1).fit(str(path))
    whole, stream = model.predict_table(str(path)), model.open_stream(path, 40)
    assert len(stream) == 3
    pieces = model.predict_table(stream)
    assert pieces.schema.equals(whole.schema)
    assert pieces.column("time").to_pylist() == whole.column("time").to_pylist()
    np.testing.assert_allclose(pieces.column("y"), whole.column("y"), rtol=1e-6)


@pytest.mark.parametrize(
    "stamps",
    [
        {"a": ("2024-03-01", "D"), "b": ("2024-03-01 06:00", "D")},
        {"a": ("2024-03-01", "h"), "b": ("2024-03-01 06:00:00.5", "h"), "c": ("2024-03-02", "h")},
    ],
    ids=["days", "fractions"],
)
def test_stamps_of_a_later_piece_that_are_finer_are_written_whole(tmp_path, capsys, stamps):
    """A file has the form of the finest, as the table of the whole has."""
    parts = [
        pd.DataFrame({"id": name, "time": pd.date_range(end=end, periods=9, freq=freq), "y": 1.0})
        for name, (end, freq) in stamps.items()
    ]
    path = tmp_path / "long.parquet"
    pd.concat(parts, ignore_index=True).to_parquet(path)
    model = quick(target="y", time="time", id="id", horizon=1, context=2, epochs=1)
    model.fit(str(path)).save(tmp_path / "model")
    forecast.predict(tmp_path / "model", str(path), tmp_path / "whole.csv")
    whole = (tmp_path / "whole.csv").read_text()
    for ending in ("csv", "parquet"):
        out = tmp_path / f"pieces.{ending}"
        forecast.predict(tmp_path / "model", str(path), out, buffer=9)
        assert f"{len(stamps)} forecasts written" in capsys.readouterr().out
    assert (tmp_path / "pieces.csv").read_text() == whole
    read = pyarrow.parquet.read_table(tmp_path / "pieces.parquet").column("time").to_pylist()
    assert read == model.predict_table(str(path)).column("time").to_pylist()
    forecast.predict(tmp_path / "model", str(path), None, buffer=9)
    assert capsys.readouterr().out == whole
