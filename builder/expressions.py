"""Arithmetic on variables, ``${2 * width}``: a small language that is walked, never evaluated as Python.

Numbers, names of variables, + - * // / %, brackets, indexing with a number, min, max and round_to(x, multiple).
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from lmnet.builder.problems import did_you_mean

MAX_LENGTH = 200
MAX_NUMBER = 2**53
_WRAPPED = re.compile(r"\$\{(.*)\}", re.DOTALL)
_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Div: operator.truediv,
    ast.Mod: operator.mod,
}

Variables = Mapping[str, Any]
Evaluator = Callable[[Variables], Any]


class ExpressionError(ValueError):
    """An expression that is not in the language, or has no value."""


def round_to(value: float, multiple: int) -> int:
    """Return the multiple of ``multiple`` nearest to ``value``, at least ``multiple``."""
    return max(multiple, int(value / multiple + 0.5) * multiple)


_FUNCTIONS: dict[str, Callable[..., Any]] = {"min": min, "max": max, "round_to": round_to}


def is_expression(value: object) -> bool:
    """Return whether a value is a string that holds ``${``."""
    return isinstance(value, str) and "${" in value


class _Compiler:
    """Turns a checked syntax tree into a chain of closures, so that a search evaluates it many times per second."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.names: set[str] = set()

    def refuse(self, rule: str, got: str) -> ExpressionError:
        return ExpressionError(
            f"{rule}, got {got} in ${{{self.text}}}. Use + - * // / %, brackets, min, max, round_to."
        )

    def compile(self, node: ast.expr) -> Evaluator:
        if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) and type(node.value) is not bool:
            constant = node.value
            if abs(constant) > MAX_NUMBER:
                raise self.refuse("a number must be below 2^53", f"{constant:.3g}")
            return lambda variables: constant
        if isinstance(node, ast.Name):
            return self.name(node.id)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
            operand = self.compile(node.operand)
            sign = -1 if isinstance(node.op, ast.USub) else 1
            return lambda variables: self.number(sign * self.number(operand(variables)))
        if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
            left, right, apply = self.compile(node.left), self.compile(node.right), _BINARY[type(node.op)]
            return lambda variables: self.apply(apply, self.number(left(variables)), self.number(right(variables)))
        if isinstance(node, ast.Subscript):
            return self.subscript(node)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
            return self.call(node.func.id, node.args)
        raise self.refuse("an expression must be arithmetic on vars", f"`{ast.unparse(node)[:40]}`")

    def name(self, name: str) -> Evaluator:
        self.names.add(name)

        def look_up(variables: Variables) -> Any:
            if name not in variables:
                raise ExpressionError(f"vars has no `{name}`. {did_you_mean(name, variables)}")
            return variables[name]

        return look_up

    def subscript(self, node: ast.Subscript) -> Evaluator:
        value, index = self.compile(node.value), self.compile(node.slice)

        def pick(variables: Variables) -> Any:
            items, at = value(variables), index(variables)
            if not isinstance(items, (list, tuple)):
                raise ExpressionError(f"only a list can be indexed, got {items!r} in ${{{self.text}}}. Drop the index.")
            if type(at) is not int or not 0 <= at < len(items):
                raise ExpressionError(
                    f"an index must be a whole number from 0 to {len(items) - 1}, got {at} in ${{{self.text}}}. "
                    "Lengthen the list, or lower the index."
                )
            return items[at]

        return pick

    def call(self, name: str, nodes: list[ast.expr]) -> Evaluator:
        if name not in _FUNCTIONS:
            raise self.refuse("a function must be min, max or round_to", name)
        function, arguments = _FUNCTIONS[name], [self.compile(node) for node in nodes]
        if len(arguments) < 2 or (name == "round_to" and len(arguments) != 2):
            raise self.refuse(f"{name} must have two values", str(len(arguments)))
        return lambda variables: self.apply(function, *(self.number(argument(variables)) for argument in arguments))

    def number(self, value: Any) -> Any:
        if type(value) not in (int, float):
            raise ExpressionError(f"arithmetic needs numbers, got {value!r} in ${{{self.text}}}. Index the list.")
        return value

    def apply(self, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            result = function(*arguments)
        except (ZeroDivisionError, OverflowError) as err:
            raise ExpressionError(
                f"an expression must have a value, got {err} in ${{{self.text}}}. Change vars."
            ) from err
        if abs(result) > MAX_NUMBER:
            raise ExpressionError(f"a value must be below 2^53, got {result:.3g} in ${{{self.text}}}. Change vars.")
        return result


@lru_cache(maxsize=4096)
def compile_expression(value: str) -> tuple[Evaluator, frozenset[str]]:
    """Return a function from variables to the value of ``${...}``, and the variables' names.

    Raises:
        ExpressionError: the string is not one whole ``${...}``, or what it holds is not in the language.
    """
    match = _WRAPPED.fullmatch(value.strip())
    if match is None or "${" in match[1]:
        raise ExpressionError(f'an expression must be the whole value, got {value[:60]!r}. Write "${{...}}" alone.')
    text = match[1].strip()
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"an expression must have at most {MAX_LENGTH} characters, got {len(text)}. Use vars.")
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError) as err:
        raise ExpressionError(f"an expression must be arithmetic on vars, got ${{{text[:60]}}}. Correct it.") from err
    compiler = _Compiler(text)
    return compiler.compile(tree.body), frozenset(compiler.names)


def evaluate(value: Any, variables: Variables) -> Any:
    """Return ``value`` with every ``${...}`` in it, also inside lists, replaced by its value."""
    if is_expression(value):
        return compile_expression(value)[0](variables)
    if isinstance(value, list):
        return [evaluate(item, variables) for item in value]
    return value


def names_in(value: Any) -> frozenset[str]:
    """Return the variables that a value uses."""
    if is_expression(value):
        return compile_expression(value)[1]
    if isinstance(value, list):
        return frozenset().union(*(names_in(item) for item in value))
    return frozenset()
