"""CMUNeXt: https://github.com/FengheTan9/CMUNeXt (MIT), to ``cmunext`` and ``cmunext_s``."""

from __future__ import annotations

from lmnet.builder.importers.family import UP, Family, by_rules

CONV_BLOCK = ((r"conv\.0\.", "conv."), (r"conv\.1\.", "norm."))
BLOCK = (
    (r"block\.(\d+)\.0\.fn\.0\.", r"units.\1.depthwise.conv."),
    (r"block\.(\d+)\.0\.fn\.2\.", r"units.\1.depthwise.norm."),
    (r"block\.(\d+)\.1\.", r"units.\1.expand.conv."),
    (r"block\.(\d+)\.3\.", r"units.\1.expand.norm."),
    (r"block\.(\d+)\.4\.", r"units.\1.project.conv."),
    (r"block\.(\d+)\.6\.", r"units.\1.project.norm."),
    (r"up\.", "widen.", CONV_BLOCK),
)
FUSION = (
    (r"conv\.0\.", "each.conv."),
    (r"conv\.2\.", "each.norm."),
    (r"conv\.3\.", "expand.conv."),
    (r"conv\.5\.", "expand.norm."),
    (r"conv\.6\.", "project.conv."),
    (r"conv\.8\.", "project.norm."),
)
RULES = (
    (r"stem\.", "stem.", CONV_BLOCK),
    (r"encoder(\d)\.", r"enc\1.", BLOCK),
    (r"Up(\d)\.", r"thin\1.", UP),
    (r"Up_conv(\d)\.", r"fuse\1.", FUSION),
    (r"Conv_1x1\.", "head.conv."),
)
FAMILY = Family("CMUNeXt", frozenset({"encoder5.block.0.0.fn.0.weight", "Up_conv2.conv.8.weight"}), by_rules(RULES))
