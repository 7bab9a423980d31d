"""Writes docs/predict_overlay.png and the sample image of `make demo`.

Two synthetic test images with their true and predicted outlines; the sample is the first of them.

python docs/make_picture.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from lmnet.training import load_data, open_model
from lmnet.training.prediction.overlay import overlay, shown

SAMPLE = Path(__file__).parents[1] / "examples" / "synthetic_lesion.png"
PAGE = Path(__file__).with_name("predict_overlay.png")
SIDE = 256
KINDS = ("endoscopy", "ultrasound")


def main() -> None:
    """Write the picture: the first test image of each kind."""
    opened = open_model("lmnet_xxs@synthetic")
    test = load_data("synthetic", seed=0).test
    rows = []
    for kind in KINDS:
        index = next(index for index, name in enumerate(test.names) if name.startswith(kind))
        image, truth = test.image(index), test.mask(index)
        if kind == "endoscopy":
            Image.fromarray(image).save(SAMPLE, optimize=True)
        prediction = opened.predict(image)
        colors = [each.color for each in prediction.classes]
        drawn = overlay(shown(image), predicted=prediction.mask, truth=truth, colors=colors)
        pair = [np.asarray(Image.fromarray(each).resize((SIDE, SIDE))) for each in (shown(image), drawn)]
        rows.append(np.concatenate(pair, axis=1))
    Image.fromarray(np.concatenate(rows)).save(PAGE, optimize=True)


if __name__ == "__main__":
    main()
