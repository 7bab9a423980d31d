"""The time plan of a search: time for the verdict is reserved first, and the trials have the rest."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

LEAST_TRIALS = 12
"""Least number of trials; if fewer fit, a smaller image size or fewer epochs are chosen."""
SIZES, EPOCHS = (64, 48, 32), (6, 5, 4)
"""Image sizes and numbers of epochs to choose from if the time is short.

The size is lowered first: on the synthetic images lmnet_paper scores 0 after 2 epochs, and 0.27 after 6, even at 32
pixels.
"""
FIXED_SHARE = 0.2
"""Share of the time of a training run that does not depend on pixels or GMACs.

lmnet_paper on one CPU core, 64 and 32 pixels: two epochs take 12.2 and 5.7 s of CPU, start-up included, and six epochs
36 and 9.8 s. So the share is between 0.03 and 0.3.
"""
FORWARD_SHARE = 1 / 3
"""Time to score an image, as a share of the time to train with it."""
SPARE_SHARE = 0.1
"""Share of the time that is kept free, as training runs vary."""
SLOW_SPARE_SHARE = 0.25
"""Further share of the verdict's time that is kept free on a machine that has become slow, as it may become slower."""
RECENT, NEWEST = 5, 2
"""Newest trials by which the speed is judged: the median of the first number of them, or the mean of the second."""


@dataclass(frozen=True)
class Speed:
    """The training speed of this machine, measured while all workers were busy.

    Args:
        epoch_s: seconds of an epoch of the measured net.
        gmacs: GMACs of that net.
        train: training images.
        val: validation images.
        test: test images.
        ending_s: seconds after the last training run: the nets are timed, images are drawn, the report is written.
    """

    epoch_s: float
    gmacs: float
    train: int
    val: int
    test: int
    ending_s: float = 0.0

    def run_s(self, epochs: int, gmacs: float) -> float:
        """Return the seconds of a training run of a net, by its epochs and GMACs."""
        return epochs * self.epoch_s * scaled(gmacs / self.gmacs)

    def again_s(self, epochs: int, gmacs: float) -> float:
        """Return the seconds of a training run for the verdict, with the scoring of the test images."""
        image_s = self.epoch_s / (self.train + FORWARD_SHARE * self.val)
        return self.run_s(epochs, gmacs) + self.test * FORWARD_SHARE * image_s * scaled(gmacs / self.gmacs)

    def at_size(self, ratio: float) -> Speed:
        """Return the speed at another image size.

        Args:
            ratio: number of pixels at that size, divided by the number at the measured size.
        """
        return replace(self, epoch_s=self.epoch_s * scaled(ratio))

    def times(self, slowness: float) -> Speed:
        """Return the speed of a machine that is slower by this factor."""
        return replace(self, epoch_s=self.epoch_s * slowness, ending_s=self.ending_s * slowness)


def scaled(ratio: float) -> float:
    """Return the factor on the time of a training run, if pixels or GMACs change by the factor ``ratio``."""
    return max(ratio, FIXED_SHARE + (1 - FIXED_SHARE) * ratio)


@dataclass(frozen=True)
class Work:
    """The remaining work of a search.

    Args:
        trials: number of trials until the total is reached.
        least: number of trials until ``LEAST_TRIALS`` is reached.
        first: number of trials until each worker has trained one net.
        compared: number of nets in the verdict without further finalists: result, starting net, largest net, and the
            best nets of some other families.
        finalists: number of top nets to train again.
        fixed_finalists: whether the user gave this number.
        seeds: number of training runs of each net for the verdict.
        workers: number of training runs at a time.
        epochs: epochs of a trial.
        confirm_epochs: epochs of a training run for the verdict.
        gmacs: approximate GMACs of the largest net within the limits.
    """

    trials: int
    least: int
    first: int
    compared: int
    finalists: int
    fixed_finalists: bool
    seeds: int
    workers: int
    epochs: int
    confirm_epochs: int
    gmacs: float


