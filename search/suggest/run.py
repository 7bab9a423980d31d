"""``lmnet.suggest``: which net of the zoo to take for given data, under given limits, on this machine."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lmnet.search.suggest.answer import Suggestion, compared, suggested, training_command, verdict
from lmnet.search.suggest.choices import NetChoice, find_choices
from lmnet.search.suggest.data_summary import FEW, enough_to_compare, summarize_data
from lmnet.search.suggest.rounds import Contender, Rounds, Say, make_contender
from lmnet.search.suggest.timing import MachineCost, Stopwatch, default_runtime
from lmnet.training.data.load import DataSets
from lmnet.training.fitting.chooser import make_chooser
from lmnet.training.prediction.inference import resolve_device
from lmnet.training.runs.train_run import DataChoice

TIMING_SHARE = 0.3
"""Most of the time that measuring nets may take."""
MOST = 6
"""Most nets that are trained."""
TIMED = 10
"""Most nets that are timed."""
SLACK_S = 6.0
"""Seconds kept for the answer."""


@dataclass(frozen=True)
class Bounds:
    """Upper limits of what a net may cost; None for no limit.

    Args:
        max_ms: milliseconds of one image on this machine.
        max_mb: megabytes of the file.
        max_gmacs: 10^9 multiply-accumulates of one image.
        max_params: parameters.
    """

    max_ms: float | None = None
    max_mb: float | None = None
    max_gmacs: float | None = None
    max_params: float | None = None

    def __post_init__(self) -> None:
        """Check them.

        Raises:
            ValueError: a limit is not above 0.
        """
        for name, value in vars(self).items():
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"suggest: {name} must be above 0, got {value}. Leave it out for no limit.")

    @property
    def text(self) -> str:
        """The limits that are set, for people."""
        return ", ".join(f"{name} {value:g}" for name, value in vars(self).items() if value is not None) or "no limit"

    def allows(self, choice: NetChoice, cost: MachineCost | None = None) -> bool:
        """Return whether a net meets the limits; without a cost, the computed ones. An unknown time meets none."""
        pairs: list[tuple[float, float | None]] = [(choice.gmacs, self.max_gmacs), (choice.params, self.max_params)]
        if cost is not None:
            pairs += [(cost.mb, self.max_mb), (math.inf if cost.ms is None else cost.ms, self.max_ms)]
        return all(limit is None or value <= limit for value, limit in pairs)


def suggest(
    data: str | Path | DataChoice | None = None,
    *,
    max_ms: float | None = None,
    max_mb: float | None = None,
    max_gmacs: float | None = None,
    max_params: float | None = None,
    runtime: str | None = None,
    minutes: float = 10.0,
    size: int = 128,
    num_classes: int = 2,
    seed: int = 0,
    device: str = "auto",
    flags: Sequence[str] | None = None,
    say: Say = lambda text: None,
) -> Suggestion:
    """Return which net of the zoo to take: ``lmnet.suggest("my_folder", max_ms=20, minutes=10).line``.

    With data, the nets that meet the limits are timed on this machine, and the most promising ones are trained in turns
    for the minutes given, each from its shipped weights, from ImageNet or from random weights. The validation images
    compare them. Without data, it answers at once from the zoo's table and from what was timed here before.

    Args:
        data: a folder, a list, "synthetic", or a ``DataChoice``; None for no data.
        max_ms: upper limit of the milliseconds of one image on this machine.
        max_mb: upper limit of the file's megabytes.
        max_gmacs: upper limit in GMACs.
        max_params: upper limit of parameters.
        runtime: torch, onnxruntime or openvino; None for onnxruntime where it is installed.
        minutes: that it may take, from the call to the answer.
        size: side in pixels of nets without shipped weights.
        num_classes: classes, background included.
        seed: random seed of the split, of random weights and of the order of images.
        device: where nets are trained: auto, cpu, cuda or cuda:N.
        flags: the options of ``lmnet-train`` that choose the same data; None for ``--data`` and ``--seed``.
        say: called with what happens, for people.

    Raises:
        DataError: the data cannot be used.
        ValueError: a limit or the minutes are not above 0; an unknown runtime.
        ImportError: the runtime is not installed.
    """
    start = time.monotonic()
    bounds = Bounds(max_ms, max_mb, max_gmacs, max_params)
    resolve_device(device)  # before anything is read
    if not 0 < minutes < math.inf:
        raise ValueError(f"suggest: minutes must be above 0, got {minutes}. Use 10.")
    chosen_runtime = runtime or default_runtime()
    if data is None:
        return _from_table(bounds, Stopwatch(chosen_runtime), size, num_classes, start)
    choice = data if isinstance(data, DataChoice) else DataChoice(path=str(data))
    if flags is None:
        flags = ["--data", choice.path, *(["--seed", str(seed)] if seed else [])]
    say(f"reading {choice.path}")
    sets = choice.load(seed=seed, num_classes=num_classes)
    job = _Job(bounds, start + max(60 * minutes - SLACK_S, 30 * minutes), num_classes, seed, device, tuple(flags), say)
    return job.run(sets, chosen_runtime, size, start)


def _from_table(bounds: Bounds, watch: Stopwatch, size: int, num_classes: int, start: float) -> Suggestion:
    """Answer without data: from the scores of the zoo's own weights."""
    choices = [
        each for each in find_choices(None, size=size, in_channels=3, num_classes=num_classes) if each.known_dice
    ]
    known = {each: cost for each in choices if (cost := watch.known(each)) is not None}
    costs = {each: known.get(each) or watch.estimate(each, known) for each in choices}
    fitting = [each for each in choices if bounds.allows(each, costs[each])]
    where = f"this machine's {watch.runtime}" if known else f"the zoo's table, {watch.runtime}"
    measured = f"{len(known)} of {len(choices)} nets were measured here"
    notes = [f"Dice is that of the zoo's table (polyps of Kvasir-SEG). ms: {where}; {measured}."]
    if not fitting:
        return _nothing_fits(choices, costs, bounds, watch.runtime, notes, time.monotonic() - start)
    nets = [
        suggested(each, costs[each], training_command(each, (), in_channels=3, num_classes=num_classes),
                  dice=each.known_dice)
        for each in fitting
    ]  # fmt: skip
    best = nets[0]
    line = (
        f"take {best.name}: Dice {best.dice:.3f} on polyps, {best.cost}; lmnet-suggest --data FOLDER compares nets on "
        f"your own images; train it with: {best.command}"
    )
    return Suggestion(line, nets, notes, watch.runtime, 0, (time.monotonic() - start) / 60)


