"""A family of nets whose authors published checkpoints, and the rules that turn their keys into ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

Rule = tuple[str, str | Sequence[str] | None] | tuple[str, str | Sequence[str] | None, Sequence["Rule"]]
"""(pattern, replacement[, rules for the rest of the key]).

The pattern is matched at the key's beginning; what it matches is replaced. Several replacements: the tensor, which the
authors share, is copied to each. None: the tensor is left out, as nothing uses it.
"""

UNIT: tuple[Rule, ...] = ((r"0\.", "conv."), (r"1\.", "norm."))
"""A convolution and its norm."""
DOUBLE: tuple[Rule, ...] = (
    (r"conv\.0\.", "conv1.conv."),
    (r"conv\.1\.", "conv1.norm."),
    (r"conv\.3\.", "conv2.conv."),
    (r"conv\.4\.", "conv2.norm."),
)
"""Two units, each with an activation behind it."""
UP: tuple[Rule, ...] = ((r"up\.1\.", "conv."), (r"up\.2\.", "norm."))
"""A unit behind an upsampling."""


@dataclass(frozen=True)
class Family:
    """Checkpoints of one paper's code.

    Args:
        name: the paper's net and where the code is, for messages.
        marks: keys that every such checkpoint has and no other.
        translate: the authors' state_dict to ours; unknown keys keep their names.
    """

    name: str
    marks: frozenset[str]
    translate: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]


def by_rules(rules: Sequence[Rule]) -> Callable[[Mapping[str, Tensor]], dict[str, Tensor]]:
    """Return a translation of a state_dict by rules, the first that matches a key."""

    def translate(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {ours: value for theirs, value in state.items() for ours in renamed(theirs, rules)}

    return translate


def renamed(key: str, rules: Sequence[Rule]) -> list[str]:
    """Return our keys for one of theirs: one, several if theirs is shared, none if it is left out."""
    for pattern, replacement, *inner in rules:
        match = re.match(pattern, key)
        if match is None:
            continue
        if replacement is None:
            return []
        heads = [replacement] if isinstance(replacement, str) else list(replacement)
        rests = renamed(key[match.end() :], inner[0]) if inner else [key[match.end() :]]
        return [match.expand(head) + rest for head in heads for rest in rests]
    return [key]
