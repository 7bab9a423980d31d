"""The answer: which net to take, how sure that is, and the command that trains it in full."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lmnet.search.suggest.choices import IMAGENET, SCRATCH, NetChoice
from lmnet.search.suggest.rounds import RECIPE, Contender, is_half
from lmnet.search.suggest.timing import MachineCost
from lmnet.training.metrics.comparison import compare
from lmnet.training.metrics.intervals import intervals

METRIC = "dice_foreground_mean"
SCRATCH_EPOCHS = 80


@dataclass(frozen=True)
class SuggestedNet:
    """A net of the answer.

    Args:
        net: name of the spec.
        size: side in pixels.
        start: weights that it starts from: a zoo name, ``ImageNet encoder`` or ``random weights``.
        gmacs: 10^9 multiply-accumulates of one image.
        params: parameters.
        ms: milliseconds of one image on this machine; None where it is not known.
        mb: megabytes of the file.
        is_measured: False where ms and mb are estimates.
        dice: lesion Dice on the validation images, or of the zoo's table where nothing was trained; None where unknown.
        low: lower end of its 95 % interval.
        high: upper end.
        difference: Dice minus that of the first net, with its 95 % interval over the same images.
        command: trains it in full.
    """

    net: str
    size: int
    start: str
    gmacs: float
    params: int
    ms: float | None
    mb: float
    is_measured: bool
    dice: float | None = None
    low: float | None = None
    high: float | None = None
    difference: tuple[float, float, float] | None = None
    command: str = ""

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.net} at {self.size} px"

    @property
    def cost(self) -> str:
        """Time and size for people."""
        about = "" if self.is_measured else "about "
        ms = "unknown ms" if self.ms is None else f"{about}{self.ms:.1f} ms"
        return f"{ms}, {about}{self.mb:.1f} MB"


@dataclass(frozen=True)
class Suggestion:
    """What ``suggest`` found.

    Args:
        line: the answer, which can be acted on.
        nets: that were compared, the best first.
        notes: what was found, done, and could not be done.
        runtime: of the milliseconds.
        images: validation images that compare the nets; 0 where nothing was trained.
        minutes: that it took.
    """

    line: str
    nets: list[SuggestedNet]
    notes: list[str] = field(default_factory=list)
    runtime: str = ""
    images: int = 0
    minutes: float = 0.0

    @property
    def best(self) -> SuggestedNet | None:
        """The net to take; None where none meets the limits."""
        return self.nets[0] if self.nets else None

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "answer": self.line,
            "nets": [vars(net) | {"name": net.name} for net in self.nets],
            "notes": self.notes,
            "runtime": self.runtime,
            "images": self.images,
            "minutes": round(self.minutes, 2),
        }


def training_command(choice: NetChoice, flags: Sequence[str], *, in_channels: int, num_classes: int) -> str:
    """Return the command that trains a net in full.

    Args:
        choice: the net.
        flags: the options that choose the data.
        in_channels: of the images.
        num_classes: background included.
    """
    words = ["lmnet-train", choice.net, *(flags or ["--data", "FOLDER"]), "--size", str(choice.size)]
    words += ["--recipe", RECIPE]
    if choice.start == IMAGENET:
        words += ["--pretrained-encoder", "package"]
    elif choice.start == SCRATCH:
        words += ["--epochs", str(SCRATCH_EPOCHS)]
    else:
        words += ["--weights", choice.start]
    if num_classes != 2:
        words += ["--set", f"num_classes={num_classes}"]
    if in_channels != 3:
        words += ["--set", f"input.channels={in_channels}"]
    return shlex.join(words)


def suggested(choice: NetChoice, cost: MachineCost, command: str, **more: Any) -> SuggestedNet:
    """Return a net of the answer."""
    return SuggestedNet(
        choice.net, choice.size, choice.start, choice.gmacs, choice.params, cost.ms, cost.mb, cost.is_measured,
        command=command, **more,
    )  # fmt: skip


def compared(finalists: Sequence[Contender], commands: dict[NetChoice, str]) -> list[SuggestedNet]:
    """Return the nets that were scored, the best first, each compared with the best on the same images."""
    scored = [each for each in finalists if each.scores is not None]
    values = {id(each): _dice(each) for each in scored}
    scored = sorted((each for each in scored if np.isfinite(values[id(each)])), key=lambda each: -values[id(each)])
    nets = []
    for each in scored:
        first, own = scored[0].scores, each.scores
        assert first is not None
        assert own is not None
        low, high = intervals(own, metrics=[METRIC])[METRIC]
        difference = None
        if each is not scored[0]:
            found = compare(first, own, metrics=[METRIC]).of(METRIC)
            difference = (found.difference, found.low, found.high)
        nets.append(
            suggested(each.choice, each.cost, commands[each.choice], dice=values[id(each)], low=low, high=high,
                      difference=difference)
        )  # fmt: skip
    return nets


def _dice(each: Contender) -> float:
    assert each.scores is not None
    return float(each.scores.value(METRIC))


def verdict(nets: Sequence[SuggestedNet], images: int) -> str:
    """Return the line that can be acted on."""
    best = nets[0]
    parts = [f"take {best.name}: Dice {best.dice:.3f} [{best.low:.3f}, {best.high:.3f}] on your {images} val images"]
    parts[0] += f", {best.cost}"
    fast = half_the_time(nets)
    if fast is not None:
        figures = f"Dice {fast.dice:.3f}, {fast.cost}"
        parts.append(f"not shown to be worse than the best at half the time: {fast.name} ({figures})")
    equal = [net.name for net in nets[1:] if net is not fast and net.difference is not None and net.difference[2] >= 0]
    if equal:
        parts.append(f"these images do not tell it from {', '.join(equal)}")
    worse = [net for net in nets[1:] if net.difference is not None and net.difference[2] < 0]
    if worse:
        names = [f"{net.name}{' at half its time' if is_half(_cost(net), _cost(best)) else ''}" for net in worse]
        parts.append(f"better than {', '.join(names)}")
    parts.append(f"train it in full with: {best.command}")
    return "; ".join(parts)


def half_the_time(nets: Sequence[SuggestedNet]) -> SuggestedNet | None:
    """Return the best net at half the first one's time or less that is not shown to be worse; None without one."""
    for net in nets[1:]:
        is_worse = net.difference is not None and net.difference[2] < 0
        if is_half(_cost(net), _cost(nets[0])) and not is_worse:
            return net
    return None


def _cost(net: SuggestedNet) -> MachineCost:
    return MachineCost(net.ms, net.mb, net.is_measured)
