"""UNeXt and UNeXt-S: https://github.com/jeya-maria-jose/UNeXt-pytorch (MIT), to ``unext`` and ``unext_s``."""

from __future__ import annotations

from lmnet.builder.importers.family import Family, by_rules

MLP = ((r"dwconv\.dwconv\.", "depthwise."),)
BLOCK = ((r"norm2\.", "norms.0."), (r"mlp\.", "mlps.0.", MLP))
RULES = (
    (r"encoder(\d)\.", r"enc\1.conv."),
    (r"ebn(\d)\.", r"enc\1.norm."),
    (r"patch_embed3\.proj\.", "embed4.conv."),
    (r"patch_embed3\.", "embed4."),
    (r"patch_embed4\.proj\.", "embed5.conv."),
    (r"patch_embed4\.", "embed5."),
    (r"block1\.0\.", "mix4.", BLOCK),
    (r"norm3\.", "mix4.norm."),
    (r"block2\.0\.", "mix5.", BLOCK),
    (r"norm4\.", "mix5.norm."),
    (r"decoder1\.", "dec4.conv."),
    (r"decoder2\.", "dec3.conv."),
    (r"decoder3\.", "dec2.conv."),
    (r"decoder4\.", "dec1.conv."),
    (r"decoder5\.", "dec0.conv."),
    (r"dbn1\.", "dec4.norm."),
    (r"dbn2\.", "dec3.norm."),
    (r"dbn3\.", "dec2.norm."),
    (r"dbn4\.", "dec1.norm."),
    (r"dblock1\.0\.", "demix4.", BLOCK),
    (r"dnorm3\.", "demix4.norm."),
    (r"dblock2\.0\.", "demix3.", BLOCK),
    (r"dnorm4\.", "demix3.norm."),
    (r"final\.", "head.conv."),
)
FAMILY = Family("UNeXt", frozenset({"dblock1.0.mlp.dwconv.dwconv.weight", "patch_embed4.proj.weight"}), by_rules(RULES))
