"""``Attention`` and ``Pool``: each against its formula, row by row, and what is not seen."""

import copy
import pickle

import pytest
import torch
from shared import randoms
from tolerances import EXACT, SINGLE

import gatework as gw
from gatework.errors import LayerError, ShapeError

B, S, T, Q, M = 3, 2, 5, 4, 3
LENGTHS = [2, 0, 5]
SIZES = {"dot": (Q, Q), "general": (Q, M), "additive": (Q, M, "additive", 6)}
each_score = pytest.mark.parametrize("score", SIZES)
each_kind = pytest.mark.parametrize("kind", ["last", "mean", "max", "attention"])


def same(got, expected):
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, **EXACT)


def gradients(tensors, leaves):
    total = sum((t * t.detach().cos() + 0.3 * t * t).sum() for t in tensors)
    return torch.autograd.grad(total, leaves)


def attention(score, **options):
    torch.manual_seed(0)
    query, memory, *rest = SIZES[score]
    options |= {"score": score} if not rest else {"hidden_size": rest[1], "score": score}
    return gw.Attention(query, memory, **options).double()


def score_of(module, q, m):
    """One number for one query (Q,) and one step (M,) of the memory."""
    if module.score == "dot":
        return (q * m).sum()
    W = module.memory_map.weight
    if module.score == "general":
        return torch.einsum("i,ij,j->", q, W, m)
    terms = (module.query_map.weight * q).sum(1) + (W * m).sum(1)
    return (module.score_map.weight[0] * terms.tanh()).sum()


def by_hand(module, query, memory, seen):
    """Row by row: query (B, S, Q), memory (B, T, M), seen (B, S, T)."""
    contexts, weights = [], []
    for row in range(len(query)):
        for asked in range(query.shape[1]):
            steps = [t for t in range(memory.shape[1]) if seen[row, asked, t]]
            scores = {t: score_of(module, query[row, asked], memory[row, t]).exp() for t in steps}
            total = sum(scores.values())
            zero = memory.new_zeros(())
            weight = [scores[t] / total if t in scores else zero for t in range(memory.shape[1])]
            context = sum((weight[t] * memory[row, t] for t in steps), zero * memory[row, 0])
            contexts.append(context)
            weights.append(torch.stack(weight))
    size = query.shape[:2]
    return torch.stack(contexts).unflatten(0, size), torch.stack(weights).unflatten(0, size)


def inputs(score):
    query, memory = SIZES[score][:2]
    return randoms((B, S, query), (B, T, memory), seed=2)


def up_to(lengths):
    return torch.arange(T) < torch.tensor(lengths).unsqueeze(1)


@each_score
@pytest.mark.parametrize("masked", ["all", "lengths", "mask", "both"])
def test_attention_is_its_formula(score, masked):
    module = attention(score, batch_first=True)
    query, memory = inputs(score)
    seen, options = torch.ones(B, S, T, dtype=torch.bool), {}
    if masked in ("lengths", "both"):
        options["lengths"] = LENGTHS
        seen = seen & up_to(LENGTHS).unsqueeze(1)
    if masked in ("mask", "both"):
        options["mask"] = torch.rand(B, S, T, generator=torch.Generator().manual_seed(1)) < 0.6
        options["mask"][2, 1] = False
        seen = seen & options["mask"]
    got = module(query, memory, **options)
    expected = by_hand(module, query, memory, seen)
    same(got, expected)
    leaves = [query, memory, *module.parameters()]
    same(gradients(got, leaves), gradients(expected, leaves))


@each_score
def test_the_order_of_the_axes_and_one_query_are_forms_of_the_same(score):
    query, memory = inputs(score)
    context, weights = attention(score, batch_first=True)(query, memory, LENGTHS)
    module = attention(score)
    turned = module(query.transpose(0, 1), memory.transpose(0, 1), LENGTHS)
    same([turned[0].transpose(0, 1), turned[1]], [context, weights])
    mask = up_to(LENGTHS)
    same(module(query[:, 1], memory.transpose(0, 1), mask=mask), [context[:, 1], weights[:, 1]])


