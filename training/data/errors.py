"""What is wrong with a data set, all at once."""

from __future__ import annotations

from collections.abc import Sequence


class DataError(ValueError):
    """A data set that cannot be used, with every problem that was found.

    Args:
        where: the data set's path or name.
        problems: one line for each problem, with the file it is in.
        next_step: what the user can do; a default fits most problems.
    """

    def __init__(
        self, where: str, problems: Sequence[str], next_step: str = "Mend or remove these files, then run again."
    ) -> None:
        self.where = where
        self.problems = list(problems)
        if len(self.problems) == 1:
            text = f"{where}: {self.problems[0]} {next_step}"
        else:
            listed = "\n".join(f"  {problem}" for problem in self.problems)
            text = f"{where}: {len(self.problems)} problems:\n{listed}\n{next_step}"
        super().__init__(text)
