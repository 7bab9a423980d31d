"""The result of a search, in Python and as one JSON object."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmnet.search.nets.families import Families, family_name
from lmnet.search.nets.space import Space
from lmnet.search.nets.survey import Survey
from lmnet.search.results.counts import Scored, Tally
from lmnet.search.study.storage import without_password


@dataclass(frozen=True)
class Overview:
    """The facts that are printed before trial 0.

    Args:
        survey: survey of the space.
        trials: total number of trained nets in the study, including earlier runs.
        seconds: estimated seconds for these trials; None if unknown.
        timeout_s: seconds after which the search ends; None for no limit.
        chooses: a line about the metric by which nets are chosen; empty with an objective of your own.
        notes: lines about several families.
    """

    survey: Survey
    trials: int | None
    seconds: float | None
    timeout_s: float | None
    chooses: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class SearchResult:
    """The result of a search.

    Args:
        study: name of the study.
        storage: URL of its database.
        folder: folder with the results; None if nothing was written.
        space: the space.
        tally: counts and nets.
        overview: the facts before trial 0.
        verdict: comparison of the best net with others, see ``make_verdict``; None without a confirmation.
        is_used_up: whether no feasible net of the space is left.
        is_interrupted: whether Ctrl-C ended the search.
        is_own: whether the scores are from the user's objective, not from val images.
    """

    study: str
    storage: str
    folder: Path | None
    space: Space
    tally: Tally
    overview: Overview | None
    verdict: dict[str, Any] | None = None
    is_used_up: bool = False
    is_interrupted: bool = False
    is_own: bool = False


def as_dict(result: SearchResult) -> dict[str, Any]:
    """Return the result as plain data, the same for ``lmnet-search --json`` and ``lmnet-search status --json``.

    Keys do not change from version to version; new ones may be added.
    """
    counts, folder = result.tally, result.folder
    best, start = counts.best, counts.start(result.space)

    def net(one: Scored, path: str | None) -> dict[str, Any]:
        family = family_name(result.space, one.point)
        return _net(one, path) | ({"family": family} if family else {})

    content: dict[str, Any] = {
        "study": result.study,
        "storage": without_password(result.storage),
        "trials": counts.trials,
        "stopped_early": 0,  # a key of earlier versions; now every net is trained in full
        "failed": sum(counts.failed.values()),
        "failures": counts.failed,
        "cut_off": counts.cut_off,
        "running": counts.running,
        "infeasible_proposals": counts.infeasible,
        "best": None if best is None else net(best, _path(folder, "best.yaml")),
        "start": None if start is None else net(start, None),
        "front": [
            net(one, _path(folder, f"front/{place:02d}_{one.hash}.yaml")) for place, one in enumerate(counts.front)
        ],
        "out": None if folder is None else str(folder),
        "space_used_up": result.is_used_up,
        "interrupted": result.is_interrupted,
        "verdict": result.verdict,
    }
    if isinstance(result.space, Families):
        content["families"] = {
            family_name(result.space, one.point): net(one, None) for one in counts.best_of_families(result.space)
        }
        content["left_out"] = result.space.left_out
    if result.overview is not None:
        seen = result.overview.survey
        content["space"] = {
            "points": seen.size,
            "cheapest_gmacs": seen.cheapest.gmacs,
            "dearest_gmacs": seen.dearest.gmacs,
            "feasible_share": round(seen.feasible_share, 4),
            "estimated_s": result.overview.seconds,
        }
    return content


def _net(one: Scored, path: str | None) -> dict[str, Any]:
    return {
        "hash": one.hash,
        "score": one.score,
        **one.costs,
        "params": one.params,
        "spec": path,
        "trial": one.number,
        "epochs": one.epochs,
    }


def _path(folder: Path | None, name: str) -> str | None:
    return None if folder is None else str(folder / name)