@each_score
def test_what_is_not_seen_may_be_anything(score):
    module = attention(score, batch_first=True)
    query, memory = (t.detach() for t in inputs(score))
    expected = module(query, memory, LENGTHS)
    memory = memory.masked_fill(~up_to(LENGTHS).unsqueeze(-1), torch.nan).requires_grad_()
    got = module(query, memory, LENGTHS)
    same(got, expected)
    assert not any(t[1].any() for t in got)
    for gradient in gradients(got, [memory, *module.parameters()]):
        assert gradient.isfinite().all()


def test_the_outputs_of_a_decoder_look_at_those_of_an_encoder():
    encoder = gw.GRU(2, 3, bidirectional=True, batch_first=True)
    decoder = gw.LSTM(2, 4, batch_first=True)
    attend = gw.Attention(4, 6, score="general", batch_first=True)
    memory, _ = encoder(torch.randn(B, T, 2), lengths=[5, 3, 2])
    query, _ = decoder(torch.randn(B, S, 2))
    context, weights = attend(query, memory, lengths=[5, 3, 2])
    assert context.shape == (B, S, 6)
    torch.testing.assert_close(weights.sum(-1), torch.ones(B, S))


@pytest.mark.parametrize(
    ("arguments", "options", "says"),
    [
        ((3,), {"score": "cosine"}, "score is one of 'dot', 'general', 'additive'"),
        ((3, 4), {}, "Use score='general'"),
        ((3,), {"hidden_size": 2}, "has no hidden_size"),
    ],
)
def test_an_attention_that_cannot_be_is_refused(arguments, options, says):
    with pytest.raises(LayerError, match=says):
        gw.Attention(*arguments, **options)


def test_wrong_inputs_of_attention_are_refused():
    module = attention("general", batch_first=True)
    query, memory = inputs("general")
    for arguments, says in [
        ((query, memory[0]), r"the memory is \(B, T, M\) with M=3"),
        ((query, query), "the memory is"),
        ((memory, memory), r"the query is \(B, Q\) or \(B, S, Q\)"),
        ((query[:2], memory), "a batch of 2, the memory .* one of 3"),
        ((query, memory, [1, 2]), "one for each of the 3"),
        ((query, memory, None, torch.ones(B, T)), "the mask is bool"),
        ((query, memory, None, up_to(LENGTHS).T), r"\(3, 5\) = \(B, T\)"),
    ]:
        with pytest.raises(ShapeError, match=says):
            module(*arguments)


# Pool.


def pool(kind, **options):
    torch.manual_seed(0)
    return gw.Pool(kind, 4, **options).double()


def pooled_by_hand(module, x):
    """One sequence of at least one step, (length, 4)."""
    if module.kind == "last":
        return torch.cat([x[-1, :2], x[0, 2:]]) if module.bidirectional else x[-1]
    if module.kind == "mean":
        return sum(x) / len(x)
    if module.kind == "max":
        return x.max(0).values
    u = module.score.weight[0]
    scores = torch.stack([u @ (module.map.weight @ h + module.map.bias).tanh() for h in x]).exp()
    return sum(s * h for s, h in zip(scores, x, strict=True)) / scores.sum()


@each_kind
@pytest.mark.parametrize("options", [{}, {"bidirectional": True}, {"batch_first": True}])
def test_a_pool_is_its_formula_up_to_each_end(kind, options):
    module = pool(kind, **options)
    (x,) = randoms((T, B, 4))
    given = x.transpose(0, 1) if module.batch_first else x
    for lengths in (LENGTHS, None):
        got = module(given, lengths)
        rows = zip(x.unbind(1), lengths or [T] * B, strict=True)
        expected = [pooled_by_hand(module, r[:n]) if n else x.new_zeros(4) for r, n in rows]
        expected = torch.stack(expected)
        same([got], [expected])
        leaves = [x, *module.parameters()]
        same(gradients([got], leaves), gradients([expected], leaves))
    same([module(x[:, 0])], [pooled_by_hand(module, x[:, 0])])


@each_kind
def test_a_pool_does_not_see_the_padding(kind):
    (x,) = randoms((T, B, 4), requires_grad=False)
    module = pool(kind)
    expected = module(x, LENGTHS)
    x = x.masked_fill(~up_to(LENGTHS).T.unsqueeze(-1), torch.nan).requires_grad_()
    got = module(x, LENGTHS)
    same([got], [expected])
    assert not got[1].any()
    (gradient,) = gradients([got], [x])
    assert gradient.isfinite().all()
    assert not gradient[~up_to(LENGTHS).T].any()


