"""A matrix that grows by outer products, C[t] = a[t] * C[t-1] + u[t] v[t]^T, read by vectors.

For the steps of a chunk all is products of ordinary matrices: with D[t, s] the product of a over
the steps behind s up to t, what is read with q at the step t is

    C[t] q[t] = D[t, begin] C[begin] q[t] + sum over s of D[t, s] (v[s] . q[t]) u[s]

so the matrix itself is there at the chunks' borders only. The D of a chunk is a recurrence of its
own, in which a may be nought or negative; nothing is divided and no logarithm taken.

Axes: T time, B rows, N rows of a matrix, M its columns, L steps of a chunk, K chunks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from gatework.paths.recurrence import scan

FEWEST, MOST = 32, 64  # steps of a chunk; the times differ little between them


class Outers:
    """A matrix over all steps, by what it is made of.

    Args:
        a: one number of each step and row, (T, B, 1).
        pairs: the u (T, B, N) and v (T, B, M) whose outer products are added at each step.
        first: the matrix before all steps, (B, N * M), row by row.
        steps: of a chunk.
    """

    def __init__(
        self,
        a: Tensor,
        pairs: Sequence[tuple[Tensor, Tensor]],
        first: Tensor,
        steps: int | None = None,
    ) -> None:
        self.rows = a.shape[:2]
        self.count = len(pairs)
        u, v = (torch.stack(each, 1).flatten(0, 1) for each in zip(*pairs, strict=True))
        self.shape = u.shape[-1], v.shape[-1]
        self.steps = min(steps or steps_of(self.shape[1]), len(a))
        self.poison: Tensor | None = None
        self._last: Tensor | None = None
        if not torch.isfinite(u.sum() + v.sum() + a.sum() + first.sum()):
            a, u, v, first = self._without_poison(a, u, v, first)
        self.u, self.v, self.first = u, v, first
        self.factors = _factors(a, self.steps)

    def _without_poison(self, a: Tensor, u: Tensor, v: Tensor, first: Tensor) -> tuple[Tensor, ...]:
        """All finite; what is not would reach every step of its chunk, also those before it.

        ``poison`` (T + 1, B, 1) is above 0 where the matrix after so many steps is no number.
        """
        each = torch.isfinite(u).all(-1, True) & torch.isfinite(v).all(-1, True)
        here = ~(each.view(-1, self.count, *each.shape[1:]).all(1) & torch.isfinite(a))
        before = ~torch.isfinite(first).all(-1, True)
        goes_on = (a != 0).to(a.dtype)
        later = scan(goes_on, here.to(a.dtype), before.to(a.dtype))
        self.poison = torch.cat([before.to(a.dtype).unsqueeze(0), later])
        there = here.repeat_interleave(self.count, 0)
        u, v = (t.masked_fill(there, 0) for t in (u, v))
        return a.masked_fill(here, 0), u, v, first.masked_fill(before, 0)

    def read(self, q: Tensor, after: bool) -> Tensor:
        """The product with q (T, B, M) after each step, or before it: (T, B, N)."""
        size = _Size(self.steps, self.count, int(after), self.shape)
        found: Tensor
        given = (self.factors, self.u, self.v, q, self.first)
        found, last = _Read.apply(size, *given)  # type: ignore[no-untyped-call]
        if self._last is None:
            self._last = last
        if self.poison is not None:
            poison = self.poison[1:] if after else self.poison[:-1]
            found = found.masked_fill(poison > 0, torch.nan)
        return found

    @property
    def last(self) -> Tensor:
        """The matrix after all steps, (B, N * M)."""
        if self._last is None:
            self.read(self.v.new_zeros(*self.rows, self.shape[1]), after=True)
        last = self._last
        assert last is not None
        return last if self.poison is None else last.masked_fill(self.poison[-1] > 0, torch.nan)


def steps_of(columns: int) -> int:
    """How many steps make a chunk, by the columns of a matrix.

    With few the matrices at the borders are the larger part of the work, with many the products
    between the steps of a chunk.
    """
    return max(FEWEST, min(MOST, columns // 4))


def _factors(a: Tensor, steps: int) -> Tensor:
    """How much is left of what came before, (K, B, 1 + L, 1 + L), of a (T, B, 1).

    After so many steps of a chunk (third axis), of the matrix at its beginning (0 on the last
    axis) and of what its steps brought.
    """
    chunks = -(-len(a) // steps)
    rows = chunks * a.shape[1]
    a = pad(a, (0, 0, 0, 0, 0, chunks * steps - len(a)))
    a = a.view(chunks, steps, -1).transpose(0, 1).reshape(steps, rows, 1)
    begun = torch.eye(steps + 1, dtype=a.dtype, device=a.device)
    wide = (rows, steps + 1)
    brought = begun[1:].unsqueeze(1).expand(steps, *wide)
    later = scan(a.expand(steps, *wide), brought, begun[0].expand(wide))
    whole = torch.cat([begun[:1].unsqueeze(1).expand(1, *wide), later])
    return whole.transpose(0, 1).reshape(chunks, -1, steps + 1, steps + 1)


@dataclass(frozen=True)
class _Size:
    steps: int
    count: int  # of outer products at each step
    after: int  # 1: read after the step
    shape: tuple[int, int]


@dataclass(frozen=True)
class _Chunk:
    """One chunk, rows first.

    Attributes:
        at, pairs: where its steps and their outer products lie.
        begin, between: of what is read, how much is left of the matrix at the chunk's beginning,
            (B, L, 1), and of each outer product, (B, L, L * count).
        kept, rest: of the matrix at its end, the same, (B, 1, 1) and (B, L * count, 1).
    """

    number: int
    at: slice
    pairs: slice
    begin: Tensor
    between: Tensor
    kept: Tensor
    rest: Tensor


def _chunks(size: _Size, factors: Tensor, length: int) -> Iterator[_Chunk]:
    for number, whole in enumerate(factors.unbind(0)):
        begin = number * size.steps
        steps = min(size.steps, length - begin)
        end, inner = begin + steps, whole[:, : steps + 1, : steps + 1]
        read = inner[:, size.after : size.after + steps]
        rows = [inner[..., 1:]] if size.count == 1 else []
        rows = rows or [inner[..., 1:].repeat_interleave(size.count, -1)]
        yield _Chunk(
            number,
            slice(begin, end),
            slice(begin * size.count, end * size.count),
            read[..., :1],
            rows[0][:, size.after : size.after + steps],
            inner[:, -1:, :1],
            rows[0][:, -1].unsqueeze(-1),
        )


def _rows_first(tensor: Tensor, at: slice) -> Tensor:
    return tensor[at].transpose(0, 1)


class _Read(torch.autograd.Function):
    """What is read at every step, and the matrix after all of them."""

    @staticmethod
    def forward(
        ctx: Any, size: _Size, factors: Tensor, u: Tensor, v: Tensor, q: Tensor, first: Tensor
    ) -> tuple[Tensor, Tensor]:
        matrix, borders = first.reshape(-1, *size.shape), []
        found = u.new_empty(*q.shape[:2], size.shape[0])
        keep = any(ctx.needs_input_grad)
        for chunk in _chunks(size, factors, len(q)):
            read, values = _rows_first(q, chunk.at), _rows_first(u, chunk.pairs)
            keys = _rows_first(v, chunk.pairs)
            weights = (read @ keys.mT).mul_(chunk.between)
            here = (read @ matrix.mT).mul_(chunk.begin)
            found[chunk.at] = here.baddbmm_(weights, values).transpose(0, 1)
            if keep:
                borders.append(matrix)
            matrix = (chunk.kept * matrix).baddbmm_((values * chunk.rest).mT, keys)
        ctx.size = size
        ctx.save_for_backward(factors, u, v, q, first, *borders)
        return found, matrix.flatten(-2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        factors, u, v, q, first, *borders = ctx.saved_tensors
        inputs = (factors, u, v, q, first)
        if torch.is_grad_enabled():
            wanted = [t for t, n in zip(inputs, ctx.needs_input_grad[1:], strict=True) if n]
            again = iter(
                torch.autograd.grad(
                    _plainly(ctx.size, *inputs), wanted, gradients, create_graph=True
                )
            )
            return None, *(next(again) if n else None for n in ctx.needs_input_grad[1:])
        return None, *_back(ctx.size, inputs, borders, *gradients)


def _back(
    size: _Size, inputs: Sequence[Tensor], borders: Sequence[Tensor], by_found: Tensor, last: Tensor
) -> tuple[Tensor, ...]:
    """The gradients by the inputs, chunk by chunk from the last one."""
    factors, u, v, q, _ = inputs
    by_factors = torch.zeros_like(factors)
    by_u, by_v, by_q = (torch.empty_like(t) for t in (u, v, q))
    by_matrix = last.reshape(-1, *size.shape)
    into = list(_chunks(size, factors, len(q)))
    for chunk, matrix in zip(reversed(into), reversed(borders), strict=True):
        read, values = _rows_first(q, chunk.at), _rows_first(u, chunk.pairs)
        keys, by = _rows_first(v, chunk.pairs), _rows_first(by_found, chunk.at)
        scores, by_weights = read @ keys.mT, by @ values.mT
        by_scores = by_weights * chunk.between
        seen, read_back = keys @ by_matrix.mT, by @ matrix
        scaled, begun = values * chunk.rest, by * chunk.begin
        by_u[chunk.pairs] = (
            (seen * chunk.rest).baddbmm_((scores * chunk.between).mT, by).transpose(0, 1)
        )
        by_v[chunk.pairs] = (by_scores.mT @ read).baddbmm_(scaled, by_matrix).transpose(0, 1)
        by_q[chunk.at] = (read_back * chunk.begin).baddbmm_(by_scores, keys).transpose(0, 1)
        mine, steps = by_factors[chunk.number], by.shape[1]
        rows = mine[:, size.after : size.after + steps]
        rows[..., 0] += (read_back * read).sum(-1)
        rows[..., 1 : steps + 1] += _joined(by_weights.mul_(scores), size.count)
        mine[:, steps, 0] += (matrix * by_matrix).sum((-1, -2))
        mine[:, steps, 1 : steps + 1] += _joined((seen * values).sum(-1), size.count)
        by_matrix = (chunk.kept * by_matrix).baddbmm_(begun.mT, read)
    return by_factors, by_u, by_v, by_q, by_matrix.flatten(-2)


def _joined(by_pairs: Tensor, count: int) -> Tensor:
    """Gradients by what each outer product is multiplied with, as those of steps."""
    return by_pairs if count == 1 else by_pairs.view(*by_pairs.shape[:-1], -1, count).sum(-1)


def _plainly(
    size: _Size, factors: Tensor, u: Tensor, v: Tensor, q: Tensor, first: Tensor
) -> tuple[Tensor, Tensor]:
    """The same in operations that torch differentiates as often as one likes."""
    matrix, found = first.reshape(-1, *size.shape), []
    for chunk in _chunks(size, factors, len(q)):
        read, values = _rows_first(q, chunk.at), _rows_first(u, chunk.pairs)
        keys = _rows_first(v, chunk.pairs)
        here = (read @ matrix.mT) * chunk.begin + ((read @ keys.mT) * chunk.between) @ values
        found.append(here.transpose(0, 1))
        matrix = chunk.kept * matrix + (values * chunk.rest).mT @ keys
    return torch.cat(found), matrix.flatten(-2)
