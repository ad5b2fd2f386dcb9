"""The network of the classifier: a recurrent stack, pooled, and convolutions beside or before."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from gatework.equations import Spec
from gatework.layers import Pool
from gatework.paths.call import inside
from gatework.tasks.stacks import stack
from gatework.training.batch_norm import BatchNorm

# Karim et al. 2017: filters and kernel sizes of the three blocks.
BLOCKS = ((128, 8), (256, 5), (128, 3))
PLACES = ("beside", "before", "none")


class ClassifyNetwork(nn.Module):
    """Reads whole sequences and gives a score for each class.

    The recurrent branch is any cell's stack with a pool behind it. There may be three blocks of
    convolution, batch normalisation and relu. ``"before"`` the stack, it reads their outputs in
    place of the sequence (CNN + LSTM). ``"beside"`` it they are averaged over the steps, and the
    head reads both: with an LSTM this is the LSTM-FCN of Karim et al. 2017, "LSTM Fully
    Convolutional Networks for Time Series Classification". That paper's LSTM sees the sequence
    with its two axes exchanged, as F steps of T values ("dimension shuffle"): ``shuffle`` does so.

    Args:
        cell: the equations.
        features: F of the sequences.
        steps: T, for ``shuffle``.
        classes: C.
        hidden_size, num_layers, bidirectional, forget_bias: of the stack.
        pool: a kind of ``gatework.Pool``.
        convolution: where the convolutions stand, one of ``PLACES``.
        shuffle: whether the stack reads F steps of T values.
        dropout: behind every recurrent layer, the last one too (its pooled output).

    Shapes:
        See ``forward``.
    """

    def __init__(
        self,
        cell: Spec,
        features: int,
        steps: int,
        classes: int,
        hidden_size: int,
        num_layers: int = 1,
        bidirectional: bool = False,
        pool: str = "last",
        convolution: str = "none",
        shuffle: bool = False,
        dropout: float = 0.0,
        forget_bias: float | None = None,
    ) -> None:
        super().__init__()
        self.features, self.steps, self.shuffle = features, steps, shuffle
        self.is_before, filters = convolution == "before", BLOCKS[-1][0]
        read = 2 * (steps if shuffle else features)  # each value with its mask
        inputs = filters if self.is_before else read
        self.recurrent = stack(
            cell, inputs, hidden_size, num_layers, dropout, forget_bias, bidirectional
        )
        self.pool = Pool.after(self.recurrent, pool)
        self.dropout = nn.Dropout(dropout)
        self.convolution = Convolutions(2 * features) if convolution != "none" else None
        self.mean = Pool("mean", batch_first=True) if convolution == "beside" else None
        size = self.recurrent.output_size + (filters if self.mean else 0)
        self.head = nn.Linear(size, classes)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """Scores (B, C), of which the softmax is the probabilities.

        Args:
            inputs: (B, T, 2F), the values (0 where missing or behind the end) and their masks.
            lengths: (B,) steps of each sequence, on the CPU.
        """
        steps, ends = self.steps_of(inputs, lengths)
        output, _ = self.recurrent(steps, lengths=ends)
        parts = [self.dropout(self.pool(output, ends))]
        if self.convolution is not None and self.mean is not None:
            parts.append(self.mean(self.convolution(inputs, lengths), lengths))
        scores: Tensor = self.head(torch.cat(parts, dim=1))
        return scores

    def steps_of(self, inputs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor | None]:
        """What the stack reads, and its lengths if they are uneven.

        That is (T, B, 2F); behind convolutions (T, B, 128); shuffled (F, B, 2T).
        """
        if self.shuffle:
            padded = functional.pad(inputs, (0, 0, 0, self.steps - inputs.shape[1]))
            pairs = padded.view(*padded.shape[:2], 2, self.features)
            return pairs.permute(3, 0, 2, 1).flatten(2), None
        if self.convolution is not None and self.is_before:
            inputs = self.convolution(inputs, lengths)
        even = bool((lengths == inputs.shape[1]).all())
        return inputs.transpose(0, 1), None if even else lengths


class Convolutions(nn.Module):
    """Three blocks of convolution, batch normalisation and relu, as many steps out as in.

    What lies behind a sequence's end is as if it were not there: it enters no normalisation, and a
    shorter sequence gives the same whatever it is padded to.

    Args:
        features: of the input.

    Shapes:
        inputs (B, T, features) and lengths (B,) in; (B, T, 128) out, zero behind the ends.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        sizes = [features, *(filters for filters, _ in BLOCKS)]
        blocks = zip(sizes, BLOCKS, strict=False)
        self.blocks = nn.ModuleList(_Block(size, *block) for size, block in blocks)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """The outputs of the last block, (B, T, 128)."""
        seen = inside(inputs.transpose(0, 1), lengths).transpose(0, 1)  # (B, T, 1)
        values, masks = inputs.chunk(2, dim=2)
        # What is missing, not what is there: complete data have zeros then. A mask of ones adds to
        # the mean of a block's rows and nothing else, and its many weights, which have one
        # gradient, move that mean faster than the normalisation's running mean follows.
        x = torch.cat([values, seen.to(masks) - masks], dim=2)
        for block in self.blocks:
            x = block(x, seen)
        return x


class _Block(nn.Module):
    """Convolution over the steps, batch normalisation, relu: (B, T, size) to (B, T, filters)."""

    def __init__(self, size: int, filters: int, kernel: int) -> None:
        super().__init__()
        # The normalisation behind it takes a bias away.
        self.convolution = nn.Conv1d(size, filters, kernel, bias=False)
        self.norm = BatchNorm(filters)
        self.around = ((kernel - 1) // 2, kernel // 2)
        # As the paper's own code has it.
        nn.init.kaiming_uniform_(self.convolution.weight, nonlinearity="relu")

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """X (B, T, size) and where it is there, (B, T, 1); zero elsewhere."""
        found = self.convolution(functional.pad(x.transpose(1, 2), self.around))
        rows = found.transpose(1, 2)[seen.squeeze(2)]  # (steps that are there, filters)
        rows = self.norm(rows).relu()
        around: Tensor = rows.new_zeros(*seen.shape[:2], rows.shape[1])
        return around.masked_scatter(seen, rows)
