"""The drop-ins inside models that others compile or export."""

import pytest
import torch
from torch import nn

import gatework as gw


class Model(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer
        self.head = nn.Linear(7, 1)

    def forward(self, x):
        return self.head(self.layer(x)[0])


MADE = {
    "LSTM": lambda: gw.LSTM(5, 7),
    "GRU": lambda: gw.GRU(5, 7),
    "RNN": lambda: gw.RNN(5, 7),
    "peephole_lstm": lambda: gw.Recurrent("peephole_lstm", 5, 7),
}


@pytest.mark.parametrize("name", MADE)
def test_a_compiled_model_trains_as_the_plain_one(name):
    torch.manual_seed(0)
    model, x = Model(MADE[name]()), torch.randn(4, 3, 5)
    plain = model(x)
    plain.sum().backward()
    want = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    compiled = torch.compile(model, backend="aot_eager")
    output = compiled(x)
    output.sum().backward()
    torch.testing.assert_close(output, plain)
    for parameter, gradient in zip(model.parameters(), want, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN"])
def test_an_exported_model_gives_the_same(name):
    model, x = Model(MADE[name]()).eval(), torch.randn(4, 3, 5)
    exported = torch.export.export(model, (x,))
    torch.testing.assert_close(exported.module()(x), model(x))
