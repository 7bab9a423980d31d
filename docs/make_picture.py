"""Writes docs/predict_overlay.png: two synthetic test images with their true and predicted outlines.

lmnet-train lmnet_xxs --epochs 10 --out runs/picture; python docs/make_picture.py runs/picture
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from lmnet.training import load_data
from lmnet.training.inference import at_own_size, probabilities
from lmnet.training.opened_model import open_model
from lmnet.training.overlay import overlay, shown

PAGE = Path(__file__).with_name("predict_overlay.png")
SIDE = 256
KINDS = ("endoscopy", "ultrasound")


def main(run: str) -> None:
    """Write the picture: the first test image of each kind."""
    opened = open_model(run)
    test = load_data("synthetic", seed=0).test
    rows = []
    for kind in KINDS:
        index = next(index for index, name in enumerate(test.names) if name.startswith(kind))
        image, truth = test.image(index), test.mask(index)
        fed = test.at(opened.size, opened.in_channels)[index][0]
        shares = probabilities(opened.model, fed[None], mean=opened.mean, std=opened.std)[0]
        predicted = at_own_size(shares, *truth.shape).argmax(dim=0).numpy()
        colors = [each.color for each in test.meaning.classes]
        drawn = overlay(shown(image), predicted=predicted, truth=truth, colors=colors)
        pair = [np.asarray(Image.fromarray(each).resize((SIDE, SIDE))) for each in (shown(image), drawn)]
        rows.append(np.concatenate(pair, axis=1))
    Image.fromarray(np.concatenate(rows)).save(PAGE, optimize=True)


if __name__ == "__main__":
    main(sys.argv[1])
