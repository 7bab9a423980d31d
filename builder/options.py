"""A block's options as its constructor's signature declares them: checked before the block is built."""

from __future__ import annotations

import difflib
import inspect
import math
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from lmnet.blocks.registry import REGISTRY
from lmnet.builder.did_you_mean import closest
from lmnet.builder.expressions import is_expression
from lmnet.builder.problems import did_you_mean
from lmnet.builder.strict_yaml import read_scalar

MAX_INT = 65_536
MAX_ITEMS = 64
_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "null"}


_NO_OPTIONS = {
    "in_channels": "Leave it out: the channels are those of the map that comes in.",
    "pretrained": "Leave it out: lmnet-train --pretrained-encoder loads weights of ImageNet.",
}
"""What other packages have as an option of a block, and what to do instead."""


def _hint(name: str, options: Mapping[str, Any]) -> str:
    """Return what to do about an option that a block does not have."""
    other = closest(name, _NO_OPTIONS) if closest(name, options) is None else None
    return did_you_mean(name, options) if other is None else _NO_OPTIONS[other]


def describe(annotation: Any) -> str:
    """Return an annotation in words, ``a whole number or a list (each a whole number)``."""
    origin = typing.get_origin(annotation)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(describe(argument) for argument in typing.get_args(annotation))
    if origin is not None and issubclass(origin, Sequence):
        return f"a list (each {describe(typing.get_args(annotation)[0])})"
    return _NAMES.get(annotation, str(annotation))


def next_step(annotation: Any, value: Any) -> str:
    """Return what to write instead of a value of the wrong type."""
    takes_int = annotation is int or int in typing.get_args(annotation)
    if takes_int and isinstance(value, float) and math.isfinite(value):
        return f"Use {math.floor(value)} or {math.floor(value) + 1}."
    if isinstance(value, str) and isinstance(read_scalar(value), (int, float)):
        return "Leave the quotes out."
    return f"Write {describe(annotation)}."


def too_large(value: Any) -> str | None:
    """Return a message if a number or a list in ``value`` is beyond what any net needs."""
    if isinstance(value, (list, tuple)):
        if len(value) > MAX_ITEMS:
            return f"a list must have at most {MAX_ITEMS} items, got {len(value)}. Shorten it."
        return next((message for message in map(too_large, value) if message), None)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) > MAX_INT:
        return f"a number must be at most {MAX_INT}, got {value}. Lower it."
    return None


@dataclass(frozen=True)
class Option:
    """One keyword of a block's constructor."""

    name: str
    annotation: Any
    default: Any
    adapter: TypeAdapter[Any]

    @property
    def is_required(self) -> bool:
        """Whether the option has no default."""
        return self.default is inspect.Parameter.empty

    def fault(self, value: Any) -> str | None:
        """Return what is wrong with a value, or None."""
        try:
            self.adapter.validate_python(value)
        except ValidationError:
            shown = repr(value) if len(repr(value)) <= 60 else f"{repr(value)[:57]}..."
            rule = f"{self.name} must be {describe(self.annotation)}, got {self.name}={shown}."
            return f"{rule} {next_step(self.annotation, value)}"
        message = too_large(value)
        return f"{self.name}: {message}" if message else None

    def json_schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the option in a spec: its type, or an expression."""
        schema: dict[str, Any] = {"anyOf": [self.adapter.json_schema(), {"type": "string", "pattern": r"^\$\{.*\}$"}]}
        if not self.is_required:
            schema["default"] = plain(self.default)
        return schema


@dataclass(frozen=True)
class Signature:
    """What a block's constructor takes.

    Args:
        block: the registered name.
        takes_many: whether in_channels is a list, one entry an input.
        options: the keywords besides in_channels.
    """

    block: str
    takes_many: bool
    options: dict[str, Option]

    def faults(self, given: Mapping[str, Any]) -> dict[str, str]:
        """Return what is wrong with options, by name; unresolved expressions are passed over."""
        faults = {}
        meant = set()
        for name, value in given.items():
            if name not in self.options:
                hint = _hint(name, self.options)
                meant |= set(difflib.get_close_matches(name, self.options, n=1))
                faults[name] = f"{self.block} has no option `{name}`. {hint}"
            elif not is_expression(value):
                message = self.options[name].fault(value)
                if message:
                    faults[name] = message
        for name, option in self.options.items():
            if option.is_required and name not in given and name not in meant:  # a typo is one fault, not two
                faults[name] = f"{self.block} needs {name} ({describe(option.annotation)}), got none. Add {name}: ..."
        return faults

    def defaults(self) -> dict[str, Any]:
        """Return the options that have a default, as plain values."""
        return {name: plain(option.default) for name, option in self.options.items() if not option.is_required}


def plain(value: Any) -> Any:
    """Return a value with tuples as lists, as YAML would write it."""
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


@cache
def signature_of(block: str) -> Signature:
    """Return the signature of a registered block.

    Raises:
        ValueError: no block has that name.
        TypeError: the constructor cannot be used from a spec.
    """
    constructor = REGISTRY.get(block).__init__
    hints = typing.get_type_hints(constructor)
    parameters = dict(inspect.signature(constructor).parameters)
    parameters.pop("self")
    if "in_channels" not in parameters:
        raise TypeError(f"{block}: a block's constructor must take in_channels, got {list(parameters)}. Add it.")
    options = {}
    for name, parameter in parameters.items():
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            raise TypeError(f"{block}: a block's options must be named, got {parameter}. Write them out.")
        if name not in hints:
            raise TypeError(f"{block}: a block's options must have a type, got {name} without one. Annotate it.")
        if name != "in_channels":
            adapter = TypeAdapter(hints[name], config=ConfigDict(strict=True))
            options[name] = Option(name, hints[name], parameter.default, adapter)
    return Signature(block, hints["in_channels"] is not int, options)
