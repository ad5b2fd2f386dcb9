"""Layers: any cell over sequences, drop-ins for torch.nn, and what stands around layers."""

from gatework.layers.attention import Attention
from gatework.layers.bidirectional import Bidirectional
from gatework.layers.convolutional import ConvRecurrent
from gatework.layers.drop_in import GRU, LSTM, RNN
from gatework.layers.final import final_output
from gatework.layers.pool import Pool
from gatework.layers.recurrent import Recurrent
from gatework.layers.single_step import GRUCell, LSTMCell, RNNCell
from gatework.layers.stacked import Stack
from gatework.layers.stateful import Stateful

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Attention",
    "Bidirectional",
    "ConvRecurrent",
    "GRUCell",
    "LSTMCell",
    "Pool",
    "RNNCell",
    "Recurrent",
    "Stack",
    "Stateful",
    "final_output",
]
