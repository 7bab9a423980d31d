"""EGE-UNet: https://github.com/JCruan519/EGE-UNet (Apache-2.0), to ``egeunet``.

Differs: the authors' net ends in a sigmoid, ours gives logits.
"""

from __future__ import annotations

from lmnet.builder.importers.family import Family, by_rules

BLOCK = (
    (r"params_xy", "plane"),
    (r"params_zx", "rows"),
    (r"params_zy", "columns"),
    (r"conv_xy\.", "of_plane."),
    (r"conv_zx\.", "of_rows."),
    (r"conv_zy\.", "of_columns."),
    (r"dw\.", "last."),
    (r"ldw\.", "project."),
)
BRIDGE = (
    (r"pre_project\.", "deep."),
    (r"g(\d)\.0\.", r"groups.\1.norm."),
    (r"g(\d)\.1\.", r"groups.\1.conv."),
    (r"tail_conv\.0\.", "norm."),
    (r"tail_conv\.1\.", "project."),
)
SKELETON = (
    (r"encoder([123])\.0\.", r"conv\1.conv."),
    (r"ebn([123])\.", r"conv\1.norm."),
    (r"ebn([45])\.", r"norm\1.norm."),
    (r"decoder4\.0\.", "dnorm2.conv."),
    (r"decoder5\.0\.", "dnorm1.conv."),
    (r"dbn1\.", "act5.norm."),
    (r"dbn2\.", "dnorm4.norm."),
    (r"dbn3\.", "dnorm3.norm."),
    (r"dbn4\.", "dnorm2.norm."),
    (r"dbn5\.", "dnorm1.norm."),
    (r"final\.", "head.conv."),
)
"""What EGE-UNet and MALUNet share."""
RULES = (
    (r"encoder([456])\.0\.", r"enc\1.", BLOCK),
    (r"decoder1\.0\.", "dec5.", BLOCK),
    (r"decoder2\.0\.", "dec4.", BLOCK),
    (r"decoder3\.0\.", "dec3.", BLOCK),
    (r"GAB(\d)\.", r"skip\1.", BRIDGE),
    (r"gt_conv1\.0\.", "mask5.conv."),
    (r"gt_conv2\.0\.", "mask4.conv."),
    (r"gt_conv3\.0\.", "mask3.conv."),
    (r"gt_conv4\.0\.", "mask2.conv."),
    (r"gt_conv5\.0\.", "mask1.conv."),
    *SKELETON,
)
FAMILY = Family("EGE-UNet", frozenset({"GAB5.pre_project.weight", "encoder4.0.params_xy"}), by_rules(RULES))
