"""After the search: train the best nets, the starting net and the largest feasible net again, and compare them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from lmnet.builder.models import build_model
from lmnet.builder.optimize import optimize_for_inference
from lmnet.builder.spec import Spec
from lmnet.search.nets.families import family_name
from lmnet.search.nets.pricing import Candidate, Pricer
from lmnet.search.nets.survey import largest_within
from lmnet.search.results.counts import ROLES, Scored, Tally, role_name
from lmnet.search.train.objective import TrainingObjective
from lmnet.search.train.pools import Pool
from lmnet.search.train.training import Objective
from lmnet.search.verdict.again import FIRST_SEED, ConfirmingObjective, confirm, read_confirmed
from lmnet.search.verdict.cases import Trained, draw_cases
from lmnet.search.verdict.difference import COMPARED, Confirmed, choose, make_verdict, no_verdict
from lmnet.training.export.benchmark import measure_interleaved, torch_threads

PASSES, LEAST_PASSES = 15, 3
"""Timed passes of each net, and the least number of them on a busy machine."""
FAMILIES_FIRST = 2
"""Other families whose best nets are always compared with the result; those of further families if there is time."""
TIMING_S = 8.0
"""Seconds for the timed passes of all nets."""


def confirm_search(
    tally: Tally,
    pricer: Pricer,
    objective: TrainingObjective,
    *,
    epochs: int,
    seeds: int,
    finalists: int,
    are_all_needed: bool = True,
    make_pool: Callable[[Objective], Pool],
    folder: Path,
    deadline: float | None,
    is_stopped: Callable[[], bool],
    on_note: Callable[[str], None] = lambda line: None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Train the nets with the highest scores again, choose the best of them, and compare it with simpler choices.

    Finished training runs are kept in the folder of the search and are not repeated.

    Args:
        tally: results of the search.
        pricer: computes costs in its space.
        objective: the objective of the search.
        epochs: epochs of each training run.
        seeds: training runs for each net.
        finalists: how many of the top nets are trained again.
        are_all_needed: train all finalists in any case. Else the best one and the nets it is compared with come first;
            a further finalist is trained only if there is time for all of its seeds. The same holds for the best nets
            of families, beyond the ``FAMILIES_FIRST`` with the highest scores.
        make_pool: makes a pool for an objective.
        folder: results folder of the search.
        deadline: time on ``time.monotonic`` at which it ends; None for no limit.
        is_stopped: returns True once the search should stop.
        on_note: called with a line of text before the nets are timed.
        on_progress: called with the number of finished training runs and their total.
    """
    if tally.best is None:
        return no_verdict("No net has a score, so nothing was compared.", best=None)
    top = tally.ranked[:finalists]
    points = {one.hash: one.point for one in top}
    roles = _roles(tally, pricer, top[0])
    points |= {one.hash: one.point for _, one in roles}
    if len(points) == 1:
        same = " and ".join(dict.fromkeys(ROLES[role] for role, _ in roles))
        return no_verdict(f"The best net is {same}: there is no other net to compare.", best=top[0].hash)
    specs = {hash_: pricer.spec(point) for hash_, point in points.items()}
    again = ConfirmingObjective(objective, epochs)
    place = folder / "confirm" / again.name
    further = _further_families(roles, pricer, top[0])
    needed = {one.hash for _, one in roles} - further.keys() | {
        one.hash for one in (top if are_all_needed else top[:1])
    }
    extra = points.keys() - needed
    failures = confirm(
        [(hash_, spec) for hash_, spec in specs.items() if hash_ not in extra],
        again,
        make_pool,
        seeds=seeds,
        more=[(hash_, spec) for hash_, spec in specs.items() if hash_ in extra],
        folder=place,
        deadline=deadline,
        is_stopped=is_stopped,
        on_progress=on_progress,
    )

    on_note("verdict: timing the nets and comparing their test scores")

    def confirmed(role: str, one: Candidate) -> Confirmed:
        family = family_name(pricer.space, one.point)
        return Confirmed(role, one.hash, one.gmacs, one.params, *read_confirmed(place, one.hash, seeds), family)

    tried = [confirmed("finalist", pricer.price(one.point)) for one in top]
    missed = {hash_ for hash_ in extra if len(read_confirmed(place, hash_, seeds)[0]) < seeds}
    specs = {hash_: spec for hash_, spec in specs.items() if hash_ not in missed}
    best = replace(choose([one for one in tried if one.hash not in missed]), role="best")
    rows = {one.hash: one for one in tried}
    rows |= {one.hash: each for role, one in roles if not is_own_family(each := confirmed(role, one), best)}
    rows = {hash_: one for hash_, one in rows.items() if hash_ not in missed}
    rows.pop(best.hash)
    if best.family:
        rows = {one.hash: one for one in sorted(rows.values(), key=lambda one: (*COMPARED, "finalist").index(one.role))}
    verdict = make_verdict(
        [best, *rows.values()], epochs=epochs, milliseconds=_milliseconds(specs, objective), seeds=seeds
    )
    verdict["finalists"] = [one.hash for one in top]
    starts = [one.hash for role, one in roles if role == "start"]
    if best.hash in starts:
        name = role_name("start", best.family)
        verdict["text"] = f"No net was found that scores better than {name}. {verdict['text']}"
    verdict["cases"] = _cases([best, *rows.values()], specs, again, place, folder / "cases")
    late = [name for hash_, name in further.items() if hash_ in missed]
    for remark in _remarks(
        is_start_outside=pricer.space.start is not None and not starts, late=late, failures=failures
    ):
        verdict["text"] += f" {remark}"
    return verdict


