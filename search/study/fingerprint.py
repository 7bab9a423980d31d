"""The fingerprint of a study: settings that must be the same in every session; an error lists each difference."""

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
    """Return the specs as a study stores them: the text of one spec, or a list of texts."""
    specs = [family.spec.dump() for family in space.families]
    return specs[0] if len(specs) == 1 else specs


def kept_space(kept: str | list[str]) -> Space:
    """Return the space from the specs that a study stores, see ``kept_specs``."""
    return make_space([parse_spec(text) for text in ([kept] if isinstance(kept, str) else kept)])


def short_hash(content: Any) -> str:
    """Return a short hash of plain data."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]


def check_fingerprint(study: optuna.Study, facts: Mapping[str, Any]) -> None:
    """Store the settings in a new study, or compare them with those of an old one.

    Args:
        study: the Optuna study.
        facts: the settings by name; nested ones are compared one by one.

    Raises:
        ValueError: a setting differs; the message lists all that differ.
    """
    now = json.loads(json.dumps(dict(facts), default=str))
    before = retry(lambda: study.user_attrs).get(FINGERPRINT)
    if before is None:
        if retry(lambda: study.get_trials(deepcopy=False)):
            raise ValueError(
                f"study {study.study_name}: its trials are from another program. Use another --study-name."
            )
        retry(lambda: study.set_user_attr(FINGERPRINT, now))
        return
    old, new = _flat(before), _flat(now)
    changed = [f"{name}={_short(new.get(name))} (was {_short(old.get(name))})"
               for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]  # fmt: skip
    if changed:
        raise ValueError(
            f"study {study.study_name}: these settings differ from those it began with: {', '.join(changed)}. "
            "Use --study-name for a new study, or the old values to continue."
        )


def check_machine(study: optuna.Study, machine: str) -> None:
    """Store the machine on which a study measures latency, or check that it is this one.

    Raises:
        ValueError: the study measured latency on another machine.
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
