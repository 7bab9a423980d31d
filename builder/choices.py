"""A node whose block is a variable, ``block: "${cell}"``: the blocks that it may be, and where each is written."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lmnet.builder.expressions import ExpressionError, is_expression
from lmnet.builder.layout import RangeSpec, Spec
from lmnet.builder.problems import Path, did_you_mean

_FORM = re.compile(r"\$\{\s*([A-Za-z_]\w*)\s*(?:\[\s*([0-9]{1,4})\s*\])?\s*\}")


@dataclass(frozen=True)
class Choice:
    """A block that a node may be.

    Args:
        block: as written; whether it is registered is not known yet.
        path: where it is written.
        at_key: whether it is a key there.
    """

    block: Any
    path: Path
    at_key: bool = False


def choices_of(spec: Spec, text: str, options: Mapping[str, Any], path: Path) -> list[Choice]:
    """Return the blocks that a node may be.

    These are the choices in ``search``. If the variable has none there: its own value, and the blocks in ``options``.

    Args:
        spec: the spec.
        text: ``${variable}`` or ``${list[0]}``.
        options: the node's options by block.
        path: place of these options.

    Raises:
        ExpressionError: the text is of another form, or names no variable or item.
    """
    found = list(_written(spec, text))
    if found and found[0].path[0] == "search":
        return found
    known = {choice.block for choice in found if isinstance(choice.block, str)}
    return found + [Choice(block, (*path, block), at_key=True) for block in options if block not in known]


def _written(spec: Spec, text: str, seen: frozenset[str] = frozenset()) -> Iterator[Choice]:
    match = _FORM.fullmatch(text.strip())
    if match is None or text in seen:
        raise ExpressionError(f'block must be a name, "${{variable}}" or "${{list[0]}}", got {text}. Use one variable.')
    name, index = match[1], None if match[2] is None else int(match[2])
    variables = spec.layout.vars
    if name not in variables:
        raise ExpressionError(f"vars has no `{name}`. {did_you_mean(name, variables)}")
    searched = list(_searched(spec.layout.search, name, index))
    if searched:
        yield from searched
        return
    own: Any = variables[name]
    path: Path = ("vars", name)
    if index is not None:
        if is_expression(own):  # a list under another name
            alias = _FORM.fullmatch(own.strip())
            if alias is not None and alias[2] is None:
                yield from _written(spec, f"${{{alias[1]}[{index}]}}", seen | {text})
                return
        if not isinstance(own, list) or index >= len(own):
            raise ExpressionError(f"block must be an item of a list, got {text} of {own!r}. Lengthen the list.")
        own, path = own[index], (*path, index)
    if is_expression(own):
        yield from _written(spec, own, seen | {text})
    else:
        yield Choice(own, path)


def _searched(search: Mapping[str, RangeSpec], name: str, index: int | None) -> Iterator[Choice]:
    """Yield what the search may choose for a variable or an item of it."""
    key = name if index is None else f"{name}[{index}]"
    if key in search:
        for place, choice in enumerate(search[key].choices or ()):
            yield Choice(choice, ("search", key, "choices", place))
    elif name in search:
        given = search[name]
        inner = given.each.choices if isinstance(given.each, RangeSpec) else given.each
        path: Path = ("search", name, "each", *(("choices",) if isinstance(given.each, RangeSpec) else ()))
        for place, choice in enumerate(inner or ()):
            yield Choice(choice, (*path, place))
        for place, choice in enumerate(given.choices or ()):
            if isinstance(choice, list) and index is not None and index < len(choice):
                yield Choice(choice[index], ("search", name, "choices", place, index))