def _cases(
    nets: Sequence[Confirmed], specs: dict[str, Spec], again: ConfirmingObjective, place: Path, folder: Path
) -> list[list[str]]:
    """Draw test images as the best net and the first one compared with it see them; return captions and file names."""
    shown = [nets[0], *(one for one in nets[1:] if one.role in COMPARED)][:2]
    weights = {one.hash: place / f"{one.hash}-s{FIRST_SEED}.safetensors" for one in shown}
    if not all(FIRST_SEED in one.scores and weights[one.hash].exists() for one in shown):
        return []
    trained = [
        Trained(role_name(one.role, one.family), specs[one.hash], weights[one.hash], one.scores[FIRST_SEED])
        for one in shown
    ]
    with torch_threads(1):
        return draw_cases(trained, again.base, again.test, folder)


def _roles(tally: Tally, pricer: Pricer, top: Scored) -> list[tuple[str, Candidate]]:
    """Return the nets that the result is compared with, each with its role; of several families each one's best."""
    space, start = pricer.space, tally.start(pricer.space)
    own = space.start if start is None else start.point
    points = [] if own is None else [("start", own)]
    points.append(("largest", largest_within(pricer, top.point).point))
    if len(space.families) > 1:
        points = [*(("family", one.point) for one in tally.best_of_families(space)), *points]
    roles = [(role, pricer.price(point)) for role, point in points]
    return [(role, one) for role, one in roles if one.is_feasible]


def _remarks(*, is_start_outside: bool, late: Sequence[str], failures: Sequence[str]) -> Iterator[str]:
    if is_start_outside:
        yield "The starting net is outside the limits and was not compared."
    if late:
        yield f"There was no time to compare the best nets of {', '.join(late)}."
    if failures:
        yield f"{len(failures)} of these training runs failed, the last with {failures[-1]}."


def _further_families(roles: Sequence[tuple[str, Candidate]], pricer: Pricer, top: Scored) -> dict[str, str]:
    """Return the families whose best nets are compared only if there is time, by the hash of that net."""
    named = [(one.hash, family_name(pricer.space, one.point)) for role, one in roles if role == "family"]
    others = [(hash_, name) for hash_, name in named if name != family_name(pricer.space, top.point)]
    return dict(others[FAMILIES_FIRST:])


def is_own_family(one: Confirmed, best: Confirmed) -> bool:
    """Return whether a net has the role ``family`` for the family of the result; it then is a plain finalist."""
    return one.role == "family" and one.family == best.family


def _milliseconds(specs: dict[str, Spec], objective: TrainingObjective) -> dict[str, float]:
    """Return the median time of one image by hash, optimised for inference, measured side by side on the CPU."""

    def one_pass(spec: Spec) -> Callable[[], object]:
        model = build_model(spec).eval()
        size = objective.recipe_of(model, spec).size
        image = torch.zeros(1, spec.layout.input.channels, size, size)
        net = optimize_for_inference(model)

        def run() -> object:
            with torch.inference_mode():
                return net(image)

        return run

    with torch_threads(1):  # several threads wait for each other on busy cores
        passes = [one_pass(spec) for spec in specs.values()]
        (first,) = zip(*measure_interleaved(passes, repeats=1), strict=True)
        repeats = min(PASSES, max(LEAST_PASSES, int(TIMING_S / sum(first)) - 2))  # 2 for the warm-up
        times = measure_interleaved(passes, repeats=repeats)
    return {hash_: 1000 * statistics.median(each) for hash_, each in zip(specs, times, strict=True)}
