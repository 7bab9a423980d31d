"""Rolling-UNet: https://github.com/Jiaoyang45/Rolling-Unet (MIT), to ``rolling_unet_s``.

Differs: the layer norm that each block of the authors holds and never uses is left out.
"""

from __future__ import annotations

from lmnet.builder.importers.family import DOUBLE, Family, Rule, by_rules

MLP: tuple[Rule, ...] = (
    (r"dwconv\.dwconv\.", "depthwise."),
    (r"dwconv\.point_conv\.", "pointwise."),
    (r"norm1\.", "norm."),
    (r"norm2\.", "near_norm."),
)
BLOCK: tuple[Rule, ...] = ((r"norm2\.", None), (r"mlp\.", "", MLP))
EMBED: tuple[Rule, ...] = ((r"proj\.", "conv."),)
RULES: tuple[Rule, ...] = (
    *((rf"conv{level + 1}\.", f"enc{level}.", DOUBLE) for level in range(3)),
    (r"FIBlock1\.", "embed3.", EMBED),
    (r"FIBlock2\.", "embed4.", EMBED),
    (r"FIBlock3\.", "thin3.", EMBED),
    (r"FIBlock4\.", "thin2.conv."),
    (r"dbn4\.", "thin2.norm."),
    (r"block1\.0\.", "roll3.", BLOCK),
    (r"block2\.0\.", "roll4.", BLOCK),
    (r"block3\.0\.", "deroll3.", BLOCK),
    (r"norm1\.", "norm3.norm."),
    (r"norm2\.", "norm4.norm."),
    (r"norm3\.", "denorm3.norm."),
    *((rf"decoder{level + 1}\.conv\.0\.", f"mix{level}.conv.") for level in range(3)),
    *((rf"decoder{level + 1}\.conv\.1\.", f"mix{level}.norm.") for level in range(3)),
    *((rf"decoder{level + 1}\.conv\.3\.", f"dec{level}.conv.") for level in range(3)),
    *((rf"decoder{level + 1}\.conv\.4\.", f"dec{level}.norm.") for level in range(3)),
    (r"final\.", "head.conv."),
)
FAMILY = Family("Rolling-UNet", frozenset({"FIBlock1.proj.weight", "block1.0.mlp.fc6.weight"}), by_rules(RULES))
