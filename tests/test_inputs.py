"""What a network reads of a window: values, masks, steps since the last value, categories."""

import numpy as np
import torch

from gatework.data.windows import Windows
from gatework.tasks.inputs import Inputs, Layout, embedding_size, steps_since

NAN = float("nan")


def batch_of(values, context, horizon, origin, ahead=()):
    """The batch of one window of a series (T, F)."""
    scaled = torch.tensor(values, dtype=torch.float64)[None]
    places = np.array([0]), np.array([origin])
    return Windows(scaled, *places, context, horizon, ahead).batch(np.array([0]))


def test_a_number_is_a_value_and_a_mask():
    batch = batch_of([[1.0, 7.0], [NAN, 8.0], [3.0, NAN], [4.0, 5.0]], 3, 1, 3)
    read = Inputs(Layout((0, 1)), relative=False)(batch)
    assert read.context[0].tolist() == [[1, 7, 1, 1], [0, 8, 0, 1], [3, 0, 1, 0]]
    assert (read.future.shape, read.level.tolist()) == ((1, 1, 0), [[0.0]])


def test_the_target_is_read_relative_to_its_last_value():
    batch = batch_of([[1.0, 7.0], [3.0, 8.0], [NAN, 9.0], [4.0, 5.0]], 3, 1, 3)
    read = Inputs(Layout((0, 1)))(batch)
    assert read.level.tolist() == [[3.0]]
    assert read.context[0, :, :2].tolist() == [[-2, 7], [0, 8], [0, 9]]


def test_steps_since_the_last_value_are_counted():
    seen = torch.tensor([[1, 0], [0, 0], [0, 1], [1, 0], [0, 0]], dtype=torch.float32)[None]
    assert steps_since(seen)[0].T.tolist() == [[0, 1, 2, 0, 1], [1, 2, 0, 1, 2]]
    values = [[1.0], [NAN], [NAN], [4.0], [5.0]]
    read = Inputs(Layout((0,), gaps=(0,)))(batch_of(values, 4, 1, 4))
    assert read.context[0, :, 2].tolist() == [0, 0.25, 0.5, 0]


def test_the_future_is_read_only_of_columns_that_are_known_ahead():
    values = np.arange(24.0).reshape(6, 4)
    values[4, 1] = NAN
    batch = batch_of(values, 3, 2, 3, ahead=(1, 3))
    inputs = Inputs(Layout((0, 1, 2), plain=(3,), ahead=(1, 3)), relative=False)
    read = inputs(batch)
    assert read.future[0].tolist() == [[13, 1, 15], [0, 0, 19]]
    assert (inputs.context_size, inputs.future_size) == (read.context.shape[2], 3) == (7, 3)


def test_a_category_is_a_row_of_an_embedding():
    batch = batch_of([[1.0, 2.0], [2.0, NAN], [3.0, 1.0]], 2, 1, 2, ahead=(1,))
    inputs = Inputs(Layout((0,), categories=((1, 5),), ahead=(1,))).double()
    table = inputs.embeddings["1"].weight
    read = inputs(batch)
    assert torch.equal(read.context[0, :, 2:], table[[2, 0]])  # what is missing is row 0
    assert torch.equal(read.future[0], table[[1]])
    assert table[0].tolist() == [0.0] * 3
    assert [embedding_size(rows) for rows in (2, 5, 8, 99, 1000)] == [1, 3, 4, 50, 50]
