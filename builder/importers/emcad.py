"""EMCAD with PVTv2-B0: checkpoints of https://github.com/SLDGroup/EMCAD (UT Austin research licence), to ``emcad_b0``.

Only names of tensors are known here; none of their code is. The weights keep the terms of whoever trained them.

Differs: the authors' spatial attention is one module for all four levels, ours has one a level (copies of it); the
convolution for grey images is left out, as our encoder takes them itself.
"""

from __future__ import annotations

from lmnet.builder.importers.family import Family, Rule, by_rules
from lmnet.builder.importers.mkunet import BLOCK as MULTI_KERNEL
from lmnet.builder.importers.mkunet import CHANNELS, GATE

BLOCK: tuple[Rule, ...] = (
    (r"msdc\.dwconvs\.(\d)\.0\.", r"branches.\1.conv."),
    (r"msdc\.dwconvs\.(\d)\.1\.", r"branches.\1.norm."),
    *MULTI_KERNEL,
)
UP: tuple[Rule, ...] = (
    (r"up_dwc\.1\.", "depthwise.conv."),
    (r"up_dwc\.2\.", "depthwise.norm."),
    (r"pwc\.0\.", "pointwise."),
)
DECODER: tuple[Rule, ...] = (
    (r"mscb(\d)\.0\.", r"dec\1.", BLOCK),
    (r"eucb(\d)\.", r"up\1.", UP),
    (r"lgag(\d)\.", r"gate\1.", GATE),
    (r"cab(\d)\.", r"channels\1.", CHANNELS),
    (r"sab\.", [f"pixels{level}." for level in (1, 2, 3, 4)]),
)
_STAGE: tuple[Rule, ...] = ((r"(\d+\.mlp\.dwconv)\.dwconv\.", r"\1."),)
ENCODER: tuple[Rule, ...] = (
    (r"patch_embed1\.", "backbone.backbone.patch_embed."),
    *((rf"patch_embed{level + 1}\.", f"backbone.backbone.stages_{level}.downsample.") for level in (1, 2, 3)),
    *((rf"block{level + 1}\.", f"backbone.backbone.stages_{level}.blocks.", _STAGE) for level in range(4)),
    *((rf"norm{level + 1}\.", f"backbone.backbone.stages_{level}.norm.") for level in range(4)),
)
RULES: tuple[Rule, ...] = (
    (r"backbone\.", "", ENCODER),
    (r"decoder\.", "", DECODER),
    (r"out_head1\.", "head1.conv."),
    (r"out_head([234])\.", r"aux_nodes.head\1.conv."),
    (r"conv\.", None),
)
FAMILY = Family("EMCAD", frozenset({"decoder.eucb3.pwc.0.weight", "decoder.sab.conv.weight"}), by_rules(RULES))
