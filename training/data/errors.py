"""What is wrong with a data set, all at once."""

from __future__ import annotations

import re
from collections.abc import Sequence

LISTED = 10
"""At most this many problems of one kind are listed one by one."""


class DataError(ValueError):
    """A data set that cannot be used, with every problem that was found.

    Args:
        where: the data set's path or name.
        problems: one line for each problem, with the file it is in.
        next_step: what the user can do; a default fits most problems.
    """

    def __init__(
        self, where: str, problems: Sequence[str], next_step: str = "Correct or remove these files, then run again."
    ) -> None:
        self.where = where
        self.problems = list(problems)
        if len(self.problems) == 1:
            text = f"{where}: {self.problems[0]} {next_step}"
        else:
            listed = "\n".join(f"  {problem}" for problem in self.problems)
            text = f"{where}: {len(self.problems)} problems:\n{listed}\n{next_step}"
        super().__init__(text.rstrip())


def folded(problems: Sequence[str]) -> list[str]:
    """Return problems, those of one kind in one line once there are more than ``LISTED``: the first, and how many more.

    Problems ``FILE: TEXT`` are of one kind if the texts are equal but for names of files and numbers.
    """
    kinds: dict[str, list[str]] = {}
    for problem in problems:
        text = problem.partition(": ")[2] or problem
        kinds.setdefault(re.sub(r"\S+\.\w+|\d+", "#", text), []).append(problem)
    lines = []
    for kind in kinds.values():
        if len(kind) <= LISTED:
            lines += kind
        else:
            names = ", ".join(problem.partition(": ")[0] for problem in kind[1:4])
            lines.append(f"{kind[0]} The same is wrong with {len(kind) - 1} more files: {names}, ...")
    return lines
