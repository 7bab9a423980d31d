"""MALUNet: https://github.com/JCruan519/MALUNet (no licence file), to ``malunet``.

Differs: the authors' net ends in a sigmoid, ours gives logits.
"""

from __future__ import annotations

from lmnet.builder.importers.egeunet import SKELETON
from lmnet.builder.importers.family import Family, Rule, by_rules

UNIT: tuple[Rule, ...] = ((r"conv1\.", "0."), (r"norm_layer\.", "1."), (r"conv2\.", "2."))
GATED_UNIT: tuple[Rule, ...] = (
    (r"w1\.0\.", "gate.", UNIT),
    (r"w2\.0\.", "value.", UNIT),
    (r"wo\.0\.", "project.", UNIT),
    (r"cw\.", "shortcut."),
)
GATED: tuple[Rule, ...] = (
    (r"mda(\d)\.", r"branches.\1."),
    (r"norm_layer\.", "norm."),
    (r"conv\.", "mix."),
    (r"gau\.", "gated.", GATED_UNIT),
)
MEMORY: tuple[Rule, ...] = (
    (r"conv1\.", "query."),
    (r"linear_0\.", "keys."),
    (r"linear_1\.", "values."),
    (r"conv2\.", "project."),
    (r"norm_layer\.", "norm."),
)
BRIDGE: tuple[Rule, ...] = (
    (r"catt\.get_all_att\.", "mix."),
    *((rf"catt\.att{index + 1}\.", f"channels.{index}.") for index in range(5)),
    (r"satt\.shared_conv2d\.0\.", "pixels."),
)
RULES: tuple[Rule, ...] = (
    (r"encoder([456])\.0\.", r"memory\1.", MEMORY),
    (r"encoder([456])\.1\.", r"enc\1.", GATED),
    (r"scab\.", "bridge.", BRIDGE),
    *((rf"decoder{6 - level}\.0\.", f"gated{level}.", GATED) for level in (5, 4, 3)),
    *((rf"decoder{6 - level}\.1\.", f"dec{level}.", MEMORY) for level in (5, 4, 3)),
    *SKELETON,
)
FAMILY = Family("MALUNet", frozenset({"scab.catt.att1.weight", "encoder4.0.linear_0.weight"}), by_rules(RULES))
