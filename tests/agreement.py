"""How far a cell is from its witnesses: what the tests compare, and what the page shows.

``PAIRS`` are all witnesses of all cells. Those in ``DIFFERENTIABLE`` give gradients by autograd,
those in ``VALUES`` none, so there central differences of their values stand for them.
"""

import torch
import witnesses
import witnesses_gru
import witnesses_lstm
from shared import beside_of, projection

from gatework.cells import resolve
from gatework.equations.sizes import width_of
from gatework.read import reference

STEPS, BATCH, FEATURES, HIDDEN = 6, 3, 5, 4

DIFFERENTIABLE = (
    witnesses.DIFFERENTIABLE | witnesses_lstm.DIFFERENTIABLE | witnesses_gru.DIFFERENTIABLE
)
VALUES = witnesses.VALUES | witnesses_lstm.VALUES | witnesses_gru.VALUES
PAIRS = [(name, run) for t in (DIFFERENTIABLE, VALUES) for name, run in t.items()]
IDS = [f"{name}-{run.__qualname__.split('.')[0]}" for name, run in PAIRS]


def problem(cell, seed=3, matrices=2.0, vectors=2.0):
    """Named weights, input and states: float64, random, all unequal, all to be differentiated.

    A state that is a matrix comes as the vector of its rows.
    """
    spec = resolve(cell)
    size = projection(cell)
    arrays = reference.random_weights(cell, FEATURES, HIDDEN, **size, seed=seed)
    scaled = {n: (matrices if a.ndim > 1 else vectors) * a for n, a in arrays.items()}
    weights = {n: torch.from_numpy(a).requires_grad_() for n, a in scaled.items()}
    random = torch.Generator().manual_seed(seed)
    widths = {"H": HIDDEN, "P": size.get("proj_size")}
    shapes = [(STEPS, BATCH, FEATURES), *((BATCH, width_of(s.size, widths)) for s in spec.states)]
    x, *states = (
        torch.randn(s, dtype=torch.float64, generator=random).requires_grad_() for s in shapes
    )
    return weights, x, tuple(states)


def ours(spec, weights, x, states):
    """The reference over all steps."""
    step = reference.compiled(spec, "torch")
    outputs = []
    for row in x:
        beside = (b.unsqueeze(-1) for b in beside_of(spec, row).values())
        gates = step(row, *states, *beside, *(weights[p.name] for p in spec.parameters))
        states = tuple(gates[f"{s.name}_next"] for s in spec.states)
        outputs.append(states[0])
    return torch.stack(outputs), states


def loss(output, states):
    """One number in which every output and final state has a weight of its own."""
    flat = torch.cat([output.flatten(), *(s.flatten() for s in states)])
    return flat @ torch.linspace(-1, 1, len(flat), dtype=flat.dtype)


def leaves(weights, x, states):
    return [*weights.values(), x, *states]


def gradients(computed, given):
    """The loss by every leaf; zero by an old output that the cell does not read."""
    return torch.autograd.grad(loss(*computed), leaves(*given), materialize_grads=True)


@torch.no_grad()
def differences(function, tensor, step=1e-5):
    """Central differences of a function with respect to every element of a tensor."""
    found = torch.zeros_like(tensor)
    for position in range(tensor.numel()):
        value = tensor.view(-1)[position].item()
        ends = []
        for moved in (value + step, value - step):
            tensor.view(-1)[position] = moved
            ends.append(function())
        tensor.view(-1)[position] = value
        found.view(-1)[position] = (ends[0] - ends[1]) / (2 * step)
    return found


def values_of(name, witness):
    """Outputs and final states, each beside the witness's."""
    given = problem(name)
    output, states = ours(resolve(name), *given)
    expected, finals = witness(*given)
    return list(zip((output, *states), (expected, *finals), strict=True))


def gradients_of(name, witness):
    """Gradients by every weight, the input and the states, each beside the witness's."""
    given = problem(name)
    got = gradients(ours(resolve(name), *given), given)
    return list(zip(got, gradients(witness(*given), given), strict=True))


def differences_of(name, witness):
    """The same beside central differences of a witness that gives values alone."""
    given = problem(name)
    got = gradients(ours(resolve(name), *given), given)
    expected = [differences(lambda: loss(*witness(*given)), leaf) for leaf in leaves(*given)]
    return list(zip(got, expected, strict=True))


def largest(pairs):
    """The largest deviation, of numbers above 1 relative to them."""
    return max(((a - b).abs() / b.abs().clamp(min=1)).max().item() for a, b in pairs)


# Who each witness is, by the name of the function that asks it.
TORCH, RECURRENT, ONNX = "torch.nn", "torchrecurrent", "onnx (reference operators)"
NORMED = "torch.nn.functional.layer_norm, torch.nn.LSTMCell"
WORDS = {
    "ba_layer_norm": NORMED,
    "by_hand_ordered": "torch.softmax, torch.cumsum, torch.nn.LSTMCell",
    "contrib_layer_norm": NORMED,
    "gated": RECURRENT,
    "nas": RECURRENT,
    "peephole": RECURRENT,
    "phased": f"torch.remainder, {RECURRENT}",
    "xlstm": "xlstm (the authors' own)",
    "xlstm_matrix": "xlstm (the authors' own)",
}


def words(name):
    """All witnesses of a cell, in words."""
    found = []
    for cell, run in PAIRS:
        if cell == name:
            asked = run.__qualname__.split(".")[0]
            library = {"torch": TORCH, "recurrent": RECURRENT, "onnx": ONNX}
            found.append(WORDS.get(asked) or library[asked.partition("_")[0]])
    if name in witnesses_lstm.PUBLISHED:
        found.append("numbers of TensorFlow 1's tests")
    return "; ".join(found)
