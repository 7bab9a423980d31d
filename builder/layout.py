"""The content of a spec: its sections as pydantic models, and a spec as an object that is dumped and overridden."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from lmnet.builder.problems import Path, Problem, SpecError, did_you_mean
from lmnet.builder.strict_yaml import Document, read_scalar

SCHEMA = "lmnet/1"
MIN_SIZE = 32
MAX_SIZE = 16_384
INPUT_SIZE = "input.size"
"""The key of the image's size in ``search`` and ``Planner.plan``, beside the names of variables."""
NAME = re.compile(r"[a-z][a-z0-9_]*")
_PART = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)|\.([A-Za-z_][A-Za-z0-9_]*)|\[([0-9]+)\]|\.([0-9]+)")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class InputSpec(_Strict):
    """The image that the net takes."""

    channels: int = Field(default=3, ge=1, le=1024)
    size: list[int] = Field(default=[256, 256], min_length=2, max_length=2)
    pad: bool = True

    @field_validator("size")
    @classmethod
    def _in_range(cls, size: list[int]) -> list[int]:
        if any(not MIN_SIZE <= side <= MAX_SIZE for side in size):
            raise ValueError(f"size must be two sides from {MIN_SIZE} to {MAX_SIZE}, got {size}. Resize the image.")
        return size


class ExpectSpec(_Strict):
    """Figures that the net must meet, checked by ``lmnet-build`` and by tests."""

    params: float = Field(gt=0)
    gmacs: float = Field(gt=0)
    input: list[int] = Field(min_length=3, max_length=3)
    form: Literal["train", "deploy"] = "deploy"
    tolerance: float = Field(default=0.005, ge=0, lt=1)


class PaperSpec(_Strict):
    """What the paper and the authors' code say of the net, in words; docs/field.md shows it beside our count."""

    params: str | None = None
    gmacs: str | None = None
    licence: str | None = None
    sizes: str | None = None
    note: str | None = None


class RangeSpec(_Strict):
    """What the search may do with one variable: a range, or choices; ``each`` for every item of a list."""

    low: int | float | None = None
    high: int | float | None = None
    step: int | float | None = None
    choices: list[Any] | None = Field(default=None, min_length=1, max_length=64)
    each: list[Any] | RangeSpec | None = None


class SpecLayout(_Strict):
    """The top level of a spec."""

    schema_: Literal["lmnet/1"] = Field(alias="schema")
    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    source: str | None = None
    description: str | None = None
    family: str = Field(default="lmnet", pattern=r"^[a-z][a-z0-9_]*$")
    paper: PaperSpec | None = None
    expect: ExpectSpec | None = None
    input: InputSpec = Field(default_factory=InputSpec)
    vars: dict[str, Any] = Field(default_factory=dict)
    nodes: dict[str, dict[str, Any]] = Field(min_length=1, max_length=1000)
    outputs: dict[str, str] = Field(min_length=1)
    aux: dict[str, Any] = Field(default_factory=dict)
    search: dict[str, RangeSpec] = Field(default_factory=dict)


def layout_problems(document: Document, error: ValidationError) -> list[Problem]:
    """Return pydantic's findings as problems with places, rules, values and next steps."""
    problems = []
    for fault in error.errors():
        path: Path = tuple(part for part in fault["loc"] if part not in ("int", "float", "RangeSpec", "list[any]"))
        name, kind, context = path[-1] if path else "the spec", fault["type"], fault.get("ctx", {})
        got = repr(fault["input"])
        got = got if len(got) <= 60 else f"{got[:57]}..."
        at_key = False
        if kind == "extra_forbidden":
            sections: dict[str, type[BaseModel]] = {
                "input": InputSpec,
                "expect": ExpectSpec,
                "paper": PaperSpec,
                "search": RangeSpec,
            }
            model: type[BaseModel] = SpecLayout
            for part in path[:-1]:
                model = sections.get(str(part), model)
            names = [field.alias or key for key, field in model.model_fields.items()]
            message, at_key = f"there is no key `{name}`. {did_you_mean(str(name), names)}", True
        elif kind == "missing":
            message, path = f"{path[-2] if path[:-1] else 'a spec'} needs {name}, got none. Add {name}: ...", path[:-1]
        elif kind == "value_error":
            message = str(context["error"])
        elif kind == "string_pattern_mismatch":
            message = (
                f"{name} must be of a-z, 0-9 and _, and begin with a letter, got {got}. {_as_name(fault['input'])}"
            )
        elif path == ("input", "size") and type(fault["input"]) is int:
            message = f"size must be [height, width], got {got}. Write [{got}, {got}]."
        else:
            rule = fault["msg"].removeprefix("Input should be ").removeprefix("Input should ")
            message = f"{name} must be {rule}, got {got}. Change the value."
        problems.append(document.problem(path, message, at_key=at_key))
    return problems


def _as_name(text: str) -> str:
    """Return the advice for a name that is none."""
    name = re.sub(r"[^a-z0-9_]+", "_", text.lower()).strip("_").lstrip("0123456789_")
    return f"Write {name}." if name else "Write my_net."


