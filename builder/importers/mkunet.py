"""MK-UNet: https://github.com/SLDGroup/MK-UNet (BSD 3-Clause), to ``mkunet`` and its sizes.

Differs: the authors' spatial attention is one module for all five levels, ours has one a level (copies of it); the
heads out1 to out3, which their code never uses, are left out.
"""

from __future__ import annotations

from lmnet.builder.importers.family import Family, by_rules

BLOCK = (
    (r"pconv1\.0\.", "expand.conv."),
    (r"pconv1\.1\.", "expand.norm."),
    (r"multi_scale_dwconv\.dwconvs\.(\d)\.0\.", r"branches.\1.conv."),
    (r"multi_scale_dwconv\.dwconvs\.(\d)\.1\.", r"branches.\1.norm."),
    (r"pconv2\.0\.", "project.conv."),
    (r"pconv2\.1\.", "project.norm."),
    (r"conv1x1\.", "shortcut."),
)
GATE = (
    (r"W_g\.0\.", "of_gate.conv."),
    (r"W_g\.1\.", "of_gate.norm."),
    (r"W_x\.0\.", "of_skip.conv."),
    (r"W_x\.1\.", "of_skip.norm."),
    (r"psi\.0\.", "squeeze.conv."),
    (r"psi\.1\.", "squeeze.norm."),
)
CHANNELS = ((r"fc1\.", "squeeze."), (r"fc2\.", "excite."))
RULES = (
    (r"encoder(\d)\.0\.", r"enc\1.", BLOCK),
    (r"decoder(\d)\.0\.", r"dec\1.", BLOCK),
    (r"AG(\d)\.", r"gate\1.", GATE),
    (r"CA(\d)\.", r"channels\1.", CHANNELS),
    (r"SA\.", [f"pixels{level}." for level in (1, 2, 3, 4, 5)]),
    (r"out[123]\.", None),
    (r"out4\.", "head.conv."),
)
FAMILY = Family(
    "MK-UNet", frozenset({"encoder1.0.multi_scale_dwconv.dwconvs.0.0.weight", "AG4.psi.0.weight"}), by_rules(RULES)
)
