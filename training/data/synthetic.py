"""Lesions that the project draws itself, of three looks: the data set that needs no download.

Each look has what makes its real counterpart hard: uneven light, noise, and distractors of the lesion's brightness that
are no lesion, so that no threshold finds the lesions (a test holds the best threshold against it).
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
from PIL import Image

from lmnet.training.data.case_set import CaseSet, LoadedCase, Pixels

NATIVE_SIZE = 128
"""The side that the images are drawn at."""

Field = npt.NDArray[np.float32]


def draw_cases(count: int = 480, *, seed: int = 0, size: int = NATIVE_SIZE) -> CaseSet:
    """Draw a data set; the same arguments give the same pixels.

    Args:
        count: number of images; endoscopy, MRI and ultrasound take turns.
        seed: random seed; the i-th image depends on (seed, i) only.
        size: side in pixels.
    """
    looks = (("endoscopy", draw_endoscopy), ("mri", draw_mri), ("ultrasound", draw_ultrasound))
    cases = []
    for index in range(count):
        look, draw = looks[index % len(looks)]
        image, mask = draw(np.random.default_rng([seed, index]), size)
        name = f"{look}_{index:04d}"
        digest = hashlib.sha256(image.tobytes() + mask.tobytes()).hexdigest()
        cases.append(LoadedCase(name, name, look, digest, image, mask))
    return CaseSet(cases)


def draw_endoscopy(rng: np.random.Generator, size: int) -> tuple[Pixels, Pixels]:
    """Draw a polyp on mucosa: folds, vignette and highlights distract; the polyp is a dome with its own texture."""
    folds = np.abs(np.sin(_wavy(rng, size, 1.5) * rng.uniform(6, 12)))
    tissue = 0.55 + 0.25 * folds + 0.18 * _smooth(rng, size, 6) + 0.05 * _smooth(rng, size, 32)
    outline = _blob(rng, size, 0.12, 0.26)
    dome = np.clip(outline * 1.6, 0, 1) ** 0.5
    inside = _soft(outline, size)
    polyp = 0.62 + 0.3 * dome + 0.16 * _smooth(rng, size, 28)
    flat = _soft(_blob(rng, size, 0.08, 0.2, away_from=outline), size)  # a stain: the colour without the texture
    light = tissue * (1 - inside) + polyp * inside
    light = light + flat * (0.9 - light) * 0.5
    light = light * _vignette(rng, size) * rng.uniform(0.75, 1.15)
    redness = rng.uniform(0.45, 0.6) + 0.06 * inside * rng.choice([-1, 1]) - 0.05 * flat
    image = np.stack([light, light * redness, light * redness * rng.uniform(0.7, 0.9)], axis=-1)
    for _ in range(rng.integers(2, 6)):
        image += _soft(_blob(rng, size, 0.01, 0.035), size)[..., None] * 0.8
    return _finish(rng, image, 0.03), (outline > 0).astype(np.uint8)


def draw_mri(rng: np.random.Generator, size: int) -> tuple[Pixels, Pixels]:
    """Draw a brain with a tumour bright in the middle channel only; what is bright in all channels is not tumour."""
    head = _blob(rng, size, 0.4, 0.44, centre=(0.5, 0.5), wobble=0.04)
    brain = _soft(head - 0.12, size)
    skull = _soft(head, size) - brain
    matter = 0.38 + 0.12 * _smooth(rng, size, 8) + 0.06 * _smooth(rng, size, 24)
    channels = [brain * (matter + 0.06 * _smooth(rng, size, 10)) + skull * rng.uniform(0.5, 0.9) for _ in range(3)]
    outline = np.minimum(_blob(rng, size, 0.07, 0.16, centre=_near_centre(rng, 0.18)), head - 0.14)
    tumour = _soft(outline, size)
    for _ in range(rng.integers(1, 4)):
        spot = _soft(np.minimum(_blob(rng, size, 0.04, 0.1, centre=_near_centre(rng, 0.22)), head - 0.14), size)
        spot = spot * (1 - tumour)
        channels = [channel + spot * 0.3 for channel in channels]
    strength = rng.uniform(0.2, 0.34)
    channels[1] = channels[1] + tumour * (strength + 0.08 * _smooth(rng, size, 20))
    channels[0] = channels[0] - tumour * 0.05
    image = np.stack(channels, axis=-1) * _uneven(rng, size)[..., None] * rng.uniform(0.75, 1.2)
    return _finish(rng, image, 0.035), (outline > 0).astype(np.uint8)


def draw_ultrasound(rng: np.random.Generator, size: int) -> tuple[Pixels, Pixels]:
    """Draw a dark lesion in speckle; dark shadows and ducts distract, and light fades with depth."""
    depth = np.linspace(0, 1, size, dtype=np.float32)[:, None]
    layers = 0.5 + 0.16 * np.sin(_wavy(rng, size, 0.6) * rng.uniform(3, 7)) + 0.1 * _smooth(rng, size, 5)
    outline = _blob(rng, size, 0.1, 0.22, flat=1.5)
    lesion = _soft(outline, size)
    echo = layers * (1 - lesion * rng.uniform(0.55, 0.75))
    behind = np.maximum.accumulate(lesion, axis=0) * (1 - lesion)
    echo = echo * (1 + behind * rng.uniform(-0.3, 0.35))
    columns = np.arange(size, dtype=np.float32)[None, :] / size
    for _ in range(rng.integers(1, 3)):
        shadow = np.exp(-(((columns - rng.uniform(0, 1)) / rng.uniform(0.02, 0.06)) ** 2)) * (
            depth > rng.uniform(0, 0.5)
        )
        echo = echo * (1 - 0.65 * shadow * (1 - lesion))
    duct = _soft(_blob(rng, size, 0.03, 0.06, flat=3.5, away_from=outline), size)
    echo = echo * (1 - 0.6 * duct) * (1.25 - rng.uniform(0.3, 0.8) * depth)
    speckle = rng.gamma(3.0, 1 / 3.0, size=(size, size)).astype(np.float32)
    grey = echo * (0.35 + 0.65 * _blur(speckle)) + 0.02
    return _finish(rng, np.repeat(grey[..., None], 3, axis=-1), 0.02), (outline > 0).astype(np.uint8)


def _finish(rng: np.random.Generator, image: Field, noise: float) -> Pixels:
    image = image + rng.normal(0, noise, image.shape[:2]).astype(np.float32)[..., None]
    return np.asarray(np.clip(image * 255, 0, 255), dtype=np.uint8)


def _near_centre(rng: np.random.Generator, radius: float) -> tuple[float, float]:
    return 0.5 + rng.uniform(-radius, radius), 0.5 + rng.uniform(-radius, radius)


def _blob(
    rng: np.random.Generator,
    size: int,
    low: float,
    high: float,
    *,
    centre: tuple[float, float] | None = None,
    wobble: float = 0.16,
    flat: float = 1.25,
    away_from: Field | None = None,
) -> Field:
    """Return a field that is above 0 inside an irregular outline: 1 - (distance from centre / radius there).

    ``low`` and ``high`` bound the mean radius as a share of the side; ``flat`` bounds the ratio of the axes.
    """
    if centre is None:
        centre = (rng.uniform(0.22, 0.78), rng.uniform(0.22, 0.78))
        for _ in range(8):
            if away_from is None or away_from[int(centre[0] * size), int(centre[1] * size)] < -0.6:
                break
            centre = (rng.uniform(0.1, 0.9), rng.uniform(0.1, 0.9))
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float32) / size
    turn = rng.uniform(0, np.pi)
    ratio = rng.uniform(1, flat) ** 0.5
    down, right = rows - np.float32(centre[0]), columns - np.float32(centre[1])
    along = (np.float32(np.cos(turn)) * right + np.float32(np.sin(turn)) * down) / np.float32(ratio)
    across = (np.float32(np.cos(turn)) * down - np.float32(np.sin(turn)) * right) * np.float32(ratio)
    angle = np.arctan2(across, along)
    radius = np.full_like(angle, 1)
    for order in range(2, 6):
        height, phase = wobble * rng.uniform(-1, 1) / (order - 1), rng.uniform(0, 2 * np.pi)
        radius += np.float32(height) * np.cos(order * angle + np.float32(phase))
    return np.asarray(1 - np.hypot(along, across) / (np.float32(rng.uniform(low, high)) * radius), dtype=np.float32)


def _soft(field: Field, size: int) -> Field:
    """Return 1 inside, 0 outside, over an edge of about three pixels."""
    return np.asarray(np.clip(field * (size / 16) + 0.5, 0, 1), dtype=np.float32)


def _smooth(rng: np.random.Generator, size: int, cells: int) -> Field:
    """Return noise of about ``cells`` bumps a side, mostly in -1..1."""
    coarse = rng.normal(0, 0.6, (cells + 3, cells + 3)).astype(np.float32)
    return np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC))


def _wavy(rng: np.random.Generator, size: int, bend: float) -> Field:
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float32) / size
    turn = np.float32(rng.uniform(-0.5, 0.5))
    return np.asarray(rows + turn * columns + np.float32(0.1 * bend) * _smooth(rng, size, 4), dtype=np.float32)


def _uneven(rng: np.random.Generator, size: int) -> Field:
    return np.asarray(1 + 0.25 * _smooth(rng, size, 1), dtype=np.float32)


def _vignette(rng: np.random.Generator, size: int) -> Field:
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float32) / size
    top, left = _near_centre(rng, 0.2)
    return np.asarray(1.05 - rng.uniform(0.6, 1.3) * ((rows - top) ** 2 + (columns - left) ** 2), dtype=np.float32)


def _blur(field: Field) -> Field:
    return np.asarray((field + np.roll(field, 1, 0) + np.roll(field, 1, 1) + np.roll(field, (1, 1), (0, 1))) / 4)