class _Dumper(yaml.SafeDumper):
    """Writes what the strict reader reads back as the same values."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


class _Flow(dict[str, Any]):
    """A mapping written on one line."""


def _write_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = None if read_scalar(text) == text and "${" not in text else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _write_text)
_Dumper.add_representer(
    _Flow, lambda dumper, data: dumper.represent_mapping("tag:yaml.org,2002:map", data, flow_style=True)
)


@dataclass(frozen=True)
class Spec:
    """A spec whose top level is checked; ``lmnet.builder.plan`` checks the graph.

    Args:
        document: the data and the places of its values.
        layout: the same data with defaults filled in.
    """

    document: Document
    layout: SpecLayout

    @classmethod
    def of(cls, document: Document) -> Spec:
        """Check a document's top level.

        Raises:
            SpecError: with all that is wrong there.
        """
        if not isinstance(document.data, dict):
            got = "an empty file" if document.data is None else type(document.data).__name__
            raise SpecError(
                [document.problem((), f"a spec must be a mapping, got {got}. Begin with schema: {SCHEMA}.")]
            )
        try:
            return cls(document, SpecLayout.model_validate(document.data))
        except ValidationError as error:
            raise SpecError(layout_problems(document, error), cls._without_faults(document, error)) from error

    @classmethod
    def _without_faults(cls, document: Document, error: ValidationError) -> Spec | None:
        """Return the spec with its faulty sections left out, if that makes one."""
        faulty = {str(fault["loc"][0]) for fault in error.errors() if fault["loc"]}
        data = {key: value for key, value in document.data.items() if key not in faulty}
        data = {"schema": SCHEMA, "name": "unnamed"} | data
        try:
            return cls(document, SpecLayout.model_validate(data))
        except ValidationError:
            return None

    @property
    def name(self) -> str:
        """The spec's name."""
        return self.layout.name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Spec) and self.document.data == other.document.data

    def __hash__(self) -> int:
        return hash(self.dump())

    def dump(self) -> str:
        """Return the spec as YAML; loading it gives an equal spec. Comments are not kept."""
        data = dict(self.document.data)
        for section in ("nodes", "search", "vars"):
            if isinstance(data.get(section), dict):
                data[section] = {
                    key: _Flow(value) if isinstance(value, dict) else value for key, value in data[section].items()
                }
        for section in ("paper", "expect", "input", "outputs", "aux"):
            if isinstance(data.get(section), dict):
                data[section] = _Flow(data[section])
        return yaml.dump(data, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True, default_flow_style=None)

    def override(self, values: Mapping[str, Any]) -> Spec:
        """Return a spec with some values changed; ``expect`` is dropped, as its figures no longer hold.

        Args:
            values: new values by variable (``width``, ``depth[0]``) or by place (``input.size``,
                ``nodes.head.num_classes``).

        Raises:
            SpecError: a key names nothing in the spec, or a variable's new value is of another kind than the old.
        """
        if not values:
            return self
        data = copy.deepcopy(self.document.data)
        data.pop("expect", None)
        problems = []
        for key, value in values.items():
            message = _assign(data, key, value)
            if message:
                problems.append(self.document.problem((), f"override {key}: {message}"))
        if problems:
            raise SpecError(problems)
        return Spec.of(Document(self.document.file, data, self.document.keys, self.document.values))


def _parts(key: str) -> list[str | int] | None:
    parts: list[str | int] = []
    position = 0
    while position < len(key):
        match = _PART.match(key, position)
        if match is None or (match[1] is not None and position):
            return None
        parts.append(match[1] or match[2] or int(match[3] or match[4]))
        position = match.end()
    return parts


def _assign(data: dict[str, Any], key: str, value: Any) -> str | None:
    """Set ``key`` in ``data``; return what is wrong, or None."""
    variables = data.get("vars") or {}
    parts = _parts(key)
    if not parts:
        return f"a key must look like width, depth[0] or nodes.head.num_classes, got {key!r}. Correct it."
    if parts[0] in variables:
        parts = ["vars", *parts]
    elif parts[0] not in ("input", "nodes", "outputs", "vars", "name"):
        return f"a key must be a variable or a place in the spec, got {key}. {did_you_mean(key, variables)}"
    if parts[:2] == ["input", "channels"] or parts[:2] in (["input", "size"], ["input", "pad"]):
        data.setdefault("input", {})
    target: Any = data
    for depth, part in enumerate(parts):
        is_last = depth == len(parts) - 1
        if isinstance(target, dict) and isinstance(part, str):
            may_add = is_last and (parts[0] == "input" or (parts[0] == "nodes" and depth in (2, 4)))
            if part not in target and not may_add:
                return f"a key must be in the spec, got {key}. {did_you_mean(part, target)}"
        elif not (isinstance(target, list) and isinstance(part, int) and part < len(target)):
            return f"a key must be in the spec, got {key}. `lmnet-build cat NAME` shows the spec."
        if not is_last:
            target = target[part]
    last = parts[-1]
    if parts[0] == "vars":
        old = target[last]
        kinds = [(int, float) if type(x) in (int, float) else (type(x),) for x in (old, value)]
        if type(old) is int and type(value) is float:
            return f"{key} is a whole number, {old}, and the new value is {value}. Write {round(value)}."
        if kinds[0] != kinds[1] and old is not None and not (isinstance(old, str) and "${" in old):
            return f"a value must be of the old one's kind, got {value!r} for {old!r}. Change the value."
    target[last] = value
    return None
