"""A study's fingerprint: what must not change between two sessions; an error names each difference."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import optuna

from lmnet.builder.spec import parse_spec
from lmnet.search.nets.families import make_space
from lmnet.search.nets.space import Space
from lmnet.search.study.storage import retry

FINGERPRINT = "lmnet:fingerprint"
SPEC = "lmnet:spec"
MACHINE = "lmnet:machine"
VERDICT = "lmnet:verdict"
ABOUT = "lmnet:about"


def kept_specs(space: Space) -> str | list[str]:
    """Return what a study keeps of its specs: the text of one, or those of several families."""
    specs = [family.spec.dump() for family in space.families]
    return specs[0] if len(specs) == 1 else specs


def kept_space(kept: str | list[str]) -> Space:
    """Return the space of what ``kept_specs`` returned."""
    return make_space([parse_spec(text) for text in ([kept] if isinstance(kept, str) else kept)])


def short_hash(content: Any) -> str:
    """Return a short hash of plain data."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]


def check_fingerprint(study: optuna.Study, facts: Mapping[str, Any]) -> None:
    """Write the facts into a new study, or compare them with an old one's.

    Args:
        study: the study.
        facts: what the study is about, by name; nested facts are compared one by one.

    Raises:
        ValueError: a fact differs; all that do are named.
    """
    now = json.loads(json.dumps(dict(facts), default=str))
    before = retry(lambda: study.user_attrs).get(FINGERPRINT)
    if before is None:
        if retry(lambda: study.get_trials(deepcopy=False)):
            raise ValueError(f"study {study.study_name}: it has trials of another program. Use another --study-name.")
        retry(lambda: study.set_user_attr(FINGERPRINT, now))
        return
    old, new = _flat(before), _flat(now)
    changed = [f"{name}={_short(new.get(name))} (was {_short(old.get(name))})"
               for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]  # fmt: skip
    if changed:
        raise ValueError(
            f"study {study.study_name}: a study must continue as it began, got {', '.join(changed)}. "
            "Use --study-name for a new study, or the old values to continue."
        )


def check_machine(study: optuna.Study, machine: str) -> None:
    """Keep the machine whose latencies a study compares, or check that this is it.

    Raises:
        ValueError: the study's latencies are another machine's.
    """
    before = retry(lambda: study.user_attrs).get(MACHINE)
    if before is None:
        retry(lambda: study.set_user_attr(MACHINE, machine))
    elif before != machine:
        raise ValueError(
            f"study {study.study_name}: its latencies were measured on {before}, and this is {machine}. Use "
            "--study-name for a new study here, or leave --max-latency-ms out."
        )


def _flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _short(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
