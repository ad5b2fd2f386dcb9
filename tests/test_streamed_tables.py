"""Forecasts of a file in pieces, as a table: that of the whole."""

import numpy as np
import pandas as pd
import pytest
from data_tools import quick


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
