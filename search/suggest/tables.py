"""The table of what was compared."""

from __future__ import annotations

from rich.table import Table

from lmnet.builder.table import make_table
from lmnet.search.suggest.answer import SuggestedNet, Suggestion

NARROW, WIDE = 120, 160
"""A terminal below the first width leaves out the interval of the Dice itself; what was compared needs the second for
start, GMACs and parameters too."""


def suggestion_table(found: Suggestion, *, width: int = WIDE) -> Table:
    """Return the nets of an answer, the best first.

    Args:
        found: the answer.
        width: characters in a line of the terminal.
    """
    title = f"{found.images} val images, ms in {found.runtime}" if found.images else f"the zoo, ms in {found.runtime}"
    is_wide = width >= (WIDE if found.images else NARROW)
    columns = [
        "net",
        *(["start"] if is_wide else []),
        "val Dice" if found.images else "Dice",
        *(["minus the first"] if found.images else []),
        "ms",
        "MB",
        *(["GMACs", "params"] if is_wide else []),
    ]
    rows = [tuple(cell for name, cell in _cells(net, width).items() if name in columns) for net in found.nets]
    table = make_table(title, columns, rows, text_columns=columns.index("ms"))
    table.columns[0].no_wrap, table.columns[0].overflow = width >= NARROW, "fold"
    table.collapse_padding = width < NARROW
    return table


def _cells(net: SuggestedNet, width: int) -> dict[str, str]:
    dice = "-" if net.dice is None else f"{net.dice:.3f}"
    if net.low is not None and net.high is not None and width >= NARROW:
        dice += f" [{net.low:.3f}, {net.high:.3f}]"
    minus = "-"
    if net.difference is not None:
        minus = "{:+.3f} [{:+.3f}, {:+.3f}]".format(*net.difference)
    about = "" if net.is_measured else "~"
    return {
        "net": net.name,
        "start": "own weights" if net.start == net.net else net.start,
        "Dice": dice,
        "val Dice": dice,
        "minus the first": minus,
        "ms": "-" if net.ms is None else f"{about}{net.ms:.1f}",
        "MB": f"{about}{net.mb:.1f}",
        "GMACs": f"{net.gmacs:.3f}",
        "params": f"{net.params / 1e6:.2f} M",
    }
