"""The checker of plans: what is ill-formed is refused, by name; what is not is let through."""

from dataclasses import FrozenInstanceError, replace

import pytest
from shared import EveryPrimitive, LayerNormPeephole, Masked
from test_plan import CELLS, ThreeStages

from gatework.cells import resolve
from gatework.compile import check, make_plan
from gatework.compile.plan import Let, Product, Stage
from gatework.errors import PlanError

LSTM = make_plan(resolve("lstm"))
GRU = make_plan(resolve("gru_reset_before"))
PROJECTED = make_plan(resolve("projected_lstm"))


def with_let(name, op, args, size, half="stages"):
    first, *rest = getattr(LSTM, half)
    lets = (*first.lets, Let(name, op, args, size))
    return replace(LSTM, **{half: (Stage(first.products, lets), *rest)})


def with_product(*terms, name="t__99", size="H", stage=0, half="stages", transposed=False):
    stages = list(getattr(LSTM, half))
    product = Product(name, terms, size, transposed)
    stages[stage] = replace(stages[stage], products=(*stages[stage].products, product))
    return replace(LSTM, **{half: tuple(stages)})


def with_outer(*entries):
    return replace(LSTM, product_gradients=(*LSTM.product_gradients, *entries))


OUTER = LSTM.product_gradients
BROKEN = {
    "needs all units of what is computed in its own stage": with_let("t", "mean", ("i",), "h"),
    "tanh.c. has size h, its arguments make H": with_let("t", "tanh", ("c",), "h"),
    "tanh.c. has size F, its arguments make H": with_let("t", "tanh", ("c",), "F"),
    "mean.c. has size H, its arguments make h": with_let("t", "mean", ("c",), "H"),
    "spread.c. has an argument of size H": with_let("t", "spread", ("c",), "H"),
    "the sizes F, H": with_let("t", "add", ("x", "c"), "F"),
    "of numbers alone": with_let("t", "add", (1.0, 2.0), "H"),
    "reads nowhere, which is not set": with_let("t", "tanh", ("nowhere",), "H"),
    "i is set twice": with_let("i", "tanh", ("c",), "H"),
    "no primitive with 1": with_let("t", "cosh", ("c",), "H"),
    "no primitive with 2": with_let("t", "tanh", ("c", "c"), "H"),
    "primitive that no kernel knows": with_let("t", "units", ("c",), "h"),
    "b_i, which is no matrix": with_product(("b_i", "c")),
    "sizes that do not fit U_i": with_product(("U_i", "x")),
    "multiplies b_i, which is not in memory": with_product(("U_i", "b_i")),
    "multiplies p__0, which is not in memory": with_product(("U_i", "p__0")),
    "no product of this half": with_product(("U_i", "h"), transposed=True),
    "t__99 =  is no product": with_product(),
    "U_i @ d__h_next is no product": with_product(("U_i", "d__h_next"), stage=1, half="backward"),
    "multiplies d__h_next, which is not in memory": with_product(
        ("U_i", "d__h_next"), half="backward", transposed=True
    ),
    "saved reads absent": replace(LSTM, saved=(*LSTM.saved, "absent")),
    "b_i is saved, which is no result": replace(LSTM, saved=(*LSTM.saved, "b_i")),
    "c_next is set twice": replace(LSTM, saved=(*LSTM.saved, "c_next")),
    "f is set twice": replace(LSTM, saved=(*LSTM.saved, "f")),
    "is not set at that point": replace(LSTM, saved=()),
    "the step has no such operation": replace(
        GRU, recomputed=(*GRU.recomputed, Let("t__99", "neg", ("h",), "H"))
    ),
    "equation h_next has no value": replace(
        LSTM, values={n: v for n, v in LSTM.values.items() if n != "h_next"}
    ),
    "equation i reads k, which is not set": replace(LSTM, values=LSTM.values | {"i": "k"}),
    "state h has size P, c_next has H": replace(
        PROJECTED, values=PROJECTED.values | {"h_next": "c_next"}
    ),
    "gradients by the states h, odd is c": replace(LSTM, state_gradients={"h": 0.0}),
    "gradients by the vectors .*, odd is W_i": replace(
        LSTM, vector_gradients=LSTM.vector_gradients | {"W_i": 0.0}
    ),
    "gradient by b_i is the number 1.0": replace(
        LSTM, vector_gradients=LSTM.vector_gradients | {"b_i": 1.0}
    ),
    "gradient by x has size F, back__h has H": replace(LSTM, input_gradient="back__h"),
    "gradient by x reads d__x": replace(LSTM, input_gradient="d__x"),
    "no product V @ h": with_outer(("V", "back__h", "h")),
    "no product U_i @ c": with_outer(("U_i", "back__h", "c")),
    "U_f @ h is taken twice": with_outer(*(o for o in OUTER if o[0] == "U_f")),
    "terms of p__0 do not go together": replace(LSTM, product_gradients=OUTER[1:]),
    "terms of p__1 do not go together": replace(
        LSTM, product_gradients=tuple((m, "back__h" if m == "U_f" else d, o) for m, d, o in OUTER)
    ),
    "gradient by p__0 reads nowhere": replace(
        LSTM, product_gradients=tuple((m, "nowhere", o) for m, _, o in OUTER)
    ),
    "which no step keeps": replace(GRU, saved=tuple(n for n in GRU.saved if n != "t__4")),
    "nothing reads t__99 = tanh.c.": with_let("t__99", "tanh", ("c",), "H"),
    "nothing reads t__99 = neg.o.": with_let("t__99", "neg", ("o",), "H", half="backward"),
}


