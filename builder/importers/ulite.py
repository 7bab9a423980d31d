"""U-Lite: https://github.com/duong-db/U-Lite (no licence file), to ``ulite``."""

from __future__ import annotations

from lmnet.builder.importers.family import Family, by_rules

AXIAL = ((r"dw_h\.", "along_columns."), (r"dw_w\.", "along_rows."))
RULES = (
    (r"conv_in\.", "stem.conv."),
    (r"e(\d)\.dw\.", r"skip\1.", AXIAL),
    (r"e(\d)\.bn\.", r"skip\1.norm."),
    (r"e(\d)\.pw\.", r"widen\1.conv."),
    (r"b5\.pw1\.", "squeeze.conv."),
    (r"b5\.dw(\d)\.", r"far\1.", AXIAL),
    (r"b5\.bn\.", "bottom.norm."),
    (r"b5\.pw2\.", "bottom.conv."),
    (r"d(\d)\.pw\.", r"thin\1.conv."),
    (r"d(\d)\.bn\.", r"thin\1.norm."),
    (r"d(\d)\.dw\.", r"axial\1.", AXIAL),
    (r"d(\d)\.pw2\.", r"dec\1.conv."),
    (r"conv_out\.", "head.conv."),
)
FAMILY = Family("U-Lite", frozenset({"b5.dw3.dw_w.weight", "conv_in.weight", "d1.pw2.weight"}), by_rules(RULES))