def _nothing_fits(
    choices: Sequence[NetChoice],
    costs: dict[NetChoice, MachineCost],
    bounds: Bounds,
    runtime: str,
    notes: list[str],
    seconds: float,
) -> Suggestion:
    cheap = min(choices, key=lambda each: (costs[each].ms or math.inf, each.gmacs))
    cost = costs[cheap]
    about = "" if cost.is_measured else "about "
    ms = "" if cost.ms is None else f"{about}{cost.ms:.1f} ms, "
    line = (
        f"no net of the zoo meets {bounds.text}: the cheapest, {cheap.name}, needs {ms}{about}{cost.mb:.1f} MB, "
        f"{cheap.gmacs:.3f} GMACs and {cheap.params:,} parameters. Raise the limit, or look for a smaller net with: "
        "lmnet-search --spec lmnet_xxs --max-gflops G"
    )
    return Suggestion(line, [], notes, runtime, 0, seconds / 60)


@dataclass
class _Job:
    """One call with data."""

    bounds: Bounds
    until: float
    num_classes: int
    seed: int
    device: str
    flags: tuple[str, ...]
    say: Say

    def run(self, given: DataSets, runtime: str, size: int, start: float) -> Suggestion:
        notes = [f"note: {note}" for note in given.notes]
        data, note = enough_to_compare(given, self.seed)
        summary = summarize_data(data, self.num_classes)
        notes += [summary.text, *([note] if note else [])]
        for text in notes:
            self.say(text)
        chooser = make_chooser(data.val.at(size, summary.channels), self.num_classes)
        if chooser.uses_loss:
            raise ValueError(f"suggest: no net can be compared: {chooser.text}")
        watch = Stopwatch(runtime, in_channels=summary.channels)
        self.say("computing what each net of the zoo costs")
        choices = find_choices(data, size=size, in_channels=summary.channels, num_classes=self.num_classes)
        costs = self._costs(choices, watch, notes)
        fitting = [each for each in choices if each in costs and self.bounds.allows(each, costs[each])]
        if not fitting:
            known = costs | {each: cost for each in choices if (cost := watch.known(each)) is not None}
            every = {each: known.get(each) or watch.estimate(each, known) for each in choices}
            return _nothing_fits(choices, every, self.bounds, runtime, notes, time.monotonic() - start)
        self.say(f"{len(fitting)} of {len(choices)} nets meet {self.bounds.text}.")
        contenders = self._contenders(_spread(fitting, costs), costs, summary.channels, notes)
        scoring = sum(0.5 * each.image_s + 0.02 for each in contenders[:3]) * len(data.val)
        unknown = sum(not each.cost.is_measured for each in contenders[:3])
        timing = unknown / 3 * TIMING_SHARE / 2 * self.left
        rounds = Rounds(
            data,
            until=self.until - min(scoring + timing, 0.4 * self.left),
            in_channels=summary.channels,
            seed=self.seed,
            device=self.device,
            say=self.say,
        )
        finalists = rounds.run(contenders)
        rounds.score(finalists, until=self.until)
        self._time_finalists(finalists, watch)
        notes += rounds.notes
        commands = {
            each: training_command(each, self.flags, in_channels=summary.channels, num_classes=self.num_classes)
            for each in fitting
        }
        nets = compared(finalists, commands)
        minutes = (time.monotonic() - start) / 60
        if not nets:
            first = fitting[0]
            nets = [suggested(first, costs[first], commands[first])]
            notes.append("The time was not enough to train and score one net. Give more --minutes.")
            line = f"take {nets[0].name}, untested on your images, {nets[0].cost}; train it with: {nets[0].command}"
            return Suggestion(line, nets, notes, runtime, 0, minutes)
        notes.append(
            f"{len(nets)} nets were trained to the end, one run each, for {rounds.images} images (one epoch has "
            f"{len(data.train)}). The val images chose epoch and net, so new images score somewhat lower."
        )
        if summary.lesion_images < FEW:
            notes.append(f"Only {summary.lesion_images} val images have a lesion: too few to tell nets apart.")
        line = verdict(nets, len(data.val))
        return Suggestion(line, nets, notes, runtime, len(data.val), minutes)

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self.until - time.monotonic()

    def _costs(self, choices: Sequence[NetChoice], watch: Stopwatch, notes: list[str]) -> dict[NetChoice, MachineCost]:
        """Return the costs of the nets that the computed limits allow.

        With a limit on the time, the most promising ones are timed now, for a share of the minutes; those that a guess
        has over a limit come last. Other times are guessed; those of the nets that are compared in the end are measured
        then.
        """
        allowed = [each for each in choices if self.bounds.allows(each)]
        known = {each: cost for each in allowed if (cost := watch.known(each)) is not None}
        guesses = {each: known.get(each) or watch.estimate(each, known) for each in allowed}
        near = [each for each in allowed if not self._is_far_over(guesses[each])]
        if self.bounds.max_ms is None:
            return {each: guesses[each] for each in near}
        near.sort(key=lambda each: not self.bounds.allows(each, guesses[each]) and guesses[each].ms is not None)
        order = [*near[: TIMED - 2], *sorted(near[TIMED - 2 :], key=lambda each: each.gmacs)[:2]]
        measured = watch.measure(order, until=time.monotonic() + TIMING_SHARE * self.left, say=self.say)
        left = [each for each in near if each not in measured]
        if left:
            names = ", ".join(each.name for each in left)
            notes.append(f"{len(left)} nets were not timed before training; their times were guessed: {names}.")
        return measured | {each: watch.estimate(each, measured) for each in left}

    def _time_finalists(self, finalists: Sequence[Contender], watch: Stopwatch) -> None:
        """Measure the nets that are compared, the best first, in what is left of the time; guess the others anew."""
        ranked = sorted(finalists, key=lambda each: -each.state.best_score)
        measured = watch.measure([each.choice for each in ranked], until=self.until, say=self.say)
        for each in finalists:
            each.cost = measured.get(each.choice) or watch.estimate(each.choice, measured)

    def _is_far_over(self, guess: MachineCost) -> bool:
        """Return whether a guess is so far over a limit that timing the net is a waste."""
        over_mb = self.bounds.max_mb is not None and guess.mb > 1.2 * self.bounds.max_mb
        over_ms = self.bounds.max_ms is not None and guess.ms is not None and guess.ms > 3 * self.bounds.max_ms
        return over_mb or over_ms

    def _contenders(
        self, choices: Sequence[NetChoice], costs: dict[NetChoice, MachineCost], channels: int, notes: list[str]
    ) -> list[Contender]:
        found = []
        for each in choices:
            self.say(f"building {each.name}, and timing its first training steps")
            try:
                contender = make_contender(
                    each, costs[each], in_channels=channels, num_classes=self.num_classes, seed=self.seed
                )
            except ValueError as err:  # weights that can be had nowhere
                notes.append(f"{each.name}: left out ({str(err).splitlines()[0]})")
                continue
            found.append(contender)
            if time.monotonic() > self.until - 10 and len(found) > 1:
                break
        self.say("training in turns: " + ", ".join(each.choice.name for each in found))
        return found


def _spread(choices: Sequence[NetChoice], costs: dict[NetChoice, MachineCost]) -> list[NetChoice]:
    """Return the nets to train: the most promising ones, the fastest, and one at half the first one's time."""
    chosen = list(choices[: MOST - 2])
    rest = list(choices[MOST - 2 :])
    leader = costs[choices[0]].ms
    if leader is not None:
        half = next((each for each in rest if (costs[each].ms or math.inf) <= leader / 2), None)
        if half is not None and not any((costs[each].ms or math.inf) <= leader / 2 for each in chosen):
            chosen.append(half)
    fastest = min(choices, key=lambda each: costs[each].ms or math.inf)
    for each in (fastest, *rest):
        if each not in chosen and len(chosen) < MOST:
            chosen.append(each)
    return chosen
