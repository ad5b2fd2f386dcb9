"""What Python, NumPy and torch would do to a value, refused on a symbol with what to write.

``Valueless`` is the base of the expression nodes. Its special methods are set from outside the
class, so that a type checker and an editor still see that there is no ``h[0]`` and no ``W.T``.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable
from typing import Any, NoReturn

from gatework.equations.refusal import functions, name_in_body, refusal, where_from
from gatework.errors import CellError

# NumPy's name for what Python does in ``number * symbol`` when the number is NumPy's.
REFLECTED = {
    "add": "__radd__",
    "subtract": "__rsub__",
    "multiply": "__rmul__",
    "divide": "__rtruediv__",
}
# In the messages, {0} is the symbol and {1} the functions of a cell.
REFUSED = {
    "__bool__ __lt__ __le__ __gt__ __ge__": "A cell's equations hold symbols, not values: `if`, "
    "`and`, `or` and comparisons cannot be used on them, nor max and min. Write the choice as "
    "arithmetic on gates; the larger of a and b is maximum(a, b).",
    "__float__ __int__": "{0} is a symbol, not a value: neither math's functions nor float() "
    "take it. Write the cell's function, as in tanh({0}); there are {1}.",
    "__getitem__": "{0} cannot be indexed: a symbol has no parts. Declare a symbol for each part.",
    "__iter__ __len__": "{0} is one symbol: it has no length and cannot be unpacked or looped "
    "over. Declare each symbol, as in `b_i, b_f = vector(2)`.",
    "__call__": "{0} is a symbol, not a function. Write `{0} @ ...` for a matrix product, "
    "`{0} * ...` for an elementwise one.",
    "__rmatmul__": "The left side of @ is a declared matrix. Declare one as `W = Matrix({0})`, "
    "or several as `W_i, W_f = matrix(2, {0})`.",
}
ABSENT = {
    "+ before a symbol": "__pos__",
    "** with a symbol as the exponent": "__rpow__",
    "//": "__floordiv__ __rfloordiv__",
    "%": "__mod__ __rmod__",
    "divmod": "__divmod__ __rdivmod__",
    "round": "__round__",
    "&": "__and__ __rand__",
    "|": "__or__ __ror__",
    "^": "__xor__ __rxor__",
    "~": "__invert__",
    "<<": "__lshift__ __rlshift__",
    ">>": "__rshift__ __rrshift__",
}
REFUSED |= {
    names: f"A cell has no {sign}, used here on {{0}}. Write it with +, -, *, /, @ and ** 2, or "
    f"with a function: {{1}}."
    for sign, names in ABSENT.items()
}


class Valueless:
    """Stands for a value and has none."""

    __slots__ = ()


class NoAttributeError(CellError, AttributeError):
    """A symbol has no such attribute; ``hasattr`` understands this one."""


def shown(value: object) -> str:
    """How a value is called in an error: by its name in the class body, if it has one."""
    name = name_in_body(value)
    if name is not None:
        return name
    return "..." if isinstance(value, Valueless) else reprlib.repr(value)


def _refusing(message: str) -> Callable[..., NoReturn]:
    def special(self: Valueless, *_: object) -> NoReturn:
        raise refusal(message.format(shown(self), functions()))

    return special


def _from_numpy(self: Valueless, ufunc: Any, method: str, *inputs: Any, **_: Any) -> Any:
    reflected = REFLECTED.get(ufunc.__name__)
    if reflected is None or method != "__call__" or isinstance(inputs[0], Valueless):
        raise _array_function("np", ufunc)
    return getattr(self, reflected)(inputs[0])  # np.float64(0.5) * h


def _from_numpy_function(_: Valueless, function: Any, *__: Any) -> NoReturn:
    raise _array_function("np", function)


def _from_torch(_: type[Valueless], function: Any, *__: Any) -> NoReturn:
    raise _array_function("torch", function)


def _array_function(library: str, function: Any) -> CellError:
    name = function.__name__.strip("_")
    message = f"{library}.{name} is for arrays; a cell holds symbols and numbers. "
    return refusal(message + where_from(name))


def _attribute(self: Valueless, name: str) -> NoReturn:
    if name.startswith("__"):  # asked for by Python and its tools, such as copy
        raise AttributeError(name)
    symbol = shown(self)
    advice = f"Write a function in front, as in tanh({symbol}); there are {functions()}."
    if name in ("T", "mT", "t", "transpose"):
        advice = "A matrix is not turned over; declare a second one, as in `V = Matrix(h)`."
    raise refusal(f"{symbol} has no attribute {name}: it is a symbol. {advice}", NoAttributeError)


for _names, _message in REFUSED.items():
    for _name in _names.split():
        setattr(Valueless, _name, _refusing(_message))
for _name, _method in {
    "__getattr__": _attribute,
    "__array_ufunc__": _from_numpy,
    "__array_function__": _from_numpy_function,
    "__torch_function__": classmethod(_from_torch),
}.items():
    setattr(Valueless, _name, _method)
