"""A study as one JSON object, the same from ``lmnet-search --json`` and ``lmnet-search status --json``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmnet.search.results import Scored
from lmnet.search.storage import without_password

if TYPE_CHECKING:
    from lmnet.search.run_search import SearchResult


def as_dict(result: SearchResult) -> dict[str, Any]:
    """Return what a search came to as plain data. Keys stay; more may come."""
    counts, folder = result.tally, result.folder
    best, start = counts.best, counts.at(result.space.start)
    content: dict[str, Any] = {
        "study": result.study,
        "storage": without_password(result.storage),
        "trials": counts.trials,
        "stopped_early": counts.stopped,
        "failed": sum(counts.failed.values()),
        "failures": counts.failed,
        "cut_off": counts.cut_off,
        "running": counts.running,
        "infeasible_proposals": counts.infeasible,
        "best": None if best is None else _net(best, _path(folder, "best.yaml")),
        "start": None if start is None else _net(start, None),
        "front": [
            _net(one, _path(folder, f"front/{place:02d}_{one.hash}.yaml")) for place, one in enumerate(counts.front)
        ],
        "out": None if folder is None else str(folder),
        "space_used_up": result.is_used_up,
        "interrupted": result.is_interrupted,
    }
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
    found: dict[str, Any] = {"hash": one.hash, "score": one.score, "gmacs": one.gmacs, "params": one.params}
    found |= {"spec": path, "trial": one.number, "epochs": one.epochs}
    if one.latency_ms is not None:
        found["latency_ms"] = one.latency_ms
    return found


def _path(folder: Path | None, name: str) -> str | None:
    return None if folder is None else str(folder / name)
