"""One shape of table for all listings; it needs rich alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Column, Table
from rich.text import Text

BORDER, GAP = 3, 1
"""Characters between two columns, with lines and without."""
LEAST = 12
"""A text column that must be cut into lines keeps so many characters."""


class FittedTable(Table):
    """A table that shows every cell whole: where the terminal is narrow, text goes on in the next line, at a space.

    Only where the words do not fit beside each other either, the lines between the columns go, and then the longest
    words are cut into lines.
    """

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Give the columns widths that fit, and print."""
        self._fit(options.max_width)
        yield from super().__rich_console__(console, options)

    def _fit(self, width: int) -> None:
        count = len(self.columns)
        natural = [_longest(column, whole=True) for column in self.columns]
        room = width - BORDER * count - 1
        if sum(natural) <= room:
            return
        least = [_longest(column, whole=column.justify == "right") for column in self.columns]
        if sum(least) > room:
            self.box, self.pad_edge, self.padding = None, False, (0, GAP, 0, 0)
            room = width - GAP * (count - 1)
        while sum(least) > room and max(_texts(self.columns, least)) > LEAST:
            least[least.index(max(_texts(self.columns, least)))] -= 1
        for index, column in enumerate(self.columns):
            column.width = min(natural[index], least[index] + max(0, room - sum(least)))
            least[index] = column.width
            column.no_wrap, column.overflow = column.justify == "right", "fold"


def _longest(column: Column, *, whole: bool) -> int:
    texts = [str(each) for each in (column.header, *column.cells)]
    return max(len(part) for text in texts for part in ([text] if whole else text.split() or [""]))


def _texts(columns: Sequence[Column], widths: Sequence[int]) -> list[int]:
    return [width for column, width in zip(columns, widths, strict=True) if column.justify == "left"]


def make_table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    text_columns: int = 1,
    kind: type[Table] = Table,
) -> Table:
    """Return a table whose first ``text_columns`` columns are text and whose others are figures."""
    table = kind(title=title, title_justify="left", header_style="bold")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index < text_columns else "right", no_wrap=index == 0)
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else str(cell) for cell in row))
    return table
