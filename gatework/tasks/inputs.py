"""What a network reads of a batch of windows: numbers with their masks, gaps, categories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gatework.data.windows import Batch

WIDEST = 50  # of an embedding


@dataclass(frozen=True)
class Layout:
    """What the columns of a window are; the target is column 0, among the numbers if it is read.

    Attributes:
        numbers: columns that are read as a value and a mask.
        gaps: of these the ones whose steps since the last value are read too.
        plain: columns that are read as they are (sines and cosines of the calendar).
        categories: columns of category numbers, and how many rows the embedding of each has.
        ahead: columns that are known for the steps of the horizon.
    """

    numbers: tuple[int, ...] = (0,)
    gaps: tuple[int, ...] = ()
    plain: tuple[int, ...] = ()
    categories: tuple[tuple[int, int], ...] = ()
    ahead: tuple[int, ...] = ()

    @property
    def places(self) -> list[int]:
        """All columns that are read."""
        return [*self.numbers, *self.plain, *(place for place, _ in self.categories)]

    @property
    def reads_target(self) -> bool:
        """Whether the past of the target is read."""
        return 0 in self.numbers

    def blind(self, seen: Tensor) -> Tensor:
        """Of windows with masks (B, L, F), those that show nothing of what is needed, (B,)."""
        unseen = ~seen[..., 0].any(dim=1)
        return unseen if self.reads_target else torch.zeros_like(unseen)


class Read(NamedTuple):
    """What a network reads.

    Attributes:
        context: (B, L, D), the L steps up to the present.
        future: (B, H, K), what is known of the H steps to forecast; K may be 0.
        level: (B, 1), what was taken off the target of the context, and is to be added to
            forecasts.
    """

    context: Tensor
    future: Tensor
    level: Tensor


class Inputs(nn.Module):
    """Turns a batch of windows into what a network reads.

    A number is two inputs, its value (0 where missing) and whether it is there; one that is
    missing now and then also the steps since it was last there, as a share of the context. A
    category is the row of an embedding, ``embedding_size`` numbers wide; row 0 is for categories
    that training has not seen. It begins at zero, amid the others.

    With ``relative`` the target is read relative to its last seen value: a series that drifts out
    of the range it was trained in then still looks familiar.

    Attributes:
        context_size: D. future_size: K.
    """

    def __init__(self, layout: Layout, relative: bool = True) -> None:
        super().__init__()
        self.layout = layout
        self.relative = relative
        self.embeddings = nn.ModuleDict(
            {str(place): _embedding(rows) for place, rows in layout.categories}
        )
        self.context_size = self._size(range(1 + max(layout.places))) + len(layout.gaps)
        self.future_size = self._size(layout.ahead)

    def forward(self, batch: Batch) -> Read:
        """Context (B, L, D), future (B, H, K) and level (B, 1) of a batch."""
        context, level = batch.context, batch.context.new_zeros(len(batch.context), 1)
        if self.relative:
            level = last_seen(context[..., 0], batch.seen[..., 0])
            target = (context[..., 0] - level) * batch.seen[..., 0]
            context = torch.cat([target.unsqueeze(-1), context[..., 1:]], dim=-1)
        since = steps_since(batch.seen[..., list(self.layout.gaps)]) / context.shape[1]
        places = range(context.shape[-1])
        read = self._read(context, batch.seen, places, [since])
        return Read(read, self._read(batch.future, batch.future_seen, self.layout.ahead), level)

    def _read(
        self, values: Tensor, seen: Tensor, places: Sequence[int], more: Sequence[Tensor] = ()
    ) -> Tensor:
        """What is read of the columns at some places, whose values and masks these are."""
        at = {place: position for position, place in enumerate(places)}
        numbers, plain = (
            [at[p] for p in of if p in at] for of in (self.layout.numbers, self.layout.plain)
        )
        rows = [
            self.embeddings[str(p)](values[..., at[p]].long())
            for p, _ in self.layout.categories
            if p in at
        ]
        return torch.cat(
            [values[..., numbers], seen[..., numbers], *more, values[..., plain], *rows], dim=-1
        )

    def _size(self, places: Sequence[int]) -> int:
        """How many inputs the columns at some places are."""
        rows = {place: embedding_size(rows) for place, rows in self.layout.categories}
        numbers, plain = set(self.layout.numbers), set(self.layout.plain)
        return sum(2 * (p in numbers) + (p in plain) + rows.get(p, 0) for p in places)


def embedding_size(rows: int) -> int:
    """How many numbers stand for a category: half as many as there are rows, at most 50."""
    return min(WIDEST, (rows + 1) // 2)


def last_seen(values: Tensor, seen: Tensor) -> Tensor:
    """The last value of each row (B, L) whose mask is 1, as (B, 1); 0 where there is none."""
    steps = torch.arange(1, values.shape[1] + 1, device=values.device)
    place = (seen * steps).argmax(dim=1, keepdim=True)
    return values.gather(1, place) * seen.gather(1, place)


def steps_since(seen: Tensor) -> Tensor:
    """For every step of masks (B, L, F) how many lie behind since the mask was last 1.

    It is 0 where the mask is 1, and counts from the beginning where it never was.
    """
    steps = torch.arange(1, seen.shape[1] + 1, device=seen.device, dtype=seen.dtype)[:, None]
    return steps - (seen * steps).cummax(dim=1).values


def _embedding(rows: int) -> nn.Embedding:
    embedding = nn.Embedding(rows, embedding_size(rows))
    with torch.no_grad():
        embedding.weight[0] = 0
    return embedding
