"""SimpleUNet: https://github.com/Frankyu5666666/SimpleUNet (no licence file), to ``simpleunet16``."""

from __future__ import annotations

from lmnet.builder.importers.family import Family, Rule, by_rules

UNIT: tuple[Rule, ...] = ((r"single_conv\.0\.", "conv."), (r"single_conv\.1\.", "norm."))


def rules(joins: int) -> tuple[Rule, ...]:
    """Return the rules of a net with so many joins; the authors count them from the deepest, we from the finest."""
    levels = {join: joins - 1 - join for join in range(joins)}
    return (
        *((rf"alpha{join}$", f"join{level}.scales.0") for join, level in levels.items()),
        *((rf"beta{join}$", f"join{level}.scales.1") for join, level in levels.items()),
        *((rf"de_layer{join}\.0\.", f"dec{level}.", UNIT) for join, level in levels.items()),
        (r"en_layer(\d)\.(?:0\.)?", r"enc\1.", UNIT),
        (r"short_layer(\d)\.0\.", r"skip\1.", UNIT),
        (r"bottleneck\.0\.", "bottom.", UNIT),
        (r"seg_head\.", "head.", UNIT),
    )


FAMILY = Family("SimpleUNet", frozenset({"alpha3", "beta3", "bottleneck.0.single_conv.0.weight"}), by_rules(rules(4)))
