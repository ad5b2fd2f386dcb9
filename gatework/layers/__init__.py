"""Layers: any cell over sequences, and drop-ins for torch.nn."""

from gatework.layers.drop_in import GRU, LSTM, RNN
from gatework.layers.recurrent import Recurrent
from gatework.layers.single_step import GRUCell, LSTMCell, RNNCell

__all__ = ["GRU", "LSTM", "RNN", "GRUCell", "LSTMCell", "RNNCell", "Recurrent"]
