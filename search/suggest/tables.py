"""The table of what was compared."""

from __future__ import annotations

from rich.table import Table

from lmnet.builder.table import make_table
from lmnet.search.suggest.answer import SuggestedNet, Suggestion

COLUMNS = ("net", "start", "val Dice", "minus the first", "ms", "MB", "GMACs", "params")


def suggestion_table(found: Suggestion) -> Table:
    """Return the nets of an answer, the best first."""
    title = f"{found.images} val images, ms in {found.runtime}" if found.images else f"the zoo, ms in {found.runtime}"
    return make_table(title, COLUMNS, [_cells(net) for net in found.nets], text_columns=4)


def _cells(net: SuggestedNet) -> tuple[str, ...]:
    dice = "-" if net.dice is None else f"{net.dice:.3f}"
    if net.low is not None and net.high is not None:
        dice += f" [{net.low:.3f}, {net.high:.3f}]"
    minus = "-"
    if net.difference is not None:
        minus = "{:+.3f} [{:+.3f}, {:+.3f}]".format(*net.difference)
    about = "" if net.is_measured else "~"
    ms = "-" if net.ms is None else f"{about}{net.ms:.1f}"
    mb, params = f"{about}{net.mb:.1f}", f"{net.params / 1e6:.2f} M"
    start = "own weights" if net.start == net.net else net.start
    return net.name, start, dice, minus, ms, mb, f"{net.gmacs:.3f}", params
