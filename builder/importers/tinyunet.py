"""TinyU-Net: https://github.com/ChenJunren-Lab/TinyU-Net (MIT), to ``tinyunet``."""

from __future__ import annotations

from lmnet.builder.importers.family import Family, Rule, by_rules

UNIT: tuple[Rule, ...] = ((r"conv\.", "conv."), (r"bn\.", "norm."))
BLOCK: tuple[Rule, ...] = (
    (r"pwconv1\.", "squeeze.", UNIT),
    (r"pwconv2\.", "project.", UNIT),
    (r"m\.(\d)\.", r"chain.\1.", UNIT),
)
RULES: tuple[Rule, ...] = (
    *((rf"encoder{level + 1}\.cmrf\.", f"enc{level}.", BLOCK) for level in range(4)),
    *((rf"decoder{level + 1}\.cmrf\.", f"dec{level}.", BLOCK) for level in range(4)),
    (r"final_conv\.", "head.conv."),
)
FAMILY = Family("TinyU-Net", frozenset({"encoder1.cmrf.m.0.conv.weight", "final_conv.weight"}), by_rules(RULES))
