"""Rows of options of lmnet-train with every pair of values; run as a program, it trains some with two processes."""

import contextlib
import io
import itertools
import os
import sys
from pathlib import Path

import numpy as np
from PIL import Image

TINY = str(Path(__file__).with_name("tiny.yaml"))
QUICK = ["--size", "32", "--epochs", "1", "--batch-size", "4", "--workers", "0", "--device", "cpu", "--threads", "1"]
FACTORS = {
    "recipe": ("default", "paper", "fine_tune", "small_machine"),
    "precision": ("32-true", "bf16-mixed"),
    "accumulate": (1, 3, 100),
    "teacher": (False, True),
    "freeze": (None, 1, 5),
    "classes": (2, 3),
    "channels": (3, 1),
}


def pairs(row):
    return set(itertools.combinations(row.items(), 2))


def rows():
    """Return rows of FACTORS that hold every pair of values, chosen greedily."""
    every = [dict(zip(FACTORS, values, strict=True)) for values in itertools.product(*FACTORS.values())]
    left, chosen = set().union(*map(pairs, every)), []
    while left:
        best = max(every, key=lambda row: len(pairs(row) & left))
        chosen.append(best)
        left -= pairs(best)
    return chosen


def write_data(root):
    """Write data of two and of three classes."""
    for classes in (2, 3):
        for index in range(10):
            mask = np.zeros((40, 48), np.uint8)
            mask[index : index + 14, 8:24] = 1
            mask[24:36, 28:44] = classes - 1
            image = np.random.default_rng(index).integers(0, 90, (40, 48, 3), dtype=np.uint8) + 60 * mask[..., None]
            for folder, pixels in (("images", image), ("masks", mask)):
                path = root / f"data{classes}" / folder / f"c{index}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)


def command(root, row, out):
    """Return the words of lmnet-train for a row."""
    classes, channels = row["classes"], row["channels"]
    words = [TINY, "--data", str(root / f"data{classes}"), "--mask-values", ",".join(map(str, range(classes)))]
    words += [*QUICK, "--out", str(out), "--recipe", row["recipe"]]
    settings = {"num_classes": classes, "input.channels": channels, "accumulate": row["accumulate"]}
    settings["precision"] = row["precision"]
    if row["recipe"] == "paper":
        settings["class_weights"] = [1, 4, 4][:classes]
    if row["freeze"]:
        words += ["--weights", str(root / "first")]
        settings["freeze_epochs"] = row["freeze"]
    if row["teacher"]:
        words += ["--teacher", str(root / f"teacher{classes}{channels}")]
    for key, value in settings.items():
        words += ["--set", f"{key}={value}"]
    return words


if __name__ == "__main__":
    from lmnet.training.cli_train import main

    root, rank = Path(sys.argv[1]), os.environ.get("LOCAL_RANK", "0")
    for number, row in enumerate(rows()[::4]):
        error = io.StringIO()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(error):
            code = main([*command(root, row, root / f"two{number}"), "--devices", "2"])
        print(rank, code, row if code == 0 else error.getvalue(), flush=True)
