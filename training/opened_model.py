"""The model that a command names, opened: its net with weights, and all that stands beside them."""

from __future__ import annotations
