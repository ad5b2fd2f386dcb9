"""What others compute for each cell: torch.nn and the reference operators of onnx.

A witness takes the parameters by their names in the equations, the input (T, B, F) and the
initial states, and returns the outputs of all steps and the final states. The way from our
names to theirs is written out here by hand, so that no code of the package vouches for itself.
"""

import numpy as np
import onnx
import torch
from onnx.reference import ReferenceEvaluator
from torch import nn
from torch.func import functional_call

OPEN = 1e3  # sigmoid(1000) is exactly 1 in float64, and its derivative exactly 0


def rows(weights, names):
    """Several parameters on top of each other."""
    return torch.cat([weights[name] for name in names.split()])


def torch_run(module, tensors, x, states):
    """A torch.nn layer with these parameters; its gradients reach them."""
    named = {f"{name}_l0": tensor for name, tensor in tensors.items()}
    layered = tuple(s.unsqueeze(0) for s in states)
    hx = layered if len(layered) > 1 else layered[0]
    output, finals = functional_call(module.double(), named, (x, hx))
    finals = finals if isinstance(finals, tuple) else (finals,)
    return output, tuple(f.squeeze(0) for f in finals)


def split_bias(bias):
    """Two unequal parts of one bias, for a library that adds two."""
    return 0.25 * bias, 0.75 * bias


def torch_lstm(weights, x, states):
    sizes = x.shape[-1], weights["U_i"].shape[0]
    tensors = {
        "weight_ih": rows(weights, "W_i W_f W_g W_o"),
        "weight_hh": rows(weights, "U_i U_f U_g U_o"),
    }
    tensors["bias_ih"], tensors["bias_hh"] = split_bias(rows(weights, "b_i b_f b_g b_o"))
    if "V" in weights:
        tensors["weight_hr"] = weights["V"]
    projected = len(weights["V"]) if "V" in weights else 0
    return torch_run(nn.LSTM(*sizes, proj_size=projected), tensors, x, states)


def coupled(weights):
    """LSTM weights with f = 1 - i, by the identity sigma(-a) = 1 - sigma(a)."""
    return weights | {f"{k}_f": -weights[f"{k}_i"] for k in "WUb"}


def without_forgetting(weights):
    """LSTM weights with the forget gate exactly 1."""
    closed = {f"{k}_f": torch.zeros_like(weights[f"{k}_i"]) for k in "WU"}
    return weights | closed | {"b_f": torch.full_like(weights["b_i"], OPEN)}


def torch_coupled(weights, x, states):
    return torch_lstm(coupled(weights), x, states)


def torch_lstm_1997(weights, x, states):
    return torch_lstm(without_forgetting(weights), x, states)


def torch_gru(weights, x, states):
    tensors = {
        "weight_ih": rows(weights, "W_r W_z W_n"),
        "weight_hh": rows(weights, "U_r U_z U_n"),
        "bias_ih": torch.cat([0.25 * rows(weights, "b_r b_z"), weights["b_n"]]),
        "bias_hh": torch.cat([0.75 * rows(weights, "b_r b_z"), weights["d_n"]]),
    }
    return torch_run(nn.GRU(x.shape[-1], len(weights["b_r"])), tensors, x, states)


def torch_rnn(nonlinearity):
    def run(weights, x, states):
        tensors = {"weight_ih": weights["W"], "weight_hh": weights["U"]}
        tensors["bias_ih"], tensors["bias_hh"] = split_bias(weights["b"])
        module = nn.RNN(x.shape[-1], len(weights["b"]), nonlinearity=nonlinearity)
        return torch_run(module, tensors, x, states)

    return run


def onnx_run(op, weights, gates, x, states, peepholes="", **attributes):
    """A recurrent reference operator of onnx; ``gates`` in its own order. No gradients."""
    feeds = {"X": x, "initial_h": states[0][None]}
    if len(states) > 1:
        feeds["initial_c"] = states[1][None]
    for ours, theirs in (("W", "W"), ("U", "R")):
        feeds[theirs] = rows(weights, " ".join(f"{ours}_{g}" for g in gates))[None]
    ih, hh = split_bias(rows(weights, " ".join(f"b_{g}" for g in gates)))
    if "d_n" in weights:  # the bias behind the reset gate is of its own
        size = len(weights["d_n"])
        ih = torch.cat([ih[:-size], weights["b_n"]])
        hh = torch.cat([hh[:-size], weights["d_n"]])
    feeds["B"] = torch.cat([ih, hh])[None]
    if peepholes:
        feeds["P"] = rows(weights, " ".join(f"p_{g}" for g in peepholes))[None]
    names = {"LSTM": ["X", "W", "R", "B", "", "initial_h", "initial_c", "P"]}
    names["GRU"] = names["LSTM"][:6]
    inputs = [name if name in feeds else "" for name in names[op]]
    outputs = ["Y", "Y_h", "Y_c"][: 1 + len(states)]
    node = onnx.helper.make_node(op, inputs, outputs, hidden_size=states[0].shape[-1], **attributes)
    arrays = {name: np.asarray(value.detach()) for name, value in feeds.items()}
    output, *finals = ReferenceEvaluator(node).run(None, arrays)
    return torch.from_numpy(output[:, 0]), tuple(torch.from_numpy(f[0]) for f in finals)


def onnx_peephole(weights, x, states):
    return onnx_run("LSTM", weights, "iofg", x, states, peepholes="iof")


def onnx_coupled(weights, x, states):
    # The reference operator ignores input_forget, so the identity is used here too.
    return onnx_run("LSTM", coupled(weights), "iofg", x, states)


def onnx_lstm_1997(weights, x, states):
    return onnx_run("LSTM", without_forgetting(weights), "iofg", x, states)


def onnx_gru(linear_before_reset):
    def run(weights, x, states):
        attributes = {"linear_before_reset": linear_before_reset}
        return onnx_run("GRU", weights, "zrn", x, states, **attributes)

    return run


# By cell: those whose gradients are known by autograd, and those that give values alone.
DIFFERENTIABLE = {
    "rnn": torch_rnn("tanh"),
    "relu_rnn": torch_rnn("relu"),
    "lstm": torch_lstm,
    "lstm_1997": torch_lstm_1997,
    "coupled_lstm": torch_coupled,
    "projected_lstm": torch_lstm,
    "gru": torch_gru,
}
VALUES = {
    "peephole_lstm": onnx_peephole,
    "coupled_lstm": onnx_coupled,
    "lstm_1997": onnx_lstm_1997,
    "gru": onnx_gru(1),
    "gru_reset_before": onnx_gru(0),
}
