"""What others compute for the LSTM family: torchrecurrent, xlstm and torch's own functions.

As in ``witnesses.py`` the way from our names to theirs is written out by hand. Where a library
deviates from the paper, the place says so and makes up for it.
"""

import torch
from shared import beside_of
from torch import nn
from torch.func import functional_call
from torch.nn.functional import layer_norm
from torchrecurrent import NASCell, PeepholeLSTMCell
from witnesses import OPEN, rows, split_bias
from xlstm.blocks.mlstm.backends import recurrent_step_stabilized_simple
from xlstm.blocks.slstm.src.vanilla import slstm_forward, slstm_pointwise_function_registry


class InTurn(nn.Module):
    """One function after the other, in the order in which the cell asks for them."""

    def __init__(self, *functions):
        super().__init__()
        self.functions, self.calls, self.given = functions, 0, []

    def forward(self, a):
        self.given.append(self.functions[self.calls % len(self.functions)](a))
        self.calls += 1
        return self.given[-1]


def over_time(step, x, states):
    """Outputs of all steps, and the states after the last one."""
    outputs = []
    for row in x:
        states = step(row, *states)
        outputs.append(states[0])
    return torch.stack(outputs), states


def peephole_cell(weights, activations=(torch.tanh, torch.tanh)):
    """One step of torchrecurrent's PeepholeLSTMCell, which is Gers & Schmidhuber's.

    It asks for the activation of the candidate, then for that of the output. Where the cell has
    the last step's gates as states, they come in as further inputs.
    """
    hidden, features = weights["W_g"].shape
    tensors = {
        "weight_ih": torch.cat([rows(weights, "W_i W_f W_g W_o"), *recurrence(weights)], -1),
        "weight_hh": rows(weights, "U_i U_f U_g U_o"),
        "weight_ph": rows(weights, "p_i p_f p_o"),
    }
    tensors["bias_ih"], tensors["bias_hh"] = split_bias(rows(weights, "b_i b_f b_g b_o"))

    def step(x, h, c, *last):
        gates = InTurn(torch.sigmoid)
        cell = PeepholeLSTMCell(
            features,
            hidden,
            nonlinearity=InTurn(*activations),
            gate_nonlinearity=gates,
        )
        new = functional_call(cell.double(), tensors, (torch.cat([x, *last], -1), (h, c)))
        return (*new, *(gates.given if last else ()))

    return step


def recurrence(weights):
    """What full gate recurrence multiplies i, f and o by for the gates; nothing in other cells."""
    if "R_ii" not in weights:
        return []
    full = weights | {f"R_{gate}g": torch.zeros_like(weights["R_ii"]) for gate in "ifo"}
    return [rows(full, f"R_{gate}i R_{gate}f R_{gate}g R_{gate}o") for gate in "ifo"]


def peephole(changed=dict, activations=(torch.tanh, torch.tanh)):
    """The peephole LSTM, after a change of its weights or with other activations."""

    def torchrecurrent(weights, x, states):
        return over_time(peephole_cell(changed(weights), activations), x, states)

    return torchrecurrent


def fixed_open(gate):
    """Weights with one gate exactly 1."""

    def change(weights):
        alike = weights["b_g"]
        closed = {f"{k}_{gate}": torch.zeros_like(weights[f"{k}_g"]) for k in "WU"}
        closed[f"p_{gate}"] = torch.zeros_like(alike)
        return weights | closed | {f"b_{gate}": torch.full_like(alike, OPEN)}

    return change


def coupled(kept, other):
    """Weights with one gate 1 minus the other, by the identity sigma(-a) = 1 - sigma(a)."""
    return lambda weights: weights | {f"{k}_{other}": -weights[f"{k}_{kept}"] for k in "WUbp"}


def linear(a):
    """No activation."""
    return a


def lstm_cell(sums, c):
    """torch's LSTM cell with these sums for i, f, g and o: the states after the step."""
    hidden = c.shape[-1]
    cell = nn.LSTMCell(4 * hidden, hidden, bias=False).double()
    one = torch.eye(4 * hidden, dtype=c.dtype)
    tensors = {"weight_ih": one, "weight_hh": one.new_zeros(4 * hidden, hidden)}
    return functional_call(cell, tensors, (torch.cat(sums, -1), (torch.zeros_like(c), c)))


