"""Routing of ``--set KEY=VALUE`` in training: to the recipe or to the spec, by the key's name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from lmnet.builder.did_you_mean import closest
from lmnet.builder.find_model import find_model
from lmnet.builder.spec import spec_of
from lmnet.training.fitting.recipe import Recipe

_PLACES = {"in_channels": "input.channels"}
"""Places in a spec that people know by another name."""


def route_assignments(
    spec: str, values: Mapping[str, Any], variables: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the recipe's changes and the spec's.

    Args:
        spec: zoo name or path.
        values: what ``--set`` says: keys of the recipe, variables of the spec, or places in it (``input.channels``).
        variables: what ``--var`` says: for the spec alone.

    Raises:
        ValueError: a key is neither, or both.
        SpecError: the spec cannot be read.
    """
    recipe_keys = {field.name for field in dataclasses.fields(Recipe)}
    spec_keys = set(spec_of(find_model(spec)).layout.vars)
    changes, overrides = {}, dict(variables)
    for key, value in values.items():
        head = key.partition("[")[0]
        if head in recipe_keys and head in spec_keys:
            raise ValueError(
                f"--set {key}: both the recipe and the spec have {head}. For the spec, give --var {key}=..."
            )
        if head in recipe_keys:
            changes[key] = value
        elif head in spec_keys or "." in key:
            overrides[key] = value
        else:
            close = closest(key, [*spec_keys, *recipe_keys, *_PLACES])
            hint = f"Did you mean {_PLACES.get(close, close)}? " if close else ""
            raise ValueError(
                f"--set {key}: neither the recipe nor the spec has {key!r}. {hint}The recipe has "
                f"{', '.join(sorted(recipe_keys))}; the spec has {', '.join(sorted(spec_keys))}."
            )
    return changes, overrides