@dataclass(frozen=True)
class Plan:
    """A time plan.

    Args:
        trials: number of further trials that there is time for.
        finalists: number of top nets that are trained again.
        seeds: number of training runs of each net for the verdict.
        trial_s: seconds of a trial.
        verdict_s: seconds of the verdict.
        fits: whether there is time for the least number of trials and a verdict with all seeds.
        has_verdict: whether there is time for a verdict, with one seed at least.
    """

    trials: int
    finalists: int
    seeds: int
    trial_s: float
    verdict_s: float
    fits: bool
    has_verdict: bool


def spare_of(slowness: float) -> float:
    """Return the further share of the verdict's time to keep free, by how many times slower the machine has become."""
    return SLOW_SPARE_SHARE * (1 - 1 / max(1.0, slowness))


def make_plan(work: Work, speed: Speed, left_s: float, *, slow_spare: float = 0.0) -> Plan:
    """Plan the remaining time.

    Time goes first to the verdict (every compared net with all seeds), then to the least number of trials, to further
    finalists, and to further trials. If the least number of trials does not fit, there are fewer. The verdict has fewer
    seeds only if it does not fit even without further trials.

    Args:
        work: what remains to be done.
        speed: speed of the machine now.
        left_s: seconds until the end.
        slow_spare: share of the verdict's time that is kept free, see ``spare_of``.
    """
    usable_s = (1 - SPARE_SHARE) * left_s
    trial_s = speed.run_s(work.epochs, work.gmacs)
    again_s = speed.again_s(work.confirm_epochs, work.gmacs)

    def plan(finalists: int, seeds: int, spare: float) -> Plan:
        runs = (work.compared + finalists - 1) * seeds
        verdict_s = (math.ceil(runs / work.workers) * again_s + speed.ending_s) / (1 - spare)
        rounds = max(0, int((usable_s - verdict_s) / trial_s))
        has_time = verdict_s <= usable_s
        trials = min(work.trials, rounds * work.workers)
        has_verdict = has_time and trials >= work.first
        fits = has_verdict and trials >= min(work.least, work.trials) and seeds == work.seeds
        return Plan(trials, finalists, seeds, trial_s, verdict_s, fits, has_verdict)

    least_finalists = work.finalists if work.fixed_finalists else 1
    for finalists in range(work.finalists, least_finalists - 1, -1):
        if (found := plan(finalists, work.seeds, slow_spare)).fits:
            return found
    fewer = [(seeds, 0.0) for seeds in range(work.seeds, 0, -1)]  # no time is kept free before a seed is lost
    for seeds, spare in [(work.seeds, slow_spare), *fewer]:
        found = plan(least_finalists, seeds, spare)
        if found.has_verdict:
            break
    return found


@dataclass(frozen=True)
class Setting:
    """An image size and a number of epochs."""

    size: int
    epochs: int


def settings(size: int, epochs: int, *, may_change_size: bool, may_change_epochs: bool) -> list[Setting]:
    """Return settings by preference: the given one, smaller sizes, then fewer epochs at the smallest size."""
    sizes = [size, *(each for each in SIZES if each < size)] if may_change_size else [size]
    counts = [each for each in EPOCHS if each < epochs] if may_change_epochs else []
    return [*(Setting(one, epochs) for one in sizes), *(Setting(sizes[-1], count) for count in counts)]


def slowness(runs: Sequence[tuple[float, float]], under_way: Sequence[tuple[float, float]] = ()) -> float:
    """Return the time of training runs now, divided by the expected time; 1 until one has ended.

    Args:
        runs: measured and expected seconds of the finished trials, the newest last.
        under_way: seconds so far and expected seconds of the trials in training; they count once they are late.
    """
    ratios = [measured / expected for measured, expected in runs[-RECENT:]]
    usual = max(statistics.median(ratios), statistics.mean(ratios[-NEWEST:])) if ratios else 1.0
    return max([usual, *(so_far / expected for so_far, expected in under_way)])