def test_a_pool_reads_what_it_needs_from_a_layer():
    layer = gw.Recurrent("mgu", 2, 3, bidirectional=True, batch_first=True, dtype=torch.float64)
    made = gw.Pool.after(layer, "attention")
    assert repr(made).startswith(
        "Pool(\n  'attention', size=6, bidirectional=True, batch_first=True"
    )
    x = randoms((B, T, 2))[0]
    assert made(layer(x)[0]).shape == (B, 6)
    both = gw.Bidirectional("mgu", 2, 3, merge="sum")
    assert gw.Pool.after(both, "mean")(both(torch.randn(T, B, 2))[0]).shape == (B, 3)
    with pytest.raises(LayerError, match="merge='sum'; 'last' wants them side by side"):
        gw.Pool.after(both, "last")
    with pytest.raises(LayerError, match="merge=None"):
        gw.Pool.after(gw.Bidirectional("mgu", 2, 3, merge=None), "mean")
    stack = gw.Stack([gw.Bidirectional("mgu", 4, 2)], residual=True)
    output, _ = stack(torch.randn(T, B, 4))
    last = gw.Pool.after(stack, "last")(output)
    same([last], [torch.cat([output[-1, :, :2], output[0, :, 2:]], -1)])


@pytest.mark.parametrize("kind", ["last", "mean", "max"])
def test_images_are_pooled_over_time(kind):
    (x,) = randoms((T, B, 4, 2, 3))
    module = pool(kind, bidirectional=True)
    places = x.movedim(2, -1).flatten(1, 3)
    lengths = torch.tensor(LENGTHS)
    expected = module(places, lengths.repeat_interleave(6)).view(B, 2, 3, 4).movedim(-1, 1)
    same([module(x, lengths)], [expected])


def test_wrong_pools_are_refused():
    with pytest.raises(LayerError, match="one of 'last', 'mean', 'max', 'attention'; got 'min'"):
        gw.Pool("min")
    with pytest.raises(LayerError, match="wants size"):
        gw.Pool("attention")
    (x,) = randoms((T, B, 3))
    for kind, given, says in [
        ("attention", (x,), "4 features on the last of"),
        ("mean", (x[:0],), "no step"),
        ("mean", ((x, x),), "takes a tensor.*got tuple"),
        ("max", (x, [1]), "one for each of the 3"),
        ("last", (x,), "an even number, got 3"),
    ]:
        with pytest.raises(ShapeError, match=says):
            pool(kind, bidirectional=True)(*given)


@pytest.mark.parametrize("travel", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_is_the_same(travel):
    query, memory = inputs("additive")
    attend, head = attention("additive", batch_first=True), pool("attention")
    for module, given in ((attend, (query, memory, LENGTHS)), (head, (query, [1, 2]))):
        other = travel(module)
        assert repr(other) == repr(module)
        result = module(*given)
        fresh = copy.deepcopy(module)
        for p in fresh.parameters():
            p.data.fill_(0.3)
        fresh.load_state_dict(module.state_dict(), strict=True)
        for one in (other, fresh):
            torch.testing.assert_close(one(*given), result, **EXACT)
        arguments = [a.float() if isinstance(a, torch.Tensor) else a for a in given]
        single = copy.deepcopy(module).float()(*arguments)
        single, result = (r if isinstance(r, tuple) else (r,) for r in (single, result))
        for a, b in zip(single, result, strict=True):
            assert a.dtype == torch.float32
            torch.testing.assert_close(a.double(), b, **SINGLE)


def test_gradcheck():
    query, memory = inputs("additive")
    attend = attention("additive", batch_first=True)
    assert torch.autograd.gradcheck(
        lambda q, m: attend(q, m, LENGTHS), [query[:, :1], memory], fast_mode=True
    )
    (x,) = randoms((3, 2, 4))
    assert torch.autograd.gradcheck(lambda v: pool("attention")(v, [2, 3]), [x])


@pytest.mark.parametrize("nothing", [None, (), 3])
def test_a_final_output_of_no_states_is_refused(nothing):
    with pytest.raises(ShapeError, match="These are no states of LSTM: expected"):
        gw.final_output(gw.LSTM(3, 4), nothing)
