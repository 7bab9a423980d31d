"""A strict reader of YAML: every value says what it looks like, every fault has its line and column.

Differs from ``yaml.safe_load``: scalars are YAML 1.2's (``1e-3`` is a number, ``no`` and ``on`` are strings), a
repeated key is a fault instead of a silent overwrite, and there are no tags, anchors, aliases or merges. Size, depth
and number of values are limited. Nothing in a file can make Python do anything but build dicts, lists and scalars.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

import yaml

from lmnet.builder.problems import Path, Problem, SpecError, dotted

MAX_BYTES = 256 * 1024
MAX_DEPTH = 16
MAX_VALUES = 20_000

_TOO_DEEP = f"values must be nested at most {MAX_DEPTH} deep, got more. Flatten them."

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULL = {"", "~", "null", "Null", "NULL"}
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_BASED_INT = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_NO_BRACKET = re.compile(r"""'[^']*'|"(?:\\.|[^"\\])*"|(?:^|\s)#.*|[^][{}]""", re.MULTILINE)


@dataclass
class Document:
    """A read document.

    Args:
        file: the name that messages show.
        data: dicts, lists and scalars.
        keys: line and column of each value's key (of the value itself in a list).
        values: line and column of each value.
    """

    file: str
    data: Any
    keys: dict[Path, tuple[int, int]] = field(default_factory=dict)
    values: dict[Path, tuple[int, int]] = field(default_factory=dict)

    def problem(self, path: Path, message: str, *, at_key: bool = False) -> Problem:
        """Return a problem placed at ``path``, or at its nearest parent that stands in the file."""
        marks = self.keys if at_key else self.values
        place = path
        while place and place not in marks:
            place = place[:-1]
        line, column = marks.get(place, (1, 1))
        return Problem(self.file, line, column, dotted(path), message)


def read_scalar(text: str) -> str | int | float | bool | None:
    """Return the value of a plain scalar by the core schema of YAML 1.2; infinities and NaN stay strings."""
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if len(text) <= 40:
        if _INT.fullmatch(text):
            return int(text)
        if _BASED_INT.fullmatch(text):
            return int(text, 0)
        if _FLOAT.fullmatch(text) and math.isfinite(float(text)):
            return float(text)
    return text


class _Reader:
    """Builds the data from the parser's events without recursion, so that depth cannot exhaust the stack."""

    def __init__(self, file: str, text: str) -> None:
        self.document = Document(file, None)
        self.lines = text.splitlines()
        self.problems: list[Problem] = []
        self.events: Iterator[Any] = yaml.parse(text, Loader=_LOADER)
        self.count = 0
        # open collections: (path, container, key waiting for its value)
        self.stack: list[tuple[Path, Any]] = []
        self.pending: list[Any] = []
        self.discarded: list[tuple[dict[str, Any], str]] = []  # repeated keys and merges
        self.is_whole = True  # whether what was read can be looked through for further faults

    def fault(self, mark: Any, message: str, path: Path = ()) -> None:
        self.problems.append(Problem(self.document.file, mark.line + 1, mark.column + 1, dotted(path), message))

    def stop(self, mark: Any, message: str) -> None:
        self.fault(mark, message)
        raise SpecError(self.problems)

    def read(self) -> Document:
        documents = 0
        try:
            for event in self.events:
                if isinstance(event, yaml.DocumentStartEvent):
                    documents += 1
                    if documents > 1:
                        self.stop(event.start_mark, "a file must hold one document, got a second. Remove it.")
                else:
                    self.take(event)
        except yaml.YAMLError as err:
            self.is_whole = False
            mark = getattr(err, "problem_mark", None) or yaml.Mark("", 0, 0, 0, None, 0)
            if _is_too_deep(self.lines, mark.line, mark.column):  # PyYAML reads ahead and may refuse depth before us
                self.stop(mark, _TOO_DEEP)
            problem = getattr(err, "problem", None) or getattr(err, "reason", None) or "unreadable character"
            hint = (
                'Quote it: "${...}".'
                if "'}'" in str(problem) and "${" in "".join(self.lines[mark.line : mark.line + 1])
                else "Correct it."
            )
            self.fault(mark, f"the file must be YAML, got {problem}. {hint}")
        if self.problems:
            for container, key in self.discarded:
                container.pop(key, None)
            raise SpecError(self.problems, self.document if self.is_whole else None)
        return self.document

    def take(self, event: Any) -> None:
        mark = event.start_mark
        if isinstance(event, yaml.AliasEvent):
            self.is_whole = False
            self.fault(mark, f"aliases are not allowed, got *{event.anchor}. Write the value out, or use vars.")
            self.put(None, mark)
        elif isinstance(event, yaml.NodeEvent):
            self.count += 1
            if self.count > MAX_VALUES:
                self.stop(mark, f"a file must hold at most {MAX_VALUES} values, got more. Split the net.")
            if event.anchor is not None:
                self.fault(mark, f"anchors are not allowed, got &{event.anchor}. Use vars and ${{...}}.")
            tag = getattr(event, "tag", None)
            if tag is not None and tag != "!":
                self.is_whole = False
                self.fault(mark, f"tags are not allowed, got {tag}. Remove it.")
            if isinstance(event, yaml.ScalarEvent):
                plain = event.implicit[0] and not event.style
                if any("\ud800" <= char <= "\udfff" for char in event.value):
                    self.stop(
                        mark, "the text has an unpaired surrogate (\\ud800 to \\udfff). Write the character itself."
                    )
                self.put(read_scalar(event.value) if plain else event.value, mark)
            else:
                self.open({} if isinstance(event, yaml.MappingStartEvent) else [], mark)
        elif isinstance(event, yaml.CollectionEndEvent):
            self.stack.pop()
            self.pending.pop()

    def open(self, container: Any, mark: Any) -> None:
        if len(self.stack) >= MAX_DEPTH:
            self.stop(mark, _TOO_DEEP)
        path = self.put(container, mark)
        self.stack.append((path, container))
        self.pending.append(None)

    def put(self, value: Any, mark: Any) -> Path:
        """Place a value as document, list item, key, or the value of the waiting key; return its path."""
        place = (mark.line + 1, mark.column + 1)
        if not self.stack:
            self.document.data = value
            self.document.keys[()] = self.document.values[()] = place
            return ()
        path, container = self.stack[-1]
        if isinstance(container, list):
            container.append(value)
            path = (*path, len(container) - 1)
            self.document.keys[path] = self.document.values[path] = place
            return path
        if self.pending[-1] is None:
            waiting = self.key(path, container, value, mark)
            self.pending[-1] = waiting
            return (*path, waiting)
        key = self.pending[-1]
        self.pending[-1] = None
        container.setdefault(key, value)
        path = (*path, key)
        self.document.values.setdefault(path, place)
        return path

    def key(self, path: Path, container: dict[str, Any], key: Any, mark: Any) -> str:
        if isinstance(key, (dict, list)):
            self.stop(mark, "a key must be a name, got a collection. Write name: value.")
        if not isinstance(key, str):
            self.fault(mark, f"a key must be a name, got {key!r}. Quote it if it is meant as a name.", path)
            key = str(key)
        if key in container:
            first = self.document.keys[(*path, key)][0]
            self.fault(mark, f"`{key}` is defined twice (first in line {first}). Remove one.", path)
            key = f"{key} (again)"
            self.discarded.append((container, key))
            return key
        if key == "<<":
            self.discarded.append((container, key))
            self.fault(mark, "merges are not allowed, got <<. Write the values out.", path)
        self.document.keys[(*path, key)] = (mark.line + 1, mark.column + 1)
        return key


