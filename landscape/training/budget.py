"""Equal budgets: how many epochs an optimizer may have, if it evaluates several gradients a step."""

import ast
import dataclasses
import operator
import re
from collections.abc import Mapping
from typing import Literal

from landscape.optim import OPTIMIZERS
from landscape.training.recipe import Recipe

Budget = Literal["epochs", "gradients"]
_OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}


def within_budget(recipe: Recipe, budget: Budget, *, measured: float) -> Recipe:
    """The recipe with as many epochs as its budget allows.

    With ``gradients``, ``epochs`` is the budget of an optimizer that evaluates one gradient a step: one that needs
    two has half as many, and a warm-up half as long.

    Args:
        recipe: With the epochs that were asked for.
        budget: What is equal for all optimizers.
        measured: Gradients a step of the optimizer, where the table cannot say.
    """
    if budget == "epochs":
        return recipe
    cost = gradients_per_step(recipe.optimizer) or measured
    epochs = max(1, round(recipe.epochs / cost))
    warmup = min(epochs - 1, round(recipe.warmup_epochs / cost))
    return dataclasses.replace(recipe, epochs=epochs, warmup_epochs=warmup)


def gradients_per_step(optimizer: str) -> float | None:
    """What the table of optimizers says that a step costs, with these options; ``None`` where it depends on more.

    Args:
        optimizer: With options, ``looksam:k=10``.
    """
    specification = OPTIMIZERS.parse(optimizer)
    cost = str(OPTIMIZERS[specification.name].cost)
    options = OPTIMIZERS.settings(specification)
    chosen = [part.partition(":") for part in cost.split(";")]
    modes = {mode.strip(): formula for mode, colon, formula in chosen if colon}
    text = modes.get(str(options.get("mode")), cost.split(";")[0])
    formula, _, typical = text.partition(",")
    known = {**options, **_typical(typical)}
    try:
        return _value(ast.parse(formula.replace("·", "*").strip(), mode="eval").body, known)
    except (SyntaxError, KeyError, TypeError, ValueError, ZeroDivisionError):
        return None


def _typical(text: str) -> dict[str, float]:
    """``"ζ ≈ 0.5"`` as a value for ζ."""
    found = re.fullmatch(r"\s*(\w+)\s*≈\s*([\d.]+)\s*", text)
    return {found[1]: float(found[2])} if found else {}


def _value(node: ast.expr, names: Mapping[str, object]) -> float:
    """Of a formula with sums and quotients of numbers and options."""
    if isinstance(node, ast.BinOp):
        return float(_OPERATORS[type(node.op)](_value(node.left, names), _value(node.right, names)))
    if isinstance(node, ast.Constant):
        return float(node.value)  # type: ignore[arg-type]
    if isinstance(node, ast.Name):
        return float(names[node.id])  # type: ignore[arg-type]
    raise ValueError(ast.dump(node))
