"""From a cell to a plan that a kernel can follow: forward, gradient, what is kept between.

This floor imports neither torch nor NumPy: kernels are compiled from it when the package is built.
"""

from gatework.compile.check import check
from gatework.compile.flatten import flatten
from gatework.compile.gradient import differentiate
from gatework.compile.plan import Let, Plan, Product, Stage
from gatework.equations import Spec

__all__ = ["Let", "Plan", "Product", "Stage", "check", "make_plan"]


def make_plan(spec: Spec) -> Plan:
    """The checked plan of a cell."""
    plan = differentiate(flatten(spec))
    check(plan)
    return plan
