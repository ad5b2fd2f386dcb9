"""What fitting a forecaster leaves behind: all that a forecast is made with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gatework.cells import name_of
from gatework.data import uneven
from gatework.data.columns import Columns
from gatework.data.cube import Cube
from gatework.data.encoding import Encoding
from gatework.data.scaling import Scaler
from gatework.data.splits import split
from gatework.data.times import Step
from gatework.data.windows import Batch, Windows
from gatework.equations import Spec
from gatework.equations.spec import from_dict, to_dict
from gatework.errors import DataError
from gatework.tasks.arguments import check_arguments
from gatework.tasks.baselines import (
    LINEAR,
    MOST_WINDOWS,
    LinearModel,
    Reader,
    naive_forecasts,
)
from gatework.tasks.evaluation import Evaluation
from gatework.tasks.heads import make_head
from gatework.tasks.inputs import Layout
from gatework.tasks.intervals import Calibration
from gatework.tasks.network import FORMS, ForecastNetwork
from gatework.tasks.same_kind import load_same
from gatework.tasks.stacks import seeded

Array = NDArray[np.float64]
Places = NDArray[np.int64]
CALIBRATION = "calibration"
# Of a batch of windows and the units of each, in float64, what is said of the steps.
Says = Callable[[Batch, Tensor], Tensor]
AT_ONCE = 1024  # windows that are forecast together
FEW = 128  # where each of them may be drawn a hundred times
# What the arguments were, that models of earlier versions do not have.
EARLIER: dict[str, Any] = {
    "form": "direct", "head": "point", "quantiles": (0.1, 0.5, 0.9), "reads_target": True,
}  # fmt: skip


@dataclass(frozen=True)
class ForecastModel:
    """A network with all that it was fitted with; later changes of the estimator do not reach it.

    Attributes:
        parameters: the arguments of the estimator.
        cell: the equations.
        columns: which column of a table is what, also where that was found and not given.
        names: (F,) names of the features, the target first.
        step: the distance between steps.
        season, context: in steps.
        scaler: fitted on the training part.
        encoding: likewise: categories, gaps, the calendar.
        network: of these equations, trained or not.
        linear: the baseline that is fitted on the training windows, where there is one.
        calibration: how wide intervals are, where there was a validation part.
    """

    parameters: Mapping[str, Any]
    cell: Spec
    columns: Columns
    names: tuple[str, ...]
    step: Step
    season: int
    context: int
    scaler: Scaler
    encoding: Encoding
    network: ForecastNetwork
    linear: LinearModel | None = None
    calibration: Calibration | None = None

    @property
    def horizon(self) -> int:
        """Steps of a forecast."""
        return int(self.parameters["horizon"])

    @property
    def reader(self) -> Reader:
        """Which numbers of a window the linear baseline reads."""
        return Reader(self.layout, self.network.inputs.relative)

    @property
    def layout(self) -> Layout:
        """What the columns of windows are."""
        return self.network.inputs.layout

    def load(self, data: Any) -> Cube:
        """The cube of new data, read as the training data was.

        Raises:
            DataError: it cannot be read, or has other features or steps.
        """
        cube = load_same(data, self.columns, self.names, self.step)
        notes = [*cube.notes, *self.encoding.notes(cube, self.horizon)]
        if cube.stamps is not None:
            coming = uneven.known(cube.stamps).sum(axis=1) - cube.lengths
            notes += [uneven.words(cube.stamps)] if (coming < self.horizon).any() else []
        return replace(cube, notes=tuple(notes))

    def windows(self, cube: Cube, rows: Places, origins: Places) -> Windows:
        """Windows of a cube in the units of the network."""
        scaled = self._scaler(cube, rows, origins).scaled(cube)
        columns = torch.from_numpy(self.encoding.encoded(cube, scaled, self.horizon))
        ahead = self.layout.ahead
        return Windows(columns, rows, origins, self.context, self.horizon, ahead)

    def units(self, cube: Cube, scaler: Scaler) -> Tensor:
        """Centre and spread of the target of each series, (N, 2)."""
        moments = (scaler.of(cube, position) for position in range(len(cube.ids)))
        found = np.array([(center[0], spread[0]) for center, spread in moments])
        return torch.from_numpy(found)

    def forecast(self, cube: Cube, rows: Places, origins: Places) -> Array:
        """Forecasts (M, H) from some places, in the user's units; NaN where nothing is seen."""
        return self._told(cube, rows, origins, self.network.points)

    def quantiles(
        self, cube: Cube, rows: Places, origins: Places, levels: Sequence[float]
    ) -> Array:
        """Quantiles (M, H, Q) from some places, in the user's units; NaN where nothing is seen."""
        with seeded(self.parameters["seed"]):  # some are drawn
            return self._told(
                cube, rows, origins, lambda b, u: self.network.quantiles(b, u, levels), FEW
            )

    def intervals(self, cube: Cube, rows: Places, origins: Places, coverage: float) -> Array:
        """Low end, forecast and high end (M, H, 3) from some places, in the user's units.

        Raises:
            DataError: the validation part was too small for such a coverage.
        """
        if self.calibration is None:
            raise DataError(
                "Intervals are measured on the validation part, and this model was fitted without "
                "one. Fit with validation=0.2, or of a distribution use predict_quantiles."
            )
        times = torch.from_numpy(self.calibration.factors(coverage))

        def ends(batch: Batch, units: Tensor) -> Tensor:
            point, below, above = self.network.widths(batch, units).unbind(-1)
            reach = times.to(point)
            return torch.stack([point - reach * below, point, point + reach * above], dim=-1)

        return np.maximum(self._told(cube, rows, origins, ends), self.network.outcome.lowest)

    def evaluate(
        self, cube: Cube, rows: Places, origins: Places, coverage: float, held_out: bool
    ) -> Evaluation:
        """Forecasts of M windows beside the truth and the baselines."""
        name, future = name_of(self.cell), origins[:, None] + np.arange(self.horizon)
        interval, without = None, ""
        try:
            found = self.intervals(cube, rows, origins, coverage)
            forecast, interval = found[..., 1], found[..., ::2]
        except DataError as error:
            forecast, without = self.forecast(cube, rows, origins), str(error)
        return Evaluation(
            name,
            {name: forecast, **self.baselines(cube, rows, origins)},
            cube.values[rows[:, None], future, 0],
            rows,
            origins,
            self.season,
            held_out,
            interval,
            coverage,
            without,
        )

    def calibrated(self, cube: Cube, windows: Windows) -> ForecastModel:
        """The model with intervals as wide as its errors on these windows, or some, say."""
        windows = windows.some(MOST_WINDOWS)
        found = self._said(windows, self.units(cube, self.scaler), self.network.widths)
        truth = windows.targets().cpu().double().numpy()
        return replace(self, calibration=Calibration.fit(truth, *np.moveaxis(found, -1, 0)))

    def _told(
        self, cube: Cube, rows: Places, origins: Places, of: Says, at_once: int = AT_ONCE
    ) -> Array:
        """What the network says from some places, (M, H, ...), in the user's units."""
        scaler = self._scaler(cube, rows, origins)
        windows, units = self.windows(cube, rows, origins), self.units(cube, scaler)
        return scaler.unscaled(cube, rows, self._said(windows, units, of, at_once))

    def _said(self, windows: Windows, units: Tensor, of: Says, at_once: int = AT_ONCE) -> Array:
        """What the network says of windows (M, H, ...), in its units; NaN where it sees nothing."""
        device, rows, parts = next(self.network.parameters()).device, windows.rows, []
        with torch.no_grad():
            for index in torch.split(torch.arange(len(windows)), at_once):
                batch = windows.batch(index).to(device)
                said = of(batch, units[torch.from_numpy(rows)[index]].to(device)).cpu()
                said[self.layout.blind(batch.seen).cpu()] = torch.nan
                parts.append(said.numpy())
        return np.concatenate(parts)

    def baselines(self, cube: Cube, rows: Places, origins: Places) -> dict[str, Array]:
        """What the baselines say from the same places, (M, H) each."""
        found = naive_forecasts(cube, rows, origins, self.horizon, self.season)
        if self.linear is not None:
            scaled = self.linear.forecast(self.windows(cube, rows, origins))
            scaler = self._scaler(cube, rows, origins)
            found[LINEAR] = scaler.unscaled(cube, rows, scaled)
        return found

    def arrays(self) -> dict[str, Array]:
        """What was fitted beside the network, by name."""
        parts = {LINEAR: self.linear, CALIBRATION: self.calibration}
        return {
            f"{name}.{key}": array
            for name, part in parts.items()
            if part is not None
            for key, array in part.arrays().items()
        }

    def with_arrays(self, arrays: Mapping[str, Array]) -> ForecastModel:
        """The model with what ``arrays`` gave; those of earlier versions had none.

        Raises:
            KeyError, ValueError: the arrays do not go together.
        """
        model = self
        if given := _part(arrays, LINEAR):
            linear = LinearModel.from_arrays(given, self.reader, self.context, self.horizon)
            model = replace(model, linear=linear)
        if given := _part(arrays, CALIBRATION):
            model = replace(model, calibration=Calibration.from_arrays(given, self.horizon))
        return model

    def to_config(self) -> dict[str, Any]:
        """Everything but the weights, JSON-ready."""
        return {
            "parameters": {**self.parameters, "cell": None},
            "cell": to_dict(self.cell),
            "columns": vars(self.columns),
            "context": self.context,
            "season": self.season,
            "step": vars(self.step),
            "names": self.names,
            "scaler": self.scaler.to_dict(),
            "encoding": self.encoding.to_dict(),
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> ForecastModel:
        """The model of ``to_config``'s data, its weights as they are before training.

        Raises:
            KeyError, TypeError, ValueError, GateworkError: it is not such data.
        """
        parameters = EARLIER | dict(config["parameters"])
        check_arguments(parameters)
        check_arguments({key: int(config[key]) for key in ("context", "season")})
        cell, names = from_dict(config["cell"]), tuple(config["names"])
        # Earlier models read numbers only.
        saved = config.get("encoding")
        encoding = Encoding(len(names)) if saved is None else Encoding.from_dict(saved)
        if encoding.width != len(names):
            raise ValueError("the names and the encoding differ")
        return cls(
            parameters,
            cell,
            Columns.from_dict(config["columns"]),
            names,
            Step(**config["step"]),
            config["season"],
            config["context"],
            Scaler.from_dict(config["scaler"]),
            encoding,
            make_network(cell, layout_of(encoding, parameters["reads_target"]), parameters).eval(),
        )

    def _scaler(self, cube: Cube, rows: Places, origins: Places) -> Scaler:
        """The fitted scaling, and that of ids not met before by what lies before a forecast."""
        ends = cube.lengths.copy()
        np.minimum.at(ends, rows, origins)
        return self.scaler.extended(cube, ends)


def _part(arrays: Mapping[str, Array], name: str) -> dict[str, Array]:
    """The arrays of one fitted thing, by the rest of their names."""
    prefix = f"{name}."
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def layout_of(encoding: Encoding, reads_target: bool = True) -> Layout:
    """What the network reads of the columns of windows, with the past of the target or without."""
    calendar = tuple(encoding.width + i for i in range(2 * len(encoding.calendar)))
    first = 0 if reads_target else 1
    return Layout(
        numbers=tuple(i for i in range(first, encoding.width) if i not in encoding.categories),
        gaps=tuple(place for place in encoding.gaps if place >= first),
        plain=calendar,
        categories=tuple((p, 1 + len(names)) for p, names in encoding.categories.items()),
        ahead=(*encoding.ahead, *(calendar if encoding.regular else ())),
    )


def check_scored(given: Mapping[str, Any], training: Cube, cube: Cube) -> None:
    """Find a value behind the training part that no model of its scale could read.

    Args:
        given: the arguments of a forecaster.
        training: what it is to be fitted on.
        cube: what it is to be scored on, the same series.

    Raises:
        DataError: there is one.
    """
    ends = split(training, given["horizon"], given["validation"]).train
    levels = given["relative"] and given["reads_target"]
    Scaler.fit(training, ends, given["scaling"], levels, given["per"]).scaled(cube)


def new_model(
    parameters: Mapping[str, Any],
    cell: Spec,
    cube: Cube,
    season: int,
    context: int,
    scaler: Scaler,
    encoding: Encoding,
) -> ForecastModel:
    """A model before training, for data like a cube."""
    layout = layout_of(encoding, parameters["reads_target"])
    if not layout.places:
        raise DataError(
            "With reads_target=False there is nothing to read. Name features, future or static "
            "columns, or a calendar."
        )
    network = make_network(cell, layout, parameters)
    return ForecastModel(
        parameters, cell, cube.columns, cube.names, cube.step, season, context, scaler, encoding,
        network,
    )  # fmt: skip


def make_network(cell: Spec, layout: Layout, parameters: Mapping[str, Any]) -> ForecastNetwork:
    """The untrained network of an estimator's arguments; the same for the same seed."""
    with seeded(parameters["seed"]):
        return FORMS[parameters["form"]](
            cell,
            layout,
            int(parameters["hidden_size"]),
            int(parameters["num_layers"]),
            int(parameters["horizon"]),
            make_head(parameters["head"], parameters["loss"], parameters["quantiles"]),
            parameters["dropout"],
            parameters["forget_bias"],
            parameters["relative"] and parameters["reads_target"],
        )