def shown(o, c):
    """sigma(o) * tanh(c) by the same cell: it forgets nothing and takes in nothing."""
    opened = torch.full_like(c, OPEN)
    return lstm_cell((-opened, opened, opened, o), c)[0]


def ba_layer_norm(weights, x, states):
    """The LSTM of the appendix of Ba et al., with torch's layer_norm over all 4H."""
    gains = rows(weights, "alpha_i alpha_f alpha_g alpha_o")
    gains_x = rows(weights, "gamma_i gamma_f gamma_g gamma_o")
    w, u = rows(weights, "W_i W_f W_g W_o"), rows(weights, "U_i U_f U_g U_o")
    shift, shift_x = split_bias(rows(weights, "b_i b_f b_g b_o"))
    size = gains.shape

    def step(x, h, c):
        sums = layer_norm(h @ u.T, size, gains, shift) + layer_norm(x @ w.T, size, gains_x, shift_x)
        _, c = lstm_cell(sums.chunk(4, -1), c)
        normal = layer_norm(c, c.shape[-1:], weights["alpha_c"], weights["b_c"])
        return shown(sums.chunk(4, -1)[3], normal), c

    return over_time(step, x, states)


def contrib_layer_norm(weights, x, states):
    """TensorFlow 1's LayerNormBasicLSTMCell, with torch's layer_norm; its epsilon is 1e-12."""

    def norm(a, gate):
        scale = weights[f"gamma_{gate}"], weights[f"b_{gate}"]
        return layer_norm(a, a.shape[-1:], *scale, eps=1e-12)

    def step(x, h, c):
        both = torch.cat([x, h], -1)
        sums = [
            norm(both @ torch.cat([weights[f"W_{k}"], weights[f"U_{k}"]], -1).T, k) for k in "ifgo"
        ]
        c = norm(lstm_cell(sums, c)[1], "c")
        return shown(sums[3], c), c

    return over_time(step, x, states)


def xlstm(weights, x, states):
    """The authors' own: one head. It takes the gates' sums of the input ready, as i, f, z, o.

    In a step where all n are 0 it leaves the old m out of the new one. That changes c, n and m by
    a factor and h not at all; the states here are not 0.
    """
    wx = x @ rows(weights, "W_i W_f W_z W_o").T
    recurrent = rows(weights, "U_i U_f U_z U_o")[None]
    bias = rows(weights, "b_i b_f b_z b_o")
    pointwise = slstm_pointwise_function_registry["slstm"]
    every, last, _ = slstm_forward(wx, torch.stack(states), recurrent, bias, pointwise)
    return every[0, 1:], tuple(last)


def matrix_inputs(weights, x):
    """What the mLSTM's authors are given: q, k, v and the sums of the gates; and its o.

    They divide k, our bias with it, by the root of the units.
    """
    root = len(weights["b_k"]) ** 0.5
    scaled = weights | {"b_k": root * weights["b_k"]}
    q, k, v, o = (x @ scaled[f"W_{s}"].T + scaled[f"b_{s}"] for s in "qkvo")
    i, f = (x @ scaled[f"w_{s}"].T + scaled[f"b_{s}"] for s in "if")
    return q, k, v, i, f, o.sigmoid()


def xlstm_matrix(weights, x, states):
    """The authors' own, step by step, with one head and nothing added to the divisor.

    Their matrix is our transpose.
    """

    def step(x, h, C, n, m):
        *given, o = matrix_inputs(weights, x)
        given = [value.clone()[:, None, None] for value in given]
        size = n.shape[-1]
        C = C.view(-1, 1, size, size).mT
        h, (C, n, m) = recurrent_step_stabilized_simple(
            C, n[:, None, :, None], m[:, None, None], *given, eps=0.0
        )
        return o * h.flatten(1), C.mT.flatten(1), n.flatten(1), m.flatten(1)

    return over_time(step, x, states)


def nas(weights, x, states):
    """torchrecurrent's NASCell, which adds where the paper multiplies: the fourth pair.

    What is missing of the product is given to it as a bias. TensorFlow multiplies, and its
    numbers are in ``test_witness_lstm.py``.
    """
    hidden, features = weights["W_1"].shape
    names = " ".join(f"{{0}}_{k}" for k in range(1, 9))
    tensors = {
        "weight_ih": rows(weights, names.format("W")),
        "weight_hh": rows(weights, names.format("U")),
        "bias_hh": torch.zeros(8 * hidden, dtype=x.dtype),
    }
    cell = NASCell(features, hidden).double()

    def step(x, h, c):
        by_x, by_h = x @ weights["W_4"].T, h @ weights["U_4"].T
        missing = by_x * by_h - by_x - by_h
        parts = [torch.zeros_like(missing)] * 3 + [missing] + [torch.zeros_like(missing)] * 4
        return functional_call(cell, tensors | {"bias_ih": torch.cat(parts, -1)}, (x, (h, c)))

    return over_time(step, x, states)


