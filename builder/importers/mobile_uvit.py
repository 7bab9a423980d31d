"""Mobile U-ViT: https://github.com/FengheTan9/Medical-Image-Segmentation-Benchmarks (MIT), to ``mobile_uvit``."""

from __future__ import annotations

from lmnet.builder.importers.family import DOUBLE, UNIT, UP, Family, Rule, by_rules

STAGE: tuple[Rule, ...] = (
    (r"block\.(\d)\.0\.fn\.0\.", r"units.\1.depthwise.conv."),
    (r"block\.(\d)\.0\.fn\.2\.", r"units.\1.depthwise.norm."),
    (r"block\.(\d)\.1\.fn\.0\.", r"units.\1.expand.conv."),
    (r"block\.(\d)\.1\.fn\.2\.", r"units.\1.expand.norm."),
    (r"block\.(\d)\.1\.fn\.3\.", r"units.\1.project.conv."),
    (r"block\.(\d)\.1\.fn\.5\.", r"units.\1.project.norm."),
    (r"up\.", "widen.", UNIT),
)
LOCAL: tuple[Rule, ...] = (
    (r"pos_embed\.", "near."),
    (r"conv(\d)\.", r"mix\1."),
    (r"attn\.", "attend."),
    (r"mlp\.fc1\.", "expand."),
    (r"mlp\.fc2\.", "project."),
)
GLOBAL: tuple[Rule, ...] = (
    (r"pos_embed\.", "near."),
    (r"attn\.LocalProp\.", "attention.spread."),
    (r"attn\.", "attention."),
    (r"mlp\.", ""),
)
RULES: tuple[Rule, ...] = (
    (r"patch_embeddings\.stem\.", "stem.", UNIT),
    *((rf"patch_embeddings\.layer{level + 1}\.", f"enc{level}.", STAGE) for level in range(3)),
    *((rf"lklgl_bottleneck\.{unit}\.LocalAgg\.", f"near.units.{2 * unit}.", LOCAL) for unit in range(16)),
    *((rf"lklgl_bottleneck\.{unit}\.SelfAttn\.", f"near.units.{2 * unit + 1}.", GLOBAL) for unit in range(16)),
    (r"transformer_bottleneck\.(\d+)\.SelfAttn\.", r"far.units.\1.", GLOBAL),
    (r"expend_dims\.", "widen.", DOUBLE),
    (r"reduce_dims\.", "narrow.", DOUBLE),
    *((rf"Up_conv{level + 2}\.", f"dec{level}.", DOUBLE) for level in range(3)),
    *((rf"Up{level + 2}\.", f"thin{level}.", UP) for level in range(2)),
    (r"Up1\.", "last.", UP),
    (r"head\.", "head.conv."),
)
FAMILY = Family("Mobile U-ViT", frozenset({"patch_embeddings.stem.0.weight", "Up1.up.1.weight"}), by_rules(RULES))
