"""LM-Net: the authors' release.

Source: the authors' public code of LM-Net (arXiv 2501.03838), release of April 2025, which is ``lmnet_release``.

Differs: their loader feeds BGR images (cv2), ours RGB, so a checkpoint of theirs wants its image's channels turned
round; the weights are loaded as they are.
"""

from __future__ import annotations

from lmnet.builder.importers.family import Family, Rule, by_rules

BLOCK: tuple[Rule, ...] = (
    (r"se\.", "squeeze_excite."),
    (r"expand_conv\.0\.", "expand."),
    (r"expand_conv\.1\.", "expand_norm."),
    (r"large_conv\.bn\.", "branches.0.norm."),
    (r"large_conv\.", "branches.0."),
    (r"square_conv\.bn\.", "branches.1.norm."),
    (r"square_conv\.", "branches.1."),
    (r"ver_conv\.bn\.", "branches.2.norm."),
    (r"ver_conv\.", "branches.2."),
    (r"hor_conv\.bn\.", "branches.3.norm."),
    (r"hor_conv\.", "branches.3."),
    (r"pointwise_conv\.0\.", "project."),
    (r"shortcut\.0\.", "shortcut."),
)
STAGE: tuple[Rule, ...] = ((r"(\d+)\.", r"\1.", BLOCK),)
LFT: tuple[Rule, ...] = (
    (r"patchembedding\.patch_embeddings\.", "embed."),
    (r"att1\.", "attentions.0."),
    (r"att2\.", "attentions.1."),
    (r"attention\.", "layers.0.attention."),
    (r"conv\.0\.", "project."),
)
GFT: tuple[Rule, ...] = ((r"(norm[12]|mlp)\.", r"layers.0.\1."), *LFT)
_MIX: tuple[Rule, ...] = ((r"fuse_conv\.0\.", "mix.conv."), (r"fuse_conv\.1\.", "mix.norm."))
# An upsampled input's convolution is at index 1 of theirs.
FUSION_OF_TWO: tuple[Rule, ...] = (
    (r"convl\.\d\.", "resize.0.conv."),
    (r"convs\.\d\.", "resize.1.conv."),
    *_MIX,
)
FUSION_OF_THREE: tuple[Rule, ...] = (
    (r"convl\.\d\.", "resize.0.conv."),
    (r"convm\.\d\.", "resize.1.conv."),
    (r"convs\.\d\.", "resize.2.conv."),
    *_MIX,
)
# Their decoder, skips and LFTs count from the bottom up.
RULES: tuple[Rule, ...] = (
    *((rf"conv{level + 1}\.", f"enc{level}.", STAGE) for level in range(4)),
    *((rf"down{level + 1}\.\d\.", f"down{level}.conv.conv.") for level in range(4)),
    (r"gft\.", "gft.", GFT),
    *((rf"skip{4 - level}\.", f"fuse{level}.", FUSION_OF_TWO) for level in (0, 3)),
    *((rf"skip{4 - level}\.", f"fuse{level}.", FUSION_OF_THREE) for level in (1, 2)),
    *((rf"natt{4 - level}\.", f"lft{level}.", LFT) for level in range(4)),
    *((rf"up{4 - level}\.\d\.", f"dec{level}.upsample.conv.") for level in range(4)),
    *((rf"dconv{4 - level}\.", f"dec{level}.stage.", STAGE) for level in range(4)),
    (r"output_layer\.", "head.conv."),
)
FAMILY = Family("LM-Net, release", frozenset({"natt1.patchembedding.patch_embeddings.weight"}), by_rules(RULES))