@pytest.mark.parametrize("message", BROKEN)
def test_what_is_wrong_is_named(message):
    with pytest.raises(PlanError, match=message) as raised:
        check(BROKEN[message])
    assert f"The plan of {BROKEN[message].spec.name} is ill-formed" in str(raised.value)


@pytest.mark.parametrize("spec", CELLS, ids=lambda s: s.name)
def test_every_plan_is_well_formed_with_and_without_its_backward_half(spec):
    plan = make_plan(spec)
    check(plan)
    check(replace(plan, backward=(), saved=(), recomputed=()))


def test_a_plan_that_was_checked_stays_as_it_is():
    with pytest.raises(FrozenInstanceError):
        LSTM.saved = ()
    for found in (LSTM.values, LSTM.state_gradients, LSTM.vector_gradients):
        with pytest.raises(TypeError):
            found["h_next"] = "c"


# Every plan that differs from a good one in one place, where that can be told from the plan alone.


def changed(items, place, *now):
    return (*items[:place], *now, *items[place + 1 :])


def mutants_of_let(let):
    for place in range(len(let.args)):
        yield f"{let} reads nowhere", replace(let, args=changed(let.args, place, "nowhere"))
    for size in "FHPfhp":
        if size != let.size:
            yield f"{let} has size {size}", replace(let, size=size)
    yield f"{let} has no arguments", replace(let, args=())


def mutants_of_product(product):
    for place, (matrix, _) in enumerate(product.terms):
        odd = (matrix, "nowhere"), ("x", product.operands[place])
        for term in odd:
            yield f"{product}: {term}", replace(product, terms=changed(product.terms, place, term))
    yield f"{product} turned", replace(product, transposed=not product.transposed)
    for size in "FHP":
        if size != product.size:
            yield f"{product} has size {size}", replace(product, size=size)


def mutants_of_items(items, mutants):
    for place, item in enumerate(items):
        yield f"without {item}", changed(items, place)
        yield f"twice {item}", (*items, item)
        for what, other in mutants(item):
            yield what, changed(items, place, other)


def mutants_of_stages(stages):
    for place, stage in enumerate(stages):
        for lets, what, items in (
            *((True, *m) for m in mutants_of_items(stage.lets, mutants_of_let)),
            *((False, *m) for m in mutants_of_items(stage.products, mutants_of_product)),
        ):
            other = replace(stage, **{"lets" if lets else "products": items})
            yield what, changed(stages, place, other)
    if len(stages) > 1:
        yield "stages in reverse", tuple(reversed(stages))


def mutants(plan):
    for half in ("stages", "backward"):
        for what, stages in mutants_of_stages(getattr(plan, half)):
            yield f"{half}: {what}", replace(plan, **{half: stages})
    for what, lets in mutants_of_items(plan.recomputed, mutants_of_let):
        yield f"recomputed: {what}", replace(plan, recomputed=lets)
    for what, names in mutants_of_items(plan.saved, lambda name: [(f"no {name}", "nowhere")]):
        yield f"saved: {what}", replace(plan, saved=names)
    for field in ("state_gradients", "vector_gradients"):
        found = getattr(plan, field)
        for name in found:
            for now in ("nowhere", 0.5, None):
                rest = {n: v for n, v in found.items() if n != name}
                other = rest if now is None else rest | {name: now}
                yield f"{field}: {name} is {now}", replace(plan, **{field: other})
    for place, entry in enumerate(plan.product_gradients):
        for position in range(3):
            odd = changed(plan.product_gradients, place, changed(entry, position, "nowhere"))
            yield f"outer: {entry}, {position}", replace(plan, product_gradients=odd)
        twice = (*plan.product_gradients, entry)
        yield f"outer: {entry} twice", replace(plan, product_gradients=twice)


PLANS = [LSTM, GRU, *(make_plan(c.spec) for c in (LayerNormPeephole, Masked, ThreeStages))]


@pytest.mark.parametrize(
    "plan", [*PLANS, make_plan(EveryPrimitive.spec)], ids=lambda p: p.spec.name
)
def test_one_change_anywhere_is_refused(plan):
    passed, count = [], 0
    for what, other in mutants(plan):
        count += 1
        try:
            check(other)
        except PlanError:
            continue
        passed.append(what)
    assert passed == []
    assert count > 100
