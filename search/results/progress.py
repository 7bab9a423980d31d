"""Live progress on stderr: trials, the best net, the front, the time left."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lmnet.search.nets.survey import Survey
from lmnet.search.results.counts import Tally
from lmnet.search.results.summary import Overview

MAX_ROWS = 8
"""Upper limit on the number of training runs that are listed."""
QUIET_S = 60.0
"""If stderr is not a terminal, a line is printed after this many seconds even without news."""


class LiveProgress:
    """Shows the live progress, as a context manager. On a terminal it is redrawn in place, else lines are printed.

    Args:
        console: the console to print on.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=2, transient=True) if console.is_terminal else None
        self._began = time.monotonic()
        self._first: int | None = None  # trials that had a score before this session
        self._overview: Overview | None = None
        self._printed: tuple[int, tuple[int, int] | None] | None = None  # training runs done, at the last printed line
        self._printed_at = 0.0

    def __enter__(self) -> LiveProgress:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, at: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def overview(self, overview: Overview) -> None:
        """Print the overview before trial 0."""
        self._overview, self._began = overview, time.monotonic()
        self._console.print(overview_text(overview), highlight=False)

    def note(self, line: str) -> None:
        """Print a line of text for the user, such as a change of the time plan."""
        self._console.print(line, highlight=False, soft_wrap=True, markup=False)

    def update(self, counts: Tally) -> None:
        """Show the state of the search; nothing before ``overview`` was called."""
        if self._overview is None:
            return
        if self._first is None:
            self._first = counts.trials
        total = self._overview.trials or 0
        head = f"trials {counts.trials}/{total}  running {counts.running}  failed {sum(counts.failed.values())}  "
        head += f"infeasible {counts.infeasible}  {self._left(counts)}".rstrip()
        best = counts.best
        shown = (
            f"best  {best.score:.4f}  {best.gmacs:.3f} GMACs  {best.params / 1e6:.2f} M  {best.hash}" if best else ""
        )
        done = counts.trials
        if counts.confirming is not None:
            done, total = counts.confirming
            head = f"confirming the result: training runs {done}/{total}  {self._until_deadline()}".rstrip()
        if self._live is None:
            self._print(counts, "  ".join(filter(None, [head, shown])))
        else:
            bar = ProgressBar(total=max(1, total), completed=done, width=60)
            lines: list[Text | ProgressBar] = [Text(head), bar, Text()]  # a bar does not end its line
            self._live.update(Group(*lines, *([Text(shown)] if shown else []), *self._tables(counts)))

    def _print(self, counts: Tally, line: str) -> None:
        """Print the line if a training run has ended since the last one, or a minute has passed; else do nothing."""
        now, ended = time.monotonic(), (counts.trials, counts.confirming)
        if ended == self._printed and now - self._printed_at < QUIET_S:
            return
        self._printed, self._printed_at = ended, now
        shown = counts.under_way[:MAX_ROWS]
        training = ", ".join(f"{each.trial} epoch {each.epoch or 0} {clock(each.seconds)}" for each in shown)
        if len(counts.under_way) > MAX_ROWS:
            training += f" and {len(counts.under_way) - MAX_ROWS} more"
        self._console.print(
            line + (f"  training {training}" if training else ""), highlight=False, soft_wrap=True, markup=False
        )

    def _tables(self, counts: Tally) -> list[Table]:
        """Return two tables: the training runs under way, and the six most expensive nets of the front."""
        trainings = Table("trial", "worker", "epoch", "time", box=None)
        for each in counts.under_way[:MAX_ROWS]:
            trainings.add_row(f"{each.trial} {each.hash[:8]}", each.place, str(each.epoch or ""), clock(each.seconds))
        if len(counts.under_way) > MAX_ROWS:
            trainings.add_row(f"and {len(counts.under_way) - MAX_ROWS} more", "", "", "")
        front = Table("front: score", "GMACs", "parameters", box=None)
        for one in counts.front[-6:]:
            front.add_row(f"{one.score:.4f}", f"{one.gmacs:.3f}", f"{one.params:,}")
        return [trainings, front]

    def _left(self, counts: Tally) -> str:
        """Return the time until the deadline; without a deadline, the estimated time of the remaining trials."""
        assert self._overview is not None
        if self._overview.timeout_s is not None:
            return self._until_deadline()
        done = counts.trials - (self._first or 0)
        if not done or self._overview.trials is None:
            return ""
        seconds = (time.monotonic() - self._began) / done * (self._overview.trials - counts.trials)
        return f"about {clock(seconds)} left for trials"

    def _until_deadline(self) -> str:
        assert self._overview is not None
        if self._overview.timeout_s is None:
            return ""
        return f"at most {clock(self._began + self._overview.timeout_s - time.monotonic())} left"


def overview_text(overview: Overview) -> str:
    """Return the overview before trial 0 as text."""
    seen = overview.survey
    lines = [
        f"space: {seen.size:,} combinations of values, {seen.feasible_share:.0%} of the sampled ones within the limits",
        f"cheapest net: {seen.cheapest.gmacs:.3f} GMACs, {seen.cheapest.params:,} parameters",
        f"most expensive net: {seen.dearest.gmacs:.3f} GMACs, {seen.dearest.params:,} parameters",
    ]
    if seen.start is not None:
        within = "within the limits" if seen.start.is_feasible else "outside the limits, so it is not trained"
        lines.append(f"starting net: {seen.start.gmacs:.3f} GMACs, {seen.start.params:,} parameters, {within}")
    lines += _family_lines(seen)
    lines += overview.notes
    if overview.chooses:
        lines.append(f"score: {overview.chooses}")
    if overview.seconds is not None:
        about = f"about {clock(overview.seconds)} for {overview.trials} trials"
        if overview.timeout_s is not None:
            about += f", at most {clock(overview.timeout_s)}"
        lines.append(f"time: {about}")
    elif overview.timeout_s is not None:
        lines.append(f"time: at most {clock(overview.timeout_s)}")
    return "\n".join(lines)


def _family_lines(seen: Survey) -> list[str]:
    """Return one line for each family if there are several, then one for each family that is left out."""
    lines = []
    for name, one in seen.families.items():
        text = f"family {name}: {one.size:,} combinations, {one.feasible_share:.0%} within the limits"
        if one.start is not None and one.start.is_feasible:
            text += f", starting net {one.start.gmacs:.3f} GMACs"
        elif one.start is not None:
            text += f", starting net ({one.start.gmacs:.3f} GMACs) outside the limits: a net near it is first"
        lines.append(text)
    return lines + [f"family {name} is left out: {reason}" for name, reason in seen.left_out.items()]


def clock(seconds: float) -> str:
    """Return a duration as 1:02:03 or 2:03."""
    minutes, second = divmod(max(0, round(seconds)), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"
