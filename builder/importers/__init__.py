"""Import of published checkpoints: their state_dict keys to ours, one file a family of nets.

A new file in this folder with a ``FAMILY`` is found by itself.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache

from torch import Tensor

from lmnet.builder.importers.family import Family


@cache
def families() -> tuple[Family, ...]:
    """Return the families whose checkpoints are known, in the order of their files."""
    modules = (importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__))
    return tuple(module.FAMILY for module in modules if hasattr(module, "FAMILY"))


def family_of(state: Mapping[str, Tensor]) -> Family | None:
    """Return the family that a state_dict's keys belong to, or None if they are ours or unknown."""
    return next((family for family in families() if family.marks <= state.keys()), None)