def by_hand_ordered(weights, x, states):
    """The ON-LSTM with torch's softmax and cumsum; torch's LSTM cell does the other gates."""
    w, u = (rows(weights, f"{k}_i {k}_f {k}_g {k}_o {k}_mi {k}_mf") for k in "WU")
    b = rows(weights, "b_i b_f b_g b_o b_mi b_mf")

    def step(x, h, c):
        *sums, master_i, master_f = (x @ w.T + h @ u.T + b).chunk(6, -1)
        rising = torch.cumsum(torch.softmax(master_f, -1), -1)
        falling = 1 - torch.cumsum(torch.softmax(master_i, -1), -1)
        both = rising * falling
        _, inside = lstm_cell(sums, c)  # where both are open
        taken_in = torch.tanh(sums[2])
        c = both * inside + (rising - both) * c + (falling - both) * taken_in
        return shown(sums[3], c), c

    return over_time(step, x, states)


def phased(weights, x, states, r=0.05, alpha=0.001):
    """The phased LSTM as its paper has it: torch's remainder, around torchrecurrent's peepholes."""
    cell, period = peephole_cell(weights), torch.exp(weights["q"])
    times = iter(next(iter(beside_of("phased_lstm", x).values())))

    def step(x, h, c):
        phi = torch.remainder(next(times).unsqueeze(-1) - weights["s"], period) / period
        rest = torch.where(phi < r, 2 - 2 * phi / r, alpha * phi)
        k = torch.where(phi < r / 2, 2 * phi / r, rest)
        new = cell(x, h, c)
        return tuple(k * a + (1 - k) * b for a, b in zip(new, (h, c), strict=True))

    return over_time(step, x, states)


DIFFERENTIABLE = {
    "peephole_lstm": peephole(),
    "no_input_gate_lstm": peephole(fixed_open("i")),
    "no_forget_gate_lstm": peephole(fixed_open("f")),
    "no_output_gate_lstm": peephole(fixed_open("o")),
    "no_input_activation_lstm": peephole(activations=(linear, torch.tanh)),
    "no_output_activation_lstm": peephole(activations=(torch.tanh, linear)),
    "coupled_peephole_lstm": peephole(coupled("i", "f")),
    "coupled_forget_lstm": peephole(coupled("f", "i")),
    "full_gate_lstm": peephole(),
    "layer_norm_lstm": ba_layer_norm,
    "layer_norm_basic_lstm": contrib_layer_norm,
    "slstm": xlstm,
    "mlstm": xlstm_matrix,
    "nas_cell": nas,
    "on_lstm": by_hand_ordered,
    "phased_lstm": phased,
}
VALUES = {}

# From tensorflow/contrib/rnn/python/kernel_tests/rnn_cell_test.py of TensorFlow 1, float32: every
# matrix 0.5, no biases, gains 1, forget_bias 1. By cell: x, h, c, and h, c after one step.
PUBLISHED = {
    "coupled_forget_lstm": (
        [[1.0] * 4, [2.0] * 4, [3.0] * 4],
        [[0.1] * 2] * 3,
        [[0.1] * 2] * 3,
        [[0.121753] * 2, [0.103349] * 2, [0.100178] * 2],
        [[0.137523] * 2, [0.105450] * 2, [0.100742] * 2],
    ),
    "layer_norm_basic_lstm": (
        [[1.0] * 3],
        [[0.2, 0.3]],
        [[0.0, 0.1]],
        [[-0.38079708, 0.38079708]],
        [[-1.0, 1.0]],
    ),
    "nas_cell": (
        [[1.0] * 4, [2.0] * 4, [3.0] * 4],
        [[0.1] * 6] * 3,
        [[0.1] * 6] * 3,
        [[0.57675087] * 6, [0.6189357] * 6, [0.62739348] * 6],
        [[0.71579772] * 6, [0.78041625] * 6, [0.79457647] * 6],
    ),
}
