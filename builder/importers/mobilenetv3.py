"""MobileNetV3-large of torchvision (BSD 3-Clause), its beginning, to the encoder of ``lvunet``."""

from __future__ import annotations

from lmnet.builder.importers.family import UNIT, Family, Rule, by_rules
from lmnet.builder.importers.lvunet import PLAIN, WIDENED

RULES: tuple[Rule, ...] = (
    (r"features\.0\.", "stem.", UNIT),
    (r"features\.1\.", "enc1.", PLAIN),
    *((rf"features\.{index}\.", f"enc{index}.", WIDENED) for index in range(2, 10)),
    (r"features\.|classifier\.", None),
)
FAMILY = Family(
    "MobileNetV3 (torchvision)",
    frozenset({"features.0.0.weight", "features.4.block.2.fc1.weight", "features.9.block.0.0.weight"}),
    by_rules(RULES),
)
