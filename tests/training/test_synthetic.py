import time

import numpy as np
import pytest

from lmnet.training.data.synthetic import draw_cases


@pytest.fixture(scope="module")
def cases():
    return draw_cases(60)


def test_the_seed_decides_every_pixel(cases):
    assert draw_cases(60).fingerprint == cases.fingerprint
    assert draw_cases(60, seed=1).fingerprint != cases.fingerprint
    assert [case.digest for case in draw_cases(9).cases] == [case.digest for case in cases.cases[:9]]


def test_every_picture_has_a_lesion_and_background(cases):
    shares = [cases.mask(index).mean() for index in range(len(cases))]

    assert min(shares) > 0.005
    assert max(shares) < 0.4


def test_three_looks_take_turns(cases):
    assert [case.stratum for case in cases.cases[:4]] == ["endoscopy", "mri", "ultrasound", "endoscopy"]


@pytest.mark.parametrize("look", [0, 1, 2], ids=["endoscopy", "mri", "ultrasound"])
def test_the_best_threshold_on_any_channel_fails(cases, look):
    """Chosen in hindsight on the very images, above or below, on each channel and on red less green."""
    chosen = range(look, len(cases), 3)
    best = 0.0
    for channel in (0, 1, 2, None):
        for threshold in range(5, 250, 10):
            for sign in (1, -1):
                best = max(best, np.mean([dice(cases, index, channel, threshold, sign) for index in chosen]))

    assert best < 0.6


def test_100_pictures_are_drawn_within_a_second_or_so():
    began = time.process_time()
    draw_cases(100)

    assert time.process_time() - began < 3  # 0.4 s on an idle core


def dice(cases, index, channel, threshold, sign):
    image = cases.image(index).astype(int)
    grey = image[..., 0] - image[..., 1] if channel is None else image[..., channel]
    found, truth = sign * grey > sign * threshold, cases.mask(index) > 0
    return 2 * (found & truth).sum() / (found.sum() + truth.sum())
