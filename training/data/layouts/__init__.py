"""Layouts of data sets: one file each, with ``find(path) -> Found | None``; a new file is found by itself."""

import importlib
import pkgutil

LAYOUTS = tuple(
    importlib.import_module(f"{__name__}.{module.name}").find
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda module: module.name)
)
"""Each looks at a path and returns its cases, or None if the path has another layout."""
