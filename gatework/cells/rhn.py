"""The recurrent network that takes several steps in depth for each step in time."""

from types import new_class
from typing import Any

from gatework.equations import Cell, Input, State, matrix, sigmoid, tanh, vector
from gatework.errors import CellError


class RHN(Cell):
    """Recurrent highway network of depth 3; ``rhn(depth)`` makes one of any depth."""

    source = "Zilly et al. 2017, arXiv:1607.03474"
    convention = "the carry gate is coupled, c = 1 - t; the input enters at the first depth alone"
    use = (
        "Where a step in time needs several in depth; the paper has language models at the level "
        "of characters and words. Each depth waits for the one before, so steps are slow."
    )
    deviations = (
        "The paper also writes the carry gate as one of its own; here it is coupled, as in its "
        "experiments."
    )

    x, h = Input(), State()
    W_y, W_t = matrix(2, x)
    U_y1, U_t1, U_y2, U_t2, U_y3, U_t3 = matrix(6, h)
    b_y1, b_t1, b_y2, b_t2, b_y3, b_t3 = vector(6)

    y_1 = tanh(W_y @ x + U_y1 @ h + b_y1)
    t_1 = sigmoid(W_t @ x + U_t1 @ h + b_t1)
    s_1 = y_1 * t_1 + h * (1 - t_1)
    y_2 = tanh(U_y2 @ s_1 + b_y2)
    t_2 = sigmoid(U_t2 @ s_1 + b_t2)
    s_2 = y_2 * t_2 + s_1 * (1 - t_2)
    y_3 = tanh(U_y3 @ s_2 + b_y3)
    t_3 = sigmoid(U_t3 @ s_2 + b_t3)
    h_next = y_3 * t_3 + s_2 * (1 - t_3)


def rhn(depth: int) -> type[Cell]:
    """The recurrent highway network of any depth, by the equations of ``RHN``.

    Raises:
        CellError: the depth is no whole number from 1 on.
    """
    if isinstance(depth, bool) or not isinstance(depth, int) or depth < 1:
        raise CellError(f"The depth of an RHN is a whole number from 1 on, got {depth!r}.")

    def body(names: dict[str, Any]) -> None:
        names["__doc__"] = f"Recurrent highway network of depth {depth}."
        for text in ("source", "convention", "use", "deviations"):
            names[text] = getattr(RHN, text)
        names["x"], names["h"] = x, h = Input(), State()
        names["W_y"], names["W_t"] = W_y, W_t = matrix(2, x)
        levels = [str(level) for level in range(1, depth + 1)]
        for level in levels:
            names[f"U_y{level}"], names[f"U_t{level}"] = matrix(2, h)
        for level in levels:
            names[f"b_y{level}"], names[f"b_t{level}"] = vector(2)
        s: Any = h
        for level in levels:
            of_y, of_t = names[f"U_y{level}"] @ s, names[f"U_t{level}"] @ s
            if level == "1":
                of_y, of_t = W_y @ x + of_y, W_t @ x + of_t
            y = names[f"y_{level}"] = tanh(of_y + names[f"b_y{level}"])
            t = names[f"t_{level}"] = sigmoid(of_t + names[f"b_t{level}"])
            s = y * t + s * (1 - t)
            names["h_next" if level == levels[-1] else f"s_{level}"] = s

    return new_class(f"{RHN.__name__}{depth}", (Cell,), exec_body=body)
