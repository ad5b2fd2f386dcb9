"""Layers: any cell over sequences, and drop-ins for torch.nn."""

from gatework.layers.convolutional import ConvRecurrent
from gatework.layers.drop_in import GRU, LSTM, RNN
from gatework.layers.recurrent import Recurrent
from gatework.layers.single_step import GRUCell, LSTMCell, RNNCell

__all__ = ["GRU", "LSTM", "RNN", "ConvRecurrent", "GRUCell", "LSTMCell", "RNNCell", "Recurrent"]
