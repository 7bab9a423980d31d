"""What is wrong with a spec: problems with their places, collected in one SpecError."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from lmnet.builder.did_you_mean import did_you_mean

Path = tuple[str | int, ...]
"""Where a value stands in a document: ("nodes", "lft2", "window", 0)."""


@dataclass(frozen=True, order=True)
class Problem:
    """One fault of a document.

    Args:
        file: the document's name.
        line: 1 for the first line.
        column: 1 for the first character.
        path: the place in the document, ``nodes.lft2.window``; empty for the document itself.
        message: the rule, the value that broke it, and the next step.
    """

    file: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}: "
        return place + (f"{self.path}: {self.message}" if self.path else self.message)


class SpecError(ValueError):
    """All that is wrong with a spec, one problem a line.

    Args:
        problems: what was found.
        partial: what could be read all the same, to look for further problems in.
    """

    def __init__(self, problems: Iterable[Problem], partial: Any = None) -> None:
        self.problems = sorted(set(problems))
        self.partial = partial
        super().__init__("\n".join(str(problem) for problem in self.problems))


def dotted(path: Sequence[str | int]) -> str:
    """Return ``nodes.lft2.window[0]`` for ("nodes", "lft2", "window", 0)."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


__all__ = ["Path", "Problem", "SpecError", "did_you_mean", "dotted"]
