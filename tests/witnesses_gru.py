"""Witnesses of the GRU family and of the minimal cells: torch.nn, torchrecurrent, onnx.

They have the form of ``witnesses.py``. Where torchrecurrent departs from the paper, the line that
makes up for it says so.
"""

import torch
import torchrecurrent
from torch import nn
from torch.func import functional_call
from torch.nn.functional import linear, logsigmoid
from witnesses import OPEN, onnx_run, rows, split_bias, torch_run

FAR = 64.0  # above every value here, so that all lie within tanh's range once divided by it


def steps_of(cell, tensors, x, *states):
    """A torchrecurrent cell with these parameters over all steps: the state after each."""
    found = []
    for row in x:
        given = states[0] if len(states) == 1 else states
        states = functional_call(cell, tensors, (row, given))
        states = states if isinstance(states, tuple) else (states,)
        found.append(states[0])
    return torch.stack(found), states


def made(kind, x, state):
    return kind(x.shape[-1], state.shape[-1]).double()


def gated(kind, gates):
    """A torchrecurrent cell whose gates all see input and state, in its own order of them."""

    def run(weights, x, states):
        tensors = {
            "weight_ih": rows(weights, " ".join(f"W_{g}" for g in gates)),
            "weight_hh": rows(weights, " ".join(f"U_{g}" for g in gates)),
        }
        bias = rows(weights, " ".join(f"b_{g}" for g in gates))
        tensors["bias_ih"], tensors["bias_hh"] = split_bias(bias)
        return steps_of(made(kind, x, states[0]), tensors, x, *states)

    return run


def recurrent_mut_1(weights, x, states):
    # It has a second bias within the tanh of the input, where the paper has the bare input.
    b_r, d_r = split_bias(weights["b_r"])
    tensors = {
        "weight_ih": rows(weights, "W_z W_r W_n"),
        "weight_hh": rows(weights, "U_r U_n"),
        "bias_ih": torch.cat([weights["b_z"], b_r, torch.zeros_like(weights["b_n"])]),
        "bias_hh": torch.cat([d_r, weights["b_n"]]),
    }
    return steps_of(made(torchrecurrent.MUT1Cell, x, *states), tensors, x, *states)


def recurrent_janet(weights, x, states):
    # Its two states are the same one, and are set apart only by the values given for the first.
    run = gated(torchrecurrent.JANETCell, "fc")
    output, finals = run(weights, x, (*states, *states))
    assert torch.equal(*finals)
    return output, finals[:1]


def recurrent_scrn(weights, x, states):
    # It feeds back y, where the paper feeds back h, and squashes y by tanh. So each step is taken
    # twice: with U = 1 and V = 0 for h, then with the weights for y; and tanh is taken back.
    _, h, s = states
    cell = made(torchrecurrent.SCRNCell, x, h)
    spare = h.shape[-1] - s.shape[-1]  # its s is as long as its h
    wide = {k: nn.functional.pad(weights[k], (0, spare)) for k in "PV"}
    inputs = torch.cat([nn.functional.pad(weights["B"], (0, 0, 0, spare)), weights["A"]])
    s = nn.functional.pad(s, (0, spare))
    zeros = torch.zeros_like(inputs[:, 0])

    def step(row, U, V):
        tensors = {
            "alpha": torch.tensor(0.95, dtype=torch.float64),
            "weight_ih": inputs,
            "weight_hh": torch.cat([weights["R"], U]),
            "weight_ch": torch.cat([wide["P"], V]),
            **dict.fromkeys(("bias_ih", "bias_hh", "bias_ch"), zeros),
        }
        squashed, slow = functional_call(cell, tensors, (row, (h, s)))
        return squashed.atanh(), slow

    outputs = []
    for row in x:
        y, _ = step(row, weights["U"], wide["V"])
        h, s = step(row, torch.eye(len(weights["R"]), dtype=h.dtype), torch.zeros_like(wide["V"]))
        outputs.append(y)
    return torch.stack(outputs), (outputs[-1], h, s[:, : s.shape[-1] - spare])


def onnx_mut_2(weights, x, states):
    """The GRU with the reset before the product, by 1 - sigma(a) = sigma(-a)."""
    turned = weights | {f"{k}_z": -weights[f"{k}_z"] for k in "WUb"}
    return onnx_run("GRU", turned, "zrn", x, states, linear_before_reset=0)


def onnx_mgu(weights, x, states):
    """The same with one gate for both."""
    reset = {f"{k}_r": weights[f"{k}_f"] for k in "WUb"}
    update = {f"{k}_z": -weights[f"{k}_f"] for k in "WUb"}
    return onnx_run("GRU", weights | reset | update, "zrn", x, states, linear_before_reset=0)


def torch_ind_rnn(weights, x, states):
    tensors = {"weight_ih": weights["W"], "weight_hh": torch.diag(weights["u"])}
    tensors["bias_ih"], tensors["bias_hh"] = split_bias(weights["b"])
    module = nn.RNN(x.shape[-1], len(weights["b"]), nonlinearity="relu")
    return torch_run(module, tensors, x, states)


