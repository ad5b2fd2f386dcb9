"""Data sets that do not ship with the package, as a folder of a development machine has them."""

from __future__ import annotations

import gzip
import os
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv

ROOT = Path(__file__).parents[1]
FORCINGS = ("prcp", "srad", "tmax", "tmin", "vp")
# Those that Kratzert et al. 2019 gave to their networks.
ATTRIBUTES = {
    "clim": "p_mean pet_mean aridity p_seasonality frac_snow high_prec_freq high_prec_dur "
    "low_prec_freq low_prec_dur",
    "topo": "elev_mean slope_mean area_gages2",
    "vege": "frac_forest lai_max lai_diff gvf_max gvf_diff",
    "soil": "soil_depth_pelletier soil_depth_statsgo soil_porosity soil_conductivity "
    "max_water_content sand_frac silt_frac clay_frac",
    "geol": "carbonate_rocks_frac geol_permeability",
}
CUBIC_FOOT = 0.3048**3  # in cubic metres


def folder(name: str) -> Path:
    """The folder of a data set, below GATEWORK_DATA (default: shared/data beside the clone).

    Raises:
        SystemExit: it is not there.
    """
    place = Path(os.environ.get("GATEWORK_DATA", ROOT.parent / "shared" / "data")) / name
    if not place.is_dir():
        raise SystemExit(f"There is no {place}; set GATEWORK_DATA to the folder that holds {name}.")
    return place


def m4_hourly() -> dict[str, NDArray[np.float64]]:
    """The 414 hourly series of the M4 competition, each with its 48 test steps at the end."""
    train, test = (_ragged(folder("m4") / f"Hourly-{part}.csv.gz") for part in ("train", "test"))
    return {name: np.concatenate([train[name], test[name]]) for name in train}


def ett(name: str) -> NDArray[np.float64]:
    """ETTh1 or ETTm1, (T, 7): HUFL, HULL, MUFL, MULL, LUFL, LULL, OT."""
    with gzip.open(folder("ett") / f"{name}.csv.gz", "rt", encoding="utf-8") as file:
        return np.loadtxt(file, delimiter=",", skiprows=1, usecols=range(1, 8))


def weather() -> pa.Table:
    """Eighteen cities day by day, 2000 to 2009: city, date, and what is measured there.

    The cities do not measure the same; what one lacks is null.
    """
    path = folder("weather_18_cities") / "weather_prediction_dataset.csv.gz"
    wide = csv.read_csv(path)  # unpacks by the name
    days = wide["DATE"].to_numpy()
    dates = _dates(np.stack([days // 10000, days // 100 % 100, days % 100], axis=1))
    cities = [c.removesuffix("_temp_mean") for c in wide.column_names if c.endswith("_temp_mean")]
    names = sorted(
        {
            n.removeprefix(f"{c}_")
            for n in wide.column_names
            for c in cities
            if n.startswith(f"{c}_")
        }
    )
    nothing = pa.nulls(len(dates), pa.float64())
    parts = []
    for city in cities:
        found = {n: wide[f"{city}_{n}"] for n in names if f"{city}_{n}" in wide.column_names}
        values = {n: found[n].cast("float64") if n in found else nothing for n in names}
        parts.append(pa.table({"city": [city] * len(dates), "date": dates, **values}))
    return pa.concat_tables(parts)


def camels() -> pa.Table:
    """Four basins day by day, 2000 to 2002: basin, date, discharge in mm, weather, attributes.

    The weather is daymet's. Discharge comes in cubic feet a second, and is divided by the area
    that the weather is of.
    """
    with tarfile.open(folder("camels_us_4basins") / "camels_us_4basins.tar.gz") as archive:
        members = [m for m in archive if m.isfile()]
        texts = {m.name: archive.extractfile(m).read().decode() for m in members}  # type: ignore[union-attr]

    def lines(end: str) -> list[str]:
        (found,) = (text for name, text in texts.items() if name.endswith(end))
        return found.splitlines()

    parts = []
    for basin in lines("4_basins_test_set.txt"):
        flow = np.array([line.split()[1:5] for line in lines(f"{basin}_streamflow_qc.txt")], float)
        head = lines(f"daymet/{basin}_lump_cida_forcing_leap.txt")
        area = float(head[2])  # m2
        weather = np.array([line.split() for line in head[4 : 4 + len(flow)]], float)
        if (weather[:, :3] != flow[:, :3]).any():
            raise SystemExit(f"Basin {basin}: weather and discharge are not of the same days.")
        titles = [title.partition("(")[0] for title in head[3].split()]
        columns = {n: weather[:, titles.index(n)] for n in FORCINGS}
        discharge = np.where(flow[:, 3] < 0, np.nan, flow[:, 3]) * CUBIC_FOOT * 86400 / area * 1000
        for group, names in ATTRIBUTES.items():
            title, *rows = (line.split(";") for line in lines(f"camels_{group}.txt"))
            (row,) = (row for row in rows if row[0] == basin)
            values = dict(zip(title, row, strict=True))
            columns |= {n: np.full(len(flow), float(values[n])) for n in names.split()}
        first = {"basin": [basin] * len(flow), "date": _dates(flow), "discharge": discharge}
        parts.append(pa.table(first | columns))
    return pa.concat_tables(parts)


def _dates(rows: NDArray[Any]) -> NDArray[np.datetime64]:
    """The day of each row that begins with year, month and day."""
    year, month, day = (rows[:, place].astype(int) for place in range(3))
    months = (year - 1970).astype("datetime64[Y]").astype("datetime64[M]") + (month - 1)
    return (months + (day - 1).astype("timedelta64[D]")).astype("datetime64[s]")


def _ragged(path: Path) -> dict[str, NDArray[np.float64]]:
    """Rows of different lengths by their first cell."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [[cell.strip('"') for cell in line.strip().split(",")] for line in file][1:]
    return {row[0]: np.array([float(cell) for cell in row[1:] if cell]) for row in rows}
