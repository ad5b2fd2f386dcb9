"""Layers of different widths: ``Recurrent("lstm", 32, [256, 128])``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

from torch import Tensor, nn
from torch.nn.functional import dropout
from torch.nn.utils.rnn import PackedSequence

from gatework.errors import ShapeError
from gatework.layers.final import final_output
from gatework.layers.recording import Recording, one_above_the_other
from gatework.layers.recurrent import Recurrent
from gatework.layers.shapes import entries_of, probability_of
from gatework.layers.states import Beside, StepOptions, named_states
from gatework.layers.stream import Stream
from gatework.paths.call import Groups

# What all layers have in common.
OF_EACH = (
    "cell", "_spec", "switches", "bias", "batch_first", "bidirectional", "proj_size", "residual",
    "is_torch_cell",
)  # fmt: skip
# Of each state a list with one tensor for each layer, (D, B, width of the layer)
Ladder = list[Tensor]


class Widths(Recurrent):
    """A stack whose layers have a width each; made by ``Recurrent`` from a list of sizes.

    Layer l is ``layers[l]``, a ``Recurrent`` of one layer, and its parameters are named by that:
    ``layers.0.W_l0``. Each layer runs on a path of its own choice; torch's kernels take stacks of
    one width only, and are called layer by layer.

    Args:
        hidden_size: units of each direction, one number for each layer.
        num_layers: 1 or the length of hidden_size, which says it already.
        proj_size: one number for all layers.

    Other arguments and errors as ``Recurrent``.

    Shapes:
        As ``Recurrent``, but that a state is a list with one tensor for each layer,
        (D, B, size): ``hx`` of an LSTM is ``([h_0, h_1], [c_0, c_1])``, of a GRU ``[h_0, h_1]``.
    """

    __signature__ = Recurrent.__signature__  # type: ignore[attr-defined]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        nn.Module.__init__(self)
        bound = self.__signature__.bind(*arguments, **options)
        bound.apply_defaults()
        given = bound.arguments
        switches, hidden_size, dropout = (
            given.pop(name) for name in ("switches", "hidden_size", "dropout")
        )
        widths = list(hidden_size) if isinstance(hidden_size, Sequence) else [hidden_size]
        if not widths or given["num_layers"] not in (1, len(widths)):
            raise ShapeError(
                f"hidden_size={widths} has a width for each of {len(widths)} layer(s), "
                f"num_layers={given['num_layers']}. Leave num_layers out, or make the two agree."
            )
        self.dropout = probability_of("dropout", dropout)
        layers: list[Recurrent] = []
        features = self.input_size = given.pop("input_size")
        for width in widths:
            of_layer = {**given, "input_size": features, "hidden_size": width, "num_layers": 1}
            layers.append(Recurrent(**of_layer, **switches))
            features = layers[-1].output_size
        self.layers = nn.ModuleList(layers)
        self.hidden_size, self.num_layers = widths, len(widths)  # type: ignore[assignment]
        for name in OF_EACH:
            setattr(self, name, getattr(layers[0], name))

    @property
    def path(self) -> str:
        """The path that every layer must use, or ``"auto"``."""
        return self.each()[0].path

    @path.setter
    def path(self, name: str) -> None:
        """Set it for every layer."""
        for layer in self.each():
            layer.path = name

    def each(self) -> list[Recurrent]:
        """The layers, as what they are."""
        return list(self.layers)  # type: ignore[arg-type]

    @property
    def output_size(self) -> int:
        """The last axis of the output, that of the last layer."""
        return self.each()[-1].output_size

    def reset_parameters(self) -> None:
        """Initialise all parameters anew."""
        for layer in self.each():
            layer.reset_parameters()

    def state(self, states: Any = None, batch: int | None = None) -> Any:
        """As ``Recurrent.state``; each state is a list with one tensor for each layer."""
        is_single = len(self.spec.states) == 1 and not hasattr(states, "_fields")
        given: Any = [states] if is_single and states is not None else states
        return super().state(given, batch)

    def _first_states(self, like: Tensor, batch: int | None) -> tuple[Any, ...]:
        rows = [layer._first_states(like, batch) for layer in self.each()]
        return tuple(map(list, zip(*rows, strict=True)))

    def final_output(self, states: Any) -> Tensor:
        """The last layer's final output; see ``gw.final_output``."""
        output: Tensor = final_output(self.each()[-1], self._rows_of(states)[-1])
        return output

    def named_weights(self, layer: int = 0, direction: int = 0) -> dict[str, Tensor]:
        """One layer and direction by the names of the equations."""
        return self.each()[layer].named_weights(0, direction)

    def group_shapes(self, layer: int) -> dict[str, tuple[int, ...]]:
        """The stored parameters of one layer and direction, by stem."""
        return self.each()[layer].group_shapes(0)

    def stored(self, layer: int, direction: int) -> dict[str, Tensor]:
        """The parameters of one layer and direction, by stem."""
        return self.each()[layer].stored(0, direction)

    def groups(self, layer: int, direction: int) -> Groups:
        """One layer and direction: the parameter groups by stem; zeros where bias=False."""
        return self.each()[layer].groups(0, direction)

    def tensors(self) -> list[Tensor]:
        """All that the groups are made of."""
        return [tensor for layer in self.each() for tensor in layer.tensors()]

    def torch_flat(self) -> tuple[list[Tensor], bool]:
        """The layers one after another, each in the order of torch's kernels."""
        return [tensor for layer in self.each() for tensor in layer.torch_flat()[0]], True

    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: Any = None,
        lengths: Tensor | list[int] | None = None,
        *,
        mask: Tensor | None = None,
        resets: Tensor | None = None,
        reset_to: Any = None,
        beside: Beside | None = None,
        return_states: bool = False,
    ) -> Any:
        """Run the stack, as ``Recurrent.forward``, with states as above."""
        steps = {"mask": mask, "resets": resets, "beside": beside, "return_states": return_states}
        return self._run_each(input, hx, lengths, reset_to, steps, recorded=False)

    def recorded(
        self,
        input: Tensor | PackedSequence,
        hx: Any = None,
        lengths: Tensor | list[int] | None = None,
        **steps: Unpack[StepOptions],
    ) -> tuple[Any, Any, Recording]:
        """Output and states as of ``forward``, and every equation at every step."""
        reset_to = steps.pop("reset_to", None)
        result: tuple[Any, Any, Recording]
        result = self._run_each(input, hx, lengths, reset_to, steps, recorded=True)
        return result

    def _run_each(
        self,
        input: Any,
        hx: Any,
        lengths: Any,
        reset_to: Any,
        steps: Mapping[str, Any],
        recorded: bool,
    ) -> Any:
        rows, origins = self._rows_of(hx), self._rows_of(reset_to)
        finals: list[Any] = []
        recordings: list[Recording] = []
        for number, layer in enumerate(self.each()):
            if number and self.dropout:
                input = self._dropped(input)
            call = layer.recorded if recorded else layer
            input, final, *further = call(
                input, rows[number], lengths, reset_to=origins[number], **steps
            )
            finals.append(final)
            recordings += further
        is_single = len(self.spec.states) == 1
        by_state = tuple(map(list, zip(*finals, strict=True)))
        result = input, finals if is_single else named_states(self.spec, by_state)
        return (*result, one_above_the_other(recordings)) if recordings else result

    def _dropped(self, x: Tensor | PackedSequence) -> Tensor | PackedSequence:
        if isinstance(x, PackedSequence):
            return x._replace(data=dropout(x.data, self.dropout, self.training))
        return dropout(x, self.dropout, self.training)

    def _rows_of(self, hx: Any) -> list[Any]:
        """The initial states layer by layer."""
        if hx is None:
            return [None] * self.num_layers
        count = len(self.spec.states)
        states = [hx]
        if count > 1 or hasattr(hx, "_fields"):
            states = list(entries_of("Widths", "the states", hx))
        lengths = [len(s) if isinstance(s, (list, tuple)) else None for s in states]
        if lengths != [self.num_layers] * count:
            names = ", ".join(s.name for s in self.spec.states)
            raise ShapeError(
                f"Widths: of each of {count} state(s) ({names}) a list of {self.num_layers} "
                f"tensors is expected, (D, B, size) for each layer; got lists of {lengths}."
            )
        rows = zip(*states, strict=True)
        return [row[0] if count == 1 else tuple(row) for row in rows]

    def stream(self, batch: int = 1) -> Stream:
        """Feed the stack step by step.

        Raises:
            ShapeError: the layer is bidirectional.
        """
        return WidthsStream(self, batch)

    def prepare(self, *_: Any, **__: Any) -> Any:
        """There is no one call of such a stack.

        Raises:
            ShapeError: always; what is asked for is done with the layers one by one.
        """
        raise ShapeError(
            "A stack of several widths is several calls. Take its layers one by one: "
            "layer.layers[0], and so on."
        )


class WidthsStream(Stream):
    """The streams of the layers, one behind the other."""

    def __init__(self, layer: Widths, batch: int = 1) -> None:
        super().__init__(layer, batch)
        self._streams = [one.stream(batch) for one in layer.each()]
        self._is_single = len(layer.spec.states) == 1

    def step(self, x: Tensor, beside: Beside | None = None) -> Tensor:
        """The output of the next step: x is (B, F), or (F,) where B is 1."""
        for stream in self._streams:
            x = stream.step(x, beside)
        return x

    @property
    def states(self) -> Any:
        """The states after the last step, as the layer's ``forward`` returns them."""
        rows = [stream.states for stream in self._streams]
        if rows[0] is None:
            return None
        return rows if self._is_single else tuple(map(list, zip(*rows, strict=True)))

    @states.setter
    def states(self, states: Any) -> None:
        """Go on from these; ``None``: from zero."""
        layer: Any = self.layer
        for stream, row in zip(self._streams, layer._rows_of(states), strict=True):
            stream.states = row

    def refresh(self) -> None:
        """Read the weights again; the states stay."""
        for stream in self._streams:
            stream.refresh()
