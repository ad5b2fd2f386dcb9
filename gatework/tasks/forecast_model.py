"""What fitting a forecaster leaves behind: all that a forecast is made with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gatework.data.columns import Columns
from gatework.data.cube import Cube
from gatework.data.encoding import Encoding
from gatework.data.load import load_cube
from gatework.data.scaling import Scaler
from gatework.data.times import Step
from gatework.data.windows import Windows
from gatework.equations import Spec
from gatework.equations.spec import from_dict, to_dict
from gatework.errors import DataError
from gatework.tasks.arguments import check_arguments
from gatework.tasks.baselines import LINEAR, LinearModel, Reader, naive_forecasts
from gatework.tasks.heads import make_head
from gatework.tasks.inputs import Layout
from gatework.tasks.network import ForecastNetwork

Array = NDArray[np.float64]
Places = NDArray[np.int64]
AT_ONCE = 1024  # windows that are forecast together
# What the arguments were, that models of earlier versions do not have.
EARLIER = {"head": "point", "quantiles": (0.1, 0.5, 0.9)}


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

    @property
    def horizon(self) -> int:
        """Steps of a forecast."""
        return int(self.parameters["horizon"])

    @property
    def reader(self) -> Reader:
        """Which numbers of a window the linear baseline reads."""
        return Reader(self.network.inputs.layout, self.network.inputs.relative)

    def load(self, data: Any) -> Cube:
        """The cube of new data, read as the training data was.

        Raises:
            DataError: it cannot be read, or has other features or steps.
        """
        cube = load_cube(data, self.columns)
        if len(cube.names) != len(self.names):
            raise DataError(
                f"The model was fitted on {len(self.names)} features {list(self.names)}, the "
                f"data has {len(cube.names)}: {list(cube.names)}."
            )
        regular = {"rows"}.isdisjoint((cube.step.kind, self.step.kind))
        if regular and cube.lengths.max() == 1:  # single rows say nothing of their step
            cube = replace(cube, step=self.step)
        if regular and cube.step != self.step:
            raise DataError(
                f"The model was fitted on steps of {self.step.words()}, the data has steps of "
                f"{cube.step.words()}."
            )
        return replace(cube, notes=(*cube.notes, *self.encoding.notes(cube, self.horizon)))

    def windows(self, cube: Cube, rows: Places, origins: Places) -> Windows:
        """Windows of a cube in the units of the network."""
        scaled = self._scaler(cube, rows, origins).scaled(cube)
        columns = torch.from_numpy(self.encoding.encoded(cube, scaled, self.horizon))
        ahead = layout_of(self.encoding).ahead
        return Windows(columns, rows, origins, self.context, self.horizon, ahead)

    def units(self, cube: Cube, scaler: Scaler) -> Tensor:
        """Centre and spread of the target of each series, (N, 2)."""
        moments = (scaler.of(cube, position) for position in range(len(cube.ids)))
        found = np.array([(center[0], spread[0]) for center, spread in moments])
        return torch.from_numpy(found)

    def forecast(self, cube: Cube, rows: Places, origins: Places) -> Array:
        """Forecasts (M, H) from some places, in the user's units; NaN where nothing is seen."""
        return self._said(cube, rows, origins, self.network.outcome.point)

    def quantiles(
        self, cube: Cube, rows: Places, origins: Places, levels: Sequence[float]
    ) -> Array:
        """Quantiles (M, H, Q) from some places, in the user's units; NaN where nothing is seen."""
        outcome = self.network.outcome
        return self._said(cube, rows, origins, lambda f, u: outcome.quantiles(f, u, levels))

    def _said(
        self, cube: Cube, rows: Places, origins: Places, of: Callable[[Tensor, Tensor], Tensor]
    ) -> Array:
        """What the head says of windows (M, H, ...), in the user's units."""
        windows, scaler = self.windows(cube, rows, origins), self._scaler(cube, rows, origins)
        units, device = self.units(cube, scaler), next(self.network.parameters()).device
        parts = []
        with torch.no_grad():
            for index in torch.split(torch.arange(len(rows)), AT_ONCE):
                batch = windows.batch(index)
                own = units[torch.from_numpy(rows)[index]]
                found = self.network(batch.to(device), own.to(device, batch.context.dtype))
                said = of(found.cpu().double(), own).numpy()
                said[~batch.seen[..., 0].any(dim=1).numpy()] = np.nan
                parts.append(said)
        return scaler.unscaled(cube, rows, np.concatenate(parts))

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
        linear = {} if self.linear is None else self.linear.arrays()
        return {f"{LINEAR}.{name}": array for name, array in linear.items()}

    def with_arrays(self, arrays: Mapping[str, Array]) -> ForecastModel:
        """The model with what ``arrays`` gave; those of earlier versions had none.

        Raises:
            KeyError, ValueError: the arrays do not go together.
        """
        linear = _part(arrays, LINEAR)
        if not linear:
            return self
        found = LinearModel.from_arrays(linear, self.reader, self.context, self.horizon)
        return replace(self, linear=found)

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
            make_network(cell, layout_of(encoding), parameters).eval(),
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


def layout_of(encoding: Encoding) -> Layout:
    """What the network reads of the columns of windows."""
    calendar = tuple(encoding.width + i for i in range(2 * len(encoding.calendar)))
    return Layout(
        numbers=tuple(i for i in range(encoding.width) if i not in encoding.categories),
        gaps=encoding.gaps,
        plain=calendar,
        categories=tuple((p, 1 + len(names)) for p, names in encoding.categories.items()),
        ahead=(*encoding.ahead, *(calendar if encoding.regular else ())),
    )


def make_network(cell: Spec, layout: Layout, parameters: Mapping[str, Any]) -> ForecastNetwork:
    """The untrained network of an estimator's arguments; the same for the same seed."""
    with torch.random.fork_rng():
        torch.manual_seed(parameters["seed"])
        return ForecastNetwork(
            cell,
            layout,
            int(parameters["hidden_size"]),
            int(parameters["num_layers"]),
            int(parameters["horizon"]),
            make_head(parameters["head"], parameters["loss"], parameters["quantiles"]),
            parameters["dropout"],
            parameters["forget_bias"],
            parameters["relative"],
        )