def without_reset(x, z, n, states):
    """torch's GRU with the reset gate exactly 1; z and n are (W, U, b) each."""
    closed = [torch.zeros_like(z[0]), torch.zeros_like(z[1]), torch.full_like(z[2], OPEN)]
    W, U, b = (torch.cat(parts) for parts in zip(closed, z, n, strict=True))
    tensors = {"weight_ih": W, "weight_hh": U}
    tensors["bias_ih"], tensors["bias_hh"] = split_bias(b)
    return torch_run(nn.GRU(x.shape[-1], len(z[2])), tensors, x, states)


def torch_ugrnn(weights, x, states):
    z = weights["W_g"], weights["U_g"], weights["b_g"] + 1
    n = weights["W_c"], weights["U_c"], weights["b_c"]
    return without_reset(x, z, n, states)


def torch_rhn(depth):
    """Each step in depth is one step of torch's GRU; z is 1 - t, by the logistic function."""

    def run(weights, x, states):
        (h,), outputs = states, []
        for row in x:
            for level in range(1, depth + 1):
                W = {k: weights[f"W_{k}"] * (level == 1) for k in "ty"}
                U, b = ({k: weights[f"{m}_{k}{level}"] for k in "ty"} for m in "Ub")
                z, n = (-W["t"], -U["t"], -b["t"]), (W["y"], U["y"], b["y"])
                _, (h,) = without_reset(row[None], z, n, (h,))
            outputs.append(h)
        return torch.stack(outputs), (h,)

    return run


def torch_pooling(keep, values, state, peephole=None):
    """``h_next = f * h + (1 - f) * value``, f = sigma(keep + peephole * h), as torch's GRU.

    Its two inputs are the gate's sum and the value, so every matrix is one or zero. The value is
    made small and its tanh taken back beforehand: so the GRU's tanh gives the small value.
    """
    size = values.shape[-1]
    one, zero = torch.eye(size, dtype=values.dtype), torch.zeros(size, size, dtype=values.dtype)
    diagonal = zero if peephole is None else torch.diag(FAR * peephole)
    tensors = {
        "weight_ih": torch.cat([torch.cat(p, 1) for p in ((zero, zero), (one, zero), (zero, one))]),
        "weight_hh": torch.cat([zero, diagonal, zero]),
        "bias_ih": torch.zeros_like(one[0].repeat(3)),
        "bias_hh": torch.zeros_like(one[0].repeat(3)),
    }
    x = torch.cat([keep, (values / FAR).atanh()], -1)
    output, (final,) = torch_run(nn.GRU(2 * size, size), tensors, x, (state / FAR,))
    return FAR * output, FAR * final


def each_step(keep, values, states):
    """The same between given states and values: each step by itself, as one large batch."""
    flat = [t.flatten(0, 1) for t in (keep, values, states)]
    return torch_pooling(flat[0][None], flat[1][None], flat[2])[1].view_as(values)


def torch_sru(weights, x, states):
    _, c = states
    keep = linear(x, weights["W_f"], weights["b_f"])
    cs, last = torch_pooling(keep, linear(x, weights["W_c"]), c, weights["v_f"])
    old = torch.cat([c[None], cs[:-1]])
    highway = linear(x, weights["W_r"], weights["b_r"]) + weights["v_r"] * old
    output = each_step(highway, linear(x, weights["W_s"]), cs)
    return output, (output[-1], last)


def torch_sru_2017(weights, x, states):
    cs, last = torch_pooling(
        linear(x, weights["W_f"], weights["b_f"]), linear(x, weights["W_c"]), states[1]
    )
    highway = linear(x, weights["W_r"], weights["b_r"])
    output = each_step(highway, linear(x, weights["W_s"]), cs.tanh())
    return output, (output[-1], last)


def torch_qrnn(weights, x, states):
    z, f, o = (linear(x, weights[f"W_{k}"], weights[f"b_{k}"]) for k in "zfo")
    cs, last = torch_pooling(f, z.tanh(), states[1])
    output = each_step(o, torch.zeros_like(cs), cs)
    return output, (output[-1], last)


def torch_min_gru(weights, x, states):
    z, n = (linear(x, weights[f"W_{k}"], weights[f"b_{k}"]) for k in "zn")
    output, last = torch_pooling(-z, n, *states)
    return output, (last,)


def torch_min_lstm(weights, x, states):
    # f / (f + i) = sigma(log f - log i)
    f, i, n = (linear(x, weights[f"W_{k}"], weights[f"b_{k}"]) for k in "fin")
    output, last = torch_pooling(logsigmoid(f) - logsigmoid(i), n, *states)
    return output, (last,)


DIFFERENTIABLE = {
    "ind_rnn": torch_ind_rnn,
    "janet": recurrent_janet,
    "mgu": gated(torchrecurrent.MGUCell, "fn"),
    "min_gru": torch_min_gru,
    "min_lstm": torch_min_lstm,
    "mut_1": recurrent_mut_1,
    "mut_2": gated(torchrecurrent.MUT2Cell, "zrn"),
    "mut_3": gated(torchrecurrent.MUT3Cell, "zrn"),
    "qrnn": torch_qrnn,
    "rhn": torch_rhn(3),
    "scrn": recurrent_scrn,
    "sru": torch_sru,
    "sru_2017": torch_sru_2017,
    "ugrnn": torch_ugrnn,
}
VALUES = {
    "mgu": onnx_mgu,
    "mut_2": onnx_mut_2,
}
