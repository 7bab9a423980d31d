"""What stands beside a net's tensors: one dict of strings that goes wherever the tensors go."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

Normalization = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and deviation of the channels."""

OF_THE_FILE = frozenset(
    {"deploy", "format", "checksum", "lmnet", "lmnet_version", "spec", "spec_hash", "weights_hash", "weights"}
    | {"quantized", "stride", "fixed_shape", "num_classes", "class_names", "class_colors", "licence"}
)
"""Keys that speak of one file, not of the model in it."""
OF_THE_TRAINING = frozenset({"data", "data_name", "fingerprint", "epoch", "score", "recipe", "seed"})
"""Keys that hold only while the net gives the classes that it was trained for."""


def facts_of_model(facts: Mapping[str, str]) -> dict[str, str]:
    """Return those of a file's strings that are the model's: size, in_channels, mean, std, data, recipe, epoch, ..."""
    return {key: facts[key] for key in sorted(facts) if key not in OF_THE_FILE}


def normalization_facts(mean: Sequence[float], std: Sequence[float]) -> dict[str, str]:
    """Return mean and deviation as facts."""
    return {"mean": json.dumps(list(mean)), "std": json.dumps(list(std))}


def read_normalization(facts: Mapping[str, str], *, where: str) -> Normalization | None:
    """Return mean and deviation of the channels that the net was trained with; None if nothing says so.

    Args:
        facts: what stands beside a model's weights.
        where: file or model they are from, for the message.

    Raises:
        ValueError: they are no lists of finite numbers with deviations above 0.
    """
    if "mean" not in facts and "std" not in facts:
        return None
    mean, std = _numbers(facts, "mean", where), _numbers(facts, "std", where)
    if len(mean) != len(std) or min(std) <= 0:
        raise ValueError(
            f"{where}: its mean is {facts['mean']} and its std {facts['std']}; as many of both are "
            "needed, and std above 0. Get the file again."
        )
    return mean, std


def _numbers(facts: Mapping[str, str], key: str, where: str) -> tuple[float, ...]:
    text = facts.get(key, "absent")
    try:
        values = tuple(float(value) for value in json.loads(text))
        if values and all(map(math.isfinite, values)):
            return values
    except (ValueError, TypeError, OverflowError, RecursionError):
        pass
    raise ValueError(f"{where}: its {key} is {text[:80]}, no list of finite numbers. Get the file again.")
