"""LV-UNet: https://github.com/juntaoJianggavin/LV-UNet (no licence file), to ``lvunet`` in both forms.

Checkpoints of the authors' deploy form fit the re-parameterised net of slope 1.
"""

from __future__ import annotations

from lmnet.builder.importers.family import UNIT, Family, Rule, by_rules

PLAIN: tuple[Rule, ...] = ((r"block\.0\.", "depthwise.", UNIT), (r"block\.1\.", "project.", UNIT))
WIDENED: tuple[Rule, ...] = (
    (r"block\.0\.", "expand.", UNIT),
    (r"block\.1\.", "depthwise.", UNIT),
    (r"block\.2\.fc1\.", "squeeze_excite.fc1."),
    (r"block\.2\.fc2\.", "squeeze_excite.fc2."),
    (r"block\.[23]\.", "project.", UNIT),
)
ACTIVATION: tuple[Rule, ...] = ((r"(weight|bias)$", r"conv.\1"), (r"bn\.", "norm."))
FUSIBLE: tuple[Rule, ...] = (
    (r"conv1\.0\.", "first."),
    (r"conv1\.1\.", "first_norm."),
    (r"conv2\.0\.", "second."),
    (r"conv2\.1\.", "second_norm."),
    (r"conv\.", "second."),
    (r"act\.", "act.", ACTIVATION),
)
RULES: tuple[Rule, ...] = (
    *((rf"stages\.{index}\.", f"down{index + 1}.", FUSIBLE) for index in range(3)),
    *((rf"up_stages1\.{index}\.", f"up{index + 1}.", FUSIBLE) for index in range(3)),
    *((rf"up_stages2\.{index}\.", f"up{index + 4}.", FUSIBLE) for index in range(3)),
    (r"final\.0\.", "up7.", FUSIBLE),
    (r"final\.1\.", "head.conv."),
    (r"firstconv\.", "stem.", UNIT),
    (r"encoder1\.0\.", "enc1.", PLAIN),
    (r"encoder1\.1\.", "enc2.", WIDENED),
    *((rf"encoder2\.{index}\.", f"enc{index + 3}.", WIDENED) for index in range(3)),
    *((rf"encoder3\.{index}\.", f"enc{index + 6}.", WIDENED) for index in range(4)),
)

FAMILY = Family(
    "LV-UNet", frozenset({"up_stages1.0.act.weight", "firstconv.0.weight", "final.1.weight"}), by_rules(RULES)
)