def _is_too_deep(lines: list[str], line: int, column: int) -> bool:
    """Return whether brackets before a place are nested too deep; quotes and comments don't count."""
    depth = deepest = 0
    for bracket in _NO_BRACKET.sub("", "\n".join([*lines[:line], *(part[:column] for part in lines[line : line + 1])])):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest > MAX_DEPTH


def parse_yaml(text: str, file: str = "<text>") -> Document:
    """Read a YAML text strictly.

    Raises:
        SpecError: the text is not YAML, or uses what is not allowed; all faults that can be seen at once.
    """
    size = len(text.encode("utf-8", "surrogatepass"))
    surrogate = next((index for index, char in enumerate(text) if "\ud800" <= char <= "\udfff"), None)
    if surrogate is not None:
        line = text.count("\n", 0, surrogate)
        column = surrogate - (text.rfind("\n", 0, surrogate) + 1)
        message = f"the text has an unpaired surrogate, U+{ord(text[surrogate]):04X}. Write it as UTF-8."
        raise SpecError([Problem(file, line + 1, column + 1, "", message)])
    if size > MAX_BYTES:
        raise SpecError(
            [Problem(file, 1, 1, "", f"a file must be at most {MAX_BYTES} bytes, got {size}. Is it a spec?")]
        )
    return _Reader(file, text).read()


def load_yaml(path: str | FilePath) -> Document:
    """Read a YAML file strictly.

    Raises:
        SpecError: the file is missing, a directory, too large, not UTF-8, not YAML, or uses what is not allowed.
    """
    path = FilePath(path)

    def refuse(message: str) -> SpecError:
        return SpecError([Problem(str(path), 1, 1, "", message)])

    if path.is_dir():
        raise refuse("this is a folder, and a spec is a file. Name the YAML file inside it.")
    if path.exists() and not path.is_file():
        raise refuse("this is a pipe or a device. Save the spec to a file first.")
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except FileNotFoundError as err:
        raise refuse("there is no such file. `lmnet-build --list-models` lists the zoo.") from err
    except (OSError, ValueError) as err:
        raise refuse(f"the file cannot be read ({err}). Check the path and its rights.") from err
    if len(raw) > MAX_BYTES:
        raise refuse(f"a file must be at most {MAX_BYTES} bytes, got {path.stat().st_size}. Is it a spec?")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        raise refuse(
            f"a spec must be UTF-8 text, got byte {raw[err.start]:#04x} at offset {err.start}. Is it binary?"
        ) from err
    return parse_yaml(text, str(path))
