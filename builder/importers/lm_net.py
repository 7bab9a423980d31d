"""LM-Net: the authors' release.

Source: the authors' public code of LM-Net (arXiv 2501.03838), release of April 2025, which is ``lmnet_release``.

Differs: their loader feeds BGR images (cv2), ours RGB, so a checkpoint of theirs wants its image's channels turned
round; the weights are loaded as they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from lmnet.builder.importers.family import Family

# Ours by theirs, the longest part first. Their decoder, skips and LFTs count from the bottom up.
_BLOCK = (
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
_TRANSFORMER = (
    (r"patchembedding\.patch_embeddings\.", "embed."),
    (r"att1\.", "attentions.0."),
    (r"att2\.", "attentions.1."),
    (r"attention\.", "layers.0.attention."),
    (r"(norm[12]|mlp)\.", r"\1."),
    (r"conv\.0\.", "project."),
)
_FUSION = ((r"fuse_conv\.0\.", "mix.conv."), (r"fuse_conv\.1\.", "mix.norm."))


def _first(rules: tuple[tuple[str, str], ...], key: str) -> str:
    for pattern, replacement in rules:
        ours, count = re.subn("^" + pattern, replacement, key)
        if count:
            return ours
    return key


def rename_block(key: str) -> str:
    """Return our key of a multi-branch block for theirs, both without the block's prefix."""
    return _first(_BLOCK, key)


def rename_lft(key: str) -> str:
    """Return our key of an LFT for theirs."""
    return _first(_TRANSFORMER, key)


def rename_gft(key: str) -> str:
    """Return our key of a GFT for theirs."""
    ours = _first(_TRANSFORMER, key)
    return f"layers.0.{ours}" if ours.startswith(("norm1", "norm2", "mlp")) else ours


def rename_fusion(key: str, keys: Mapping[str, object] | set[str]) -> str:
    """Return our key of a fusion for theirs, given all of the fusion's keys.

    Theirs are named large (finer), medium (same) and small (coarser) where there are three, else large and small;
    ours are numbered in that order. An upsampled input's convolution is at index 1 of theirs.
    """
    roles = [role for role in ("convl", "convm", "convs") if any(name.startswith(role) for name in keys)]
    for index, role in enumerate(roles):
        match = re.match(rf"{role}\.\d\.(.*)", key)
        if match:
            return f"resize.{index}.conv.{match[1]}"
    return _first(_FUSION, key)


def translate(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the authors' release state_dict under the keys of ``lmnet_release``; unknown keys keep their names."""
    fusions: dict[str, set[str]] = {}
    for key in state:
        if key.startswith("skip"):
            head, _, tail = key.partition(".")
            fusions.setdefault(head, set()).add(tail)
    return {_rename(key, fusions): value for key, value in state.items()}


def _rename(key: str, fusions: Mapping[str, set[str]]) -> str:
    head, _, tail = key.partition(".")
    kind, number = head.rstrip("0123456789"), int(re.sub(r"\D", "", head) or 0)
    index, _, inner = tail.partition(".")
    if kind == "conv":
        return f"enc{number - 1}.{index}.{rename_block(inner)}"
    if kind == "dconv":
        return f"dec{4 - number}.stage.{index}.{rename_block(inner)}"
    if kind == "down":
        return f"down{number - 1}.conv.conv.{inner}"
    if kind == "up":
        return f"dec{4 - number}.upsample.conv.{inner}"
    if kind == "skip":
        return f"fuse{4 - number}.{rename_fusion(tail, fusions[head])}"
    if kind == "natt":
        return f"lft{4 - number}.{rename_lft(tail)}"
    if kind == "gft":
        return f"gft.{rename_gft(tail)}"
    if kind == "output_layer":
        return f"head.conv.{tail}"
    return key


FAMILY = Family("LM-Net, release", frozenset({"natt1.patchembedding.patch_embeddings.weight"}), translate)
