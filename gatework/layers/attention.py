"""Attention over the steps of a sequence."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gatework.errors import LayerError, ShapeError
from gatework.layers.any_layer import Lengths, time_first
from gatework.layers.shapes import check_lengths
from gatework.paths.call import inside

SCORES = ("dot", "general", "additive")


class Attention(nn.Module):
    """A mean of a memory's steps, weighted by how well each fits a query.

    The score of a query q and a step m of the memory is, by name:

    - ``"dot"``: q · m (Luong et al. 2015, arXiv:1508.04025);
    - ``"general"``: q · W m (the same);
    - ``"additive"``: v · tanh(W q + U m) (Bahdanau et al. 2014, arXiv:1409.0473), without
      biases as in the paper.

    Args:
        query_size: features of the query, Q.
        memory_size: features of the memory, M; Q where it is not given.
        score: which of the scores.
        hidden_size: rows of W and U of the additive score; Q where it is not given.
        batch_first: queries of several steps and the memory are (B, steps, features) instead of
            (steps, B, features).

    Raises:
        LayerError: an unknown score, a dot product of different sizes, or a hidden_size where
            nothing has it.

    Shapes:
        See ``forward``.
    """

    def __init__(
        self,
        query_size: int,
        memory_size: int | None = None,
        score: str = "dot",
        hidden_size: int | None = None,
        batch_first: bool = False,
    ) -> None:
        super().__init__()
        if score not in SCORES:
            raise LayerError(f"score is one of {', '.join(map(repr, SCORES))}; got {score!r}.")
        self.query_size, self.memory_size = query_size, memory_size or query_size
        self.score, self.batch_first = score, batch_first
        if score == "dot" and self.query_size != self.memory_size:
            raise LayerError(
                f"A dot product wants one size, got query_size={query_size} and memory_size="
                f"{memory_size}. Use score='general'."
            )
        if score != "additive" and hidden_size is not None:
            raise LayerError(f"The score {score!r} has no hidden_size; leave it out.")
        rows = hidden_size or query_size
        if score == "general":
            self.memory_map = nn.Linear(self.memory_size, query_size, bias=False)
        elif score == "additive":
            self.memory_map = nn.Linear(self.memory_size, rows, bias=False)
            self.query_map = nn.Linear(query_size, rows, bias=False)
            self.score_map = nn.Linear(rows, 1, bias=False)

    def forward(
        self,
        query: Tensor,
        memory: Tensor,
        lengths: Lengths | None = None,
        mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Look for a query, or one at each of S steps, in a memory of T steps.

        Args:
            query: (B, Q), or (S, B, Q), or (B, S, Q) with batch_first.
            memory: (T, B, M), or (B, T, M) with batch_first: the output of a layer.
            lengths: (B,) whole numbers in 0..T: steps of the memory behind them are not seen.
            mask: (B, T), or (B, S, T): true where the memory is seen. Both hold where both are
                given.

        Returns:
            context: the weighted means, (B, M), (S, B, M) or (B, S, M) as the query came; zero
                for a query that sees nothing.
            weights: (B, T) or (B, S, T), whatever batch_first; they add up to 1, or are all zero
                for a query that sees nothing.

        Raises:
            ShapeError: a shape or a dtype that cannot be.
        """
        self._check(query, memory)
        q = query.unsqueeze(1) if query.dim() == 2 else self._turned(query)  # (B, S, Q)
        m = self._turned(memory)  # (B, T, M)
        seen = self._seen(q, memory, lengths, mask)
        if seen is not None:  # whatever stands in the padding must not reach a sum
            m = m.masked_fill(~seen.any(1).unsqueeze(-1), 0)
        weights = softmax(self._scores(q, m), seen)
        context = weights @ m
        if query.dim() == 2:
            return context.squeeze(1), weights.squeeze(1)
        return self._turned(context), weights

    def extra_repr(self) -> str:
        """The arguments."""
        return (
            f"{self.query_size}, {self.memory_size}, score={self.score!r}"
            f"{', batch_first=True' if self.batch_first else ''}"
        )

    def _turned(self, x: Tensor) -> Tensor:
        return x if self.batch_first else x.transpose(0, 1)

    def _scores(self, q: Tensor, m: Tensor) -> Tensor:
        """(B, S, T)."""
        if self.score == "additive":
            terms = self.query_map(q).unsqueeze(2) + self.memory_map(m).unsqueeze(1)
            scores: Tensor = self.score_map(torch.tanh(terms)).squeeze(-1)
            return scores
        keys = self.memory_map(m) if self.score == "general" else m
        return q @ keys.transpose(1, 2)

    def _seen(
        self, q: Tensor, memory: Tensor, lengths: Lengths | None, mask: Tensor | None
    ) -> Tensor | None:
        """What each query sees, (B, 1, T) or (B, S, T); ``None``: everything."""
        name, steps = type(self).__name__, time_first(memory, self.batch_first)
        seen = None
        if lengths is not None:
            lengths = check_lengths(name, lengths, memory, self.batch_first)
            seen = inside(steps, lengths).permute(1, 2, 0)
        if mask is not None:
            shapes = [(len(q), len(steps)), (*q.shape[:2], len(steps))]
            if mask.dtype != torch.bool or tuple(mask.shape) not in shapes:
                raise ShapeError(
                    f"{name}: the mask is bool and {shapes[0]} = (B, T) or {shapes[1]} = "
                    f"(B, S, T), got {mask.dtype} {tuple(mask.shape)}."
                )
            mask = mask.unsqueeze(1) if mask.dim() == 2 else mask
            seen = mask if seen is None else seen & mask
        return seen

    def _check(self, query: Tensor, memory: Tensor) -> None:
        name, axes = type(self).__name__, "(B, T, M)" if self.batch_first else "(T, B, M)"
        if memory.dim() != 3 or memory.shape[2] != self.memory_size:
            raise ShapeError(
                f"{name}: the memory is {axes} with M={self.memory_size} "
                f"(batch_first={self.batch_first}), got {tuple(memory.shape)}."
            )
        if query.dim() not in (2, 3) or query.shape[-1] != self.query_size:
            raise ShapeError(
                f"{name}: the query is (B, Q) or {axes.replace('T', 'S').replace('M', 'Q')} with "
                f"Q={self.query_size} (batch_first={self.batch_first}), got {tuple(query.shape)}."
            )
        batches = query.shape[-2 if not self.batch_first else 0], memory.shape[not self.batch_first]
        if batches[0] != batches[1]:
            raise ShapeError(
                f"{name}: the query {tuple(query.shape)} has a batch of {batches[0]}, the memory "
                f"{tuple(memory.shape)} one of {batches[1]} (batch_first={self.batch_first})."
            )


def softmax(scores: Tensor, seen: Tensor | None) -> Tensor:
    """The softmax over the last axis of what is seen; zeros where nothing is, never NaN."""
    if seen is None:
        return scores.softmax(-1)
    lowest = torch.finfo(scores.dtype).min  # not -inf: of a row of those it would be NaN
    return scores.masked_fill(~seen, lowest).softmax(-1).masked_fill(~seen, 0)
