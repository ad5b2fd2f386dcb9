"""A plan followed literally over a whole sequence, in torch: what a kernel must compute."""

import torch

from gatework.compile.plan import Plan
from gatework.equations.ops import PRIMITIVES
from gatework.equations.spec import NEXT

CALLS = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "neg": torch.neg,
}


def apply(op, args):
    if op in CALLS:
        tensors = [a for a in args if isinstance(a, torch.Tensor)]
        return CALLS[op](*(torch.as_tensor(a, dtype=tensors[0].dtype) for a in args))
    return eval(PRIMITIVES[op].torch, {"torch": torch, **dict(zip("ab", args, strict=False))})


class Follower:
    """Runs forward and backward for weights by name, x (T, B, F) and states (B, size)."""

    def __init__(self, plan: Plan, weights: dict, x, states: dict, masks: dict):
        self.plan, self.weights, self.x = plan, weights, x
        self.leaves = {**weights, **masks}
        self.states = [states]
        self.kept = []

    def run(self, scope, products, lets):
        for p in products:
            turned = [
                (self.weights[m] if p.transposed else self.weights[m].T, v) for m, v in p.terms
            ]
            scope[p.name] = sum(scope[v] @ matrix for matrix, v in turned)
        for let in lets:
            args = [scope[a] if isinstance(a, str) else a for a in let.args]
            scope[let.name] = apply(let.op, args)
            if let.op == "spread":
                units = next(p.shape[0] for n, p in self.sized() if n == let.size)
                scope[let.name] = scope[let.name].expand(-1, units)

    def sized(self):
        """Size letters, each with a parameter that has so many rows."""
        return [(p.rows, self.weights[p.name]) for p in self.plan.spec.parameters]

    def forward(self):
        """The states after every step, one dict each."""
        plan = self.plan
        for x in self.x:
            scope = {**self.leaves, **self.states[-1], plan.spec.input: x}
            for stage in plan.stages:
                self.run(scope, stage.products, stage.lets)
            self.kept.append({name: scope[name] for name in plan.saved})
            self.states.append(
                {s.name: scope[plan.values[s.name + NEXT]] for s in plan.spec.states}
            )
        return self.states[1:]

    def backward(self, gradients):
        """Gradients by parameter, input and first states; ``gradients[t][state]`` come in."""
        plan, spec = self.plan, self.plan.spec
        total = {name: torch.zeros_like(w) for name, w in self.weights.items()}
        by_x = torch.zeros_like(self.x)
        later = {s.name: torch.zeros_like(self.states[0][s.name]) for s in spec.states}
        for t in reversed(range(len(self.x))):
            scope = {**self.leaves, **self.states[t], spec.input: self.x[t], **self.kept[t]}
            for s in spec.states:
                scope[plan.values[s.name + NEXT]] = self.states[t + 1][s.name]
                scope[f"d__{s.name}{NEXT}"] = gradients[t][s.name] + later[s.name]
            self.run(scope, (), plan.recomputed)
            for stage in plan.backward:
                self.run(scope, stage.products, stage.lets)
            value = lambda v, scope=scope: scope[v] if isinstance(v, str) else v
            later = {
                n: value(v) + torch.zeros_like(later[n]) for n, v in plan.state_gradients.items()
            }
            for matrix, by_product, operand in plan.product_gradients:
                total[matrix] += scope[by_product].T @ scope[operand]
                if operand == spec.input:
                    by_x[t] += scope[by_product] @ self.weights[matrix]
            for vector, v in plan.vector_gradients.items():
                total[vector] += value(v).sum(0) if isinstance(v, str) else 0.0
            by_x[t] += value(plan.input_gradient)
        return total, by_x, later
