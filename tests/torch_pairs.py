"""A torch.nn layer and its drop-in, made and run alike."""

import warnings

import torch
from shared import randoms, tuple_of
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

import gatework as gw

STEPS, BATCH, FEATURES, HIDDEN = 4, 3, 3, 4

# By kind: torch's class, the drop-in, and the arguments that make the kind.
KINDS = {
    "lstm": (nn.LSTM, gw.LSTM, {}),
    "lstm_projected": (nn.LSTM, gw.LSTM, {"proj_size": 2}),
    "gru": (nn.GRU, gw.GRU, {}),
    "rnn_tanh": (nn.RNN, gw.RNN, {}),
    "rnn_relu": (nn.RNN, gw.RNN, {"nonlinearity": "relu"}),
}
LENGTHS = {"sorted": (4, 3, 1), "unsorted": (2, 4, 1), "equal": (4, 4, 4)}
FORMS = ("batched", "single", *LENGTHS)


def make(kind, **options):
    """torch's layer in float64 and the arguments that it was made of."""
    theirs, ours, extra = KINDS[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # dropout with one layer: torch warns, and so do we
        pair = []
        for made in (theirs, ours):
            given = extra | options
            if made is theirs:
                given = {k: v for k, v in given.items() if k not in ("path", "forget_bias")}
            torch.manual_seed(0)
            pair.append(made(FEATURES, HIDDEN, dtype=torch.float64, **given))
    return pair


def inputs(layer, form, with_states):
    """Leaf tensors for one call: the data first, then the states."""
    rows = layer.num_layers * (2 if layer.bidirectional else 1)
    batch = () if form == "single" else (BATCH,)
    widths = [layer.proj_size or HIDDEN, HIDDEN][: 2 if layer.mode == "LSTM" else 1]
    data = (STEPS, *batch, FEATURES)
    if layer.batch_first and form == "batched":
        data = (BATCH, STEPS, FEATURES)
    states = [(rows, *batch, width) for width in widths] if with_states else []
    return randoms(data, *states, seed=1)


def call(layer, form, leaves, **options):
    """The layer on the leaves, all results as tensors."""
    x, *states = leaves
    if form in LENGTHS:
        x = pack_padded_sequence(x, LENGTHS[form], enforce_sorted=form != "unsorted")
    hx = None if not states else states[0] if len(states) == 1 else tuple(states)
    torch.manual_seed(7)
    output, finals = layer(x, hx, **options)
    if isinstance(output, PackedSequence):
        assert torch.equal(output.batch_sizes, x.batch_sizes)
        assert [output.sorted_indices is None, output.unsorted_indices is None] == [
            x.sorted_indices is None,
            x.unsorted_indices is None,
        ]
        output = output.data
    assert isinstance(finals, torch.Tensor) == (layer.mode != "LSTM")
    return [output, *tuple_of(finals)]


def results(layer, form="batched", with_states=True):
    """Outputs, final states, and the gradients of input, states and every parameter."""
    leaves = inputs(layer, form, with_states)
    computed = call(layer, form, leaves)
    flat = torch.cat([c.flatten() for c in computed])
    loss = flat @ torch.linspace(-1, 1, len(flat), dtype=flat.dtype)
    wanted = [*leaves, *layer.parameters()]
    return [*computed, *torch.autograd.grad(loss, wanted)]
