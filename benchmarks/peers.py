"""Peers from outside torch that join the rotation where they are installed, as nn.LSTM computes."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import nn

from gatework.inspect.speed import INFERENCE, TRAINING, Shape, Work

PEER = "nn.LSTM"


class OnnxRuntime:
    """torch's LSTM in ONNX Runtime; inference alone."""

    name, peers, modules = "ONNX Runtime", (PEER,), ("onnxruntime", "onnxscript")
    how = "nn.LSTM as torch exports it, inference alone"

    def works(self, shape: Shape) -> dict[str, Work]:
        """A session on as many threads as torch has."""
        import onnxruntime  # noqa: PLC0415

        layer, x = _layer_and_input(shape)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        # Else its threads spin on, into the turn of the next contender.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        session = onnxruntime.InferenceSession(_exported(layer, x), options)
        feed = {session.get_inputs()[0].name: x.numpy()}
        _compare(self.name, session.run(None, feed)[0], layer, x)
        return {INFERENCE: lambda: session.run(None, feed)}


class Jax:
    """The LSTM as one writes it in JAX: the input's products at once, then a jitted scan."""

    name, peers, modules = "JAX", (PEER,), ("jax",)
    how = "a jitted `lax.scan` behind one product of the whole input, on the threads that it takes"

    def works(self, shape: Shape) -> dict[str, Work]:
        """Inference, and the gradients of all weights."""
        import jax  # noqa: PLC0415

        layer, x = _layer_and_input(shape)
        weights = tuple(jax.numpy.asarray(w.detach().numpy()) for w in layer.parameters())
        given = jax.numpy.asarray(x.numpy())
        run = _lstm(jax)
        infer = jax.jit(run)
        train = jax.jit(jax.grad(lambda w, a: run(w, a).sum()))
        _compare(self.name, np.asarray(infer(weights, given)), layer, x)
        return {
            INFERENCE: lambda: infer(weights, given).block_until_ready(),
            TRAINING: lambda: jax.block_until_ready(train(weights, given)),
        }


PEERS = (OnnxRuntime(), Jax())


def installed() -> list[OnnxRuntime | Jax]:
    """Those whose packages are there."""
    return [p for p in PEERS if all(find_spec(m) is not None for m in p.modules)]


def versions() -> str:
    """Those that took part, in words."""
    return "; ".join(f"{p.name} {version(p.modules[0])} ({p.how})" for p in installed())


def _exported(layer: nn.LSTM, x: torch.Tensor) -> bytes:
    """The ONNX model, without what the exporter says of its own code on the way."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(layer.eval(), (x,), dynamo=True, verbose=False)
    return program.model_proto.SerializeToString()


def _lstm(jax: Any) -> Callable[..., Any]:
    """All steps: torch's four tensors and (T, B, F) to (T, B, H)."""

    def run(weights: Any, x: Any) -> Any:
        by_input, by_state, *biases = weights
        brought = x @ by_input.T + sum(biases)
        zero = jax.numpy.zeros((x.shape[1], by_state.shape[1]), x.dtype)

        def step(states: Any, row: Any) -> Any:
            h, c = states
            i, f, g, o = jax.numpy.split(row + h @ by_state.T, 4, axis=1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jax.numpy.tanh(g)
            h = jax.nn.sigmoid(o) * jax.numpy.tanh(c)
            return (h, c), h

        return jax.lax.scan(step, (zero, zero), brought)[1]

    return run


def _layer_and_input(shape: Shape) -> tuple[nn.LSTM, torch.Tensor]:
    steps, batch, features, hidden = shape
    return nn.LSTM(features, hidden), torch.randn(steps, batch, features)


def _compare(name: str, output: np.ndarray, layer: nn.LSTM, x: torch.Tensor) -> None:
    """A peer that computes something else has no place here."""
    with torch.no_grad():
        truth = layer(x)[0].numpy()
    # A thousand steps in float32; approximate activations of other libraries err this much.
    np.testing.assert_allclose(output, truth, rtol=1e-3, atol=1e-4, err_msg=name)
