"""What a training run says before it begins: what chooses the best epoch, and what is odd about its images."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lmnet.training.data.case_set import CaseSet, ResizedSet
from lmnet.training.data.classes import IGNORED
from lmnet.training.data.load import DataSets
from lmnet.training.fitting.chooser import lesion_classes, make_chooser

FEW_IMAGES = 20
"""With fewer test images than this the interval of the Dice is often wider than 0.2."""
LOOKED_AT = 200
"""Most training masks that are looked at for the lesion's share of the pixels."""


def remarks_before(data: DataSets, *, size: int, in_channels: int, num_classes: int) -> Iterator[str]:
    """Yield the lines to print before training.

    Args:
        data: data of the run.
        size: side in pixels that the net is trained at.
        in_channels: input channels of the net.
        num_classes: classes of the net, background included.
    """
    chooser = make_chooser(data.val.at(size, in_channels), num_classes)
    yield f"note: {chooser.text}" if chooser.uses_loss else chooser.text
    yield from _about_test(data.test)
    yield from _about_train(data.train.at(size, in_channels))


def _about_test(test: CaseSet) -> Iterator[str]:
    seen = [lesion_classes(test, index) for index in range(len(test))]
    classes = [each.name for each in test.meaning.classes]
    absent = [name for number, name in enumerate(classes) if number and not any(number in each for each in seen)]
    if seen and not any(seen):
        yield "note: no test image has a lesion: the test scores can only say in how many of them one is found."
    elif absent:
        yield f"note: no pixels of {', '.join(absent)} in the test images: these classes get no test score."
    if len(test) < FEW_IMAGES:
        yield (
            f"note: {len(test)} test images say little about other images: expect wide intervals. Use more images, or "
            "compare nets image by image with lmnet-eval --compare."
        )


def _about_train(train: ResizedSet) -> Iterator[str]:
    shares, with_lesion, vanished = list[float](), 0, 0
    for index in range(0, len(train), max(1, -(-len(train) // LOOKED_AT))):
        mask = train[index][1].numpy()
        known = mask[mask != IGNORED]
        if known.size:
            shares.append(float((known > 0).mean()))
        if lesion_classes(train.cases, index):
            with_lesion += 1
            vanished += not (known > 0).any()
    if shares and np.mean(shares) > 0.5:
        yield (
            f"note: lesions cover {np.mean(shares):.0%} of the pixels of the training masks. If the masks are "
            "inverted, give --mask-values with the background's value first, such as 255,0."
        )
    if vanished:
        yield (
            f"note: at {train.size} px the lesion has no pixel left in {vanished} of {with_lesion} training masks with "
            "a lesion. A larger --size keeps them."
        )
