"""The one place that guesses which name was intended: nearest spelling, or what other tools call the same thing."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

SAME = (
    ("lr", "learning_rate", "base_lr", "max_lr"),
    ("size", "image_size", "img_size", "imgsz", "input_size", "resolution"),
    ("num_classes", "classes", "n_classes", "nclass", "num_class"),
    ("in_channels", "in_chans", "channels", "in_ch", "n_channels", "num_channels"),
    ("out_channels", "out_chans", "out_ch", "filters"),
    ("kernel_size", "kernel", "ksize"),
    ("num_heads", "heads", "n_heads"),
    ("batch_size", "batch", "bs"),
    ("epochs", "num_epochs", "max_epochs", "n_epochs"),
    ("weight_decay", "wd"),
    ("pretrained_encoder", "encoder_weights"),
    ("out", "output", "output_dir", "out_dir", "save_dir", "project"),
    ("weights", "checkpoint", "ckpt", "model_weights", "load"),
    ("workers", "num_workers", "n_workers"),
    ("data", "dataset", "data_dir", "data_path", "data_root"),
    ("minutes", "time", "time_limit", "budget"),
)
"""Names that other tools use for one thing."""


def plain(name: str) -> str:
    """Return a name without what people write in different ways: case, dashes and underscores."""
    return name.lower().replace("-", "").replace("_", "").replace(" ", "")


def closest(name: str, names: Iterable[str]) -> str | None:
    """Return the one of ``names`` that was probably intended, or None.

    Args:
        name: as it was written.
        names: the known names.
    """
    known = {plain(each): each for each in names}
    if plain(name) in known:
        return known[plain(name)]
    for group in SAME:
        spelled = [plain(each) for each in group]
        if plain(name) in spelled:
            for each in spelled:
                if each in known:
                    return known[each]
    close = difflib.get_close_matches(plain(name), known, n=1)
    return known[close[0]] if close else None


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return a hint with the closest of ``names``, or with all of them if none is close."""
    names = list(names)
    close = closest(name, names)
    if close is not None:
        return f"Did you mean {close}?"
    return f"Known: {', '.join(names)}." if names else "There is none."
