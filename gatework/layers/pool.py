"""From the outputs of all steps to one vector for each sequence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from gatework.errors import LayerError, ShapeError
from gatework.layers.any_layer import (
    Lengths,
    check_batch,
    is_batch_first,
    is_bidirectional,
    name_of_layer,
    output_size_of,
    time_first,
)
from gatework.layers.attention import softmax
from gatework.paths.call import inside


class Pool(nn.Module):
    """One vector for each sequence, of the steps up to its own end.

    ``"last"`` takes the last step; with ``bidirectional`` that of the first half of the features
    and the first step of the second half, where each direction has read the whole sequence.
    ``"mean"`` and ``"max"`` go over the steps, feature by feature. ``"attention"`` is a mean with
    learned weights, the softmax over the steps of ``u · tanh(W h + b)`` (Yang et al. 2016,
    "Hierarchical Attention Networks").

    ``Pool.after(layer, kind)`` reads size, directions and batch_first from a layer.

    Args:
        kind: which of these.
        size: features of the output that is pooled, for ``"attention"``.
        bidirectional: whether its halves are two directions, for ``"last"``.
        batch_first: it is (B, T, F) instead of (T, B, F).

    Raises:
        LayerError: an unknown kind, or attention without a size.

    Shapes:
        See ``forward``.
    """

    def __init__(
        self,
        kind: str,
        size: int | None = None,
        bidirectional: bool = False,
        batch_first: bool = False,
    ) -> None:
        super().__init__()
        if kind not in KINDS:
            raise LayerError(f"A pool is one of {', '.join(map(repr, KINDS))}; got {kind!r}.")
        self.kind, self.size = kind, size
        self.bidirectional, self.batch_first = bidirectional, batch_first
        if kind == "attention":
            if size is None:
                raise LayerError("Pool('attention') wants size, the features that it pools.")
            self.map = nn.Linear(size, size)
            self.score = nn.Linear(size, 1, bias=False)

    @classmethod
    def after(cls, layer: nn.Module, kind: str) -> Pool:
        """The pool for a layer's output.

        Raises:
            LayerError: the layer mixes its two directions, of which ``"last"`` wants the ends.
        """
        merge = getattr(layer, "merge", "concat")
        if merge is None or (kind == "last" and is_bidirectional(layer) and merge != "concat"):
            raise LayerError(
                f"The directions of {name_of_layer(layer)} are put together by merge={merge!r}; "
                f"{kind!r} wants them side by side. Use merge='concat'"
                f"{' or final_output(layer, states)' if kind == 'last' else ''}."
            )
        size = output_size_of(layer)
        pool = cls(kind, size, is_bidirectional(layer), is_batch_first(layer))
        like = next(layer.parameters(), None)
        return pool if like is None else pool.to(like)

    def forward(self, output: Tensor, lengths: Lengths | None = None) -> Tensor:
        """Pool the output of a layer.

        Args:
            output: (T, B, F), or (B, T, F) with batch_first, or (T, F) of one sequence. Axes
                behind these, as ``ConvRecurrent`` has them, stay (not with ``"attention"``).
            lengths: (B,) whole numbers in 0..T; all T where they are not given.

        Returns:
            (B, F), or (F,) of one sequence; zeros for a sequence of length zero.

        Raises:
            ShapeError: a shape that cannot be.
        """
        x, lengths = check_batch(type(self).__name__, output, lengths, self.batch_first)
        x = time_first(x, self.batch_first)
        if x.shape[0] == 0:
            raise ShapeError(f"{type(self).__name__}: no step to pool in {tuple(output.shape)}.")
        if self.kind == "attention" and (x.dim() != 3 or x.shape[-1] != self.size):
            raise ShapeError(
                f"Pool('attention') of size {self.size} wants {self.size} features on the last of "
                f"three axes, got {tuple(output.shape)}."
            )
        if lengths is None:
            lengths = torch.full((x.shape[1],), x.shape[0])
        lengths = lengths.to(x.device)
        seen = inside(x, lengths)
        # Whatever stands in the padding must not reach a sum.
        pooled = KINDS[self.kind](self, x.masked_fill(~seen, 0), seen, lengths)
        return pooled.squeeze(0) if output.dim() == 2 else pooled

    def extra_repr(self) -> str:
        """The arguments that are not at their default."""
        shown: dict[str, Any] = {
            "size": self.size, "bidirectional": self.bidirectional, "batch_first": self.batch_first
        }  # fmt: skip
        return repr(self.kind) + "".join(f", {n}={v}" for n, v in shown.items() if v)

    # Each takes x (T, B, F, ...) that is zero where it is not seen, seen (T, B, 1, ...) and the
    # lengths (B,).

    def _last(self, x: Tensor, seen: Tensor, lengths: Tensor) -> Tensor:
        index = (lengths - 1).clamp(min=0)
        ends = x[index, torch.arange(x.shape[1], device=x.device)]
        if not self.bidirectional:
            return ends
        if x.shape[2] % 2:
            raise ShapeError(
                f"The features of two directions are an even number, got {x.shape[2]}."
            )
        half = x.shape[2] // 2
        return torch.cat([ends[:, :half], x[0, :, half:]], 1)

    def _mean(self, x: Tensor, seen: Tensor, lengths: Tensor) -> Tensor:
        return x.sum(0) / seen.sum(0).clamp(min=1)

    def _max(self, x: Tensor, seen: Tensor, lengths: Tensor) -> Tensor:
        most = x.masked_fill(~seen, -torch.inf).amax(0)
        return most.masked_fill(~seen[0], 0)  # of no step at all

    def _attention(self, x: Tensor, seen: Tensor, lengths: Tensor) -> Tensor:
        scores = self.score(torch.tanh(self.map(x)))  # (T, B, 1)
        weights = softmax(scores.movedim(0, -1), seen.movedim(0, -1)).movedim(-1, 0)
        pooled: Tensor = (weights * x).sum(0)
        return pooled


KINDS: dict[str, Callable[[Pool, Tensor, Tensor, Tensor], Tensor]] = {
    "last": Pool._last,
    "mean": Pool._mean,
    "max": Pool._max,
    "attention": Pool._attention,
}
