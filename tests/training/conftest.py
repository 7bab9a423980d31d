"""A net that trains in seconds, images on disk, and where the real data is."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from lmnet.training import DataSets, load_data

REAL_DATA = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture(scope="session")
def real_data() -> Path:
    if not REAL_DATA.is_dir():
        pytest.skip(f"the real data sets are not at {REAL_DATA}")
    return REAL_DATA


@pytest.fixture(scope="session")
def tiny_spec() -> str:
    return str(Path(__file__).with_name("tiny.yaml"))


@pytest.fixture(scope="session")
def drawn() -> DataSets:
    return load_data("synthetic", count=24)


@pytest.fixture
def tiny_net() -> Callable[..., nn.Module]:
    def make(*, seed: int = 0, num_classes: int = 2, width: int = 8) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return nn.Sequential(
                nn.Conv2d(3, width, 3, stride=2, padding=1),
                nn.BatchNorm2d(width),
                nn.ReLU(),
                nn.Dropout2d(0.1),
                nn.Upsample(scale_factor=2, mode="bilinear"),
                nn.Conv2d(width, num_classes, 3, padding=1),
            )

    return make


@pytest.fixture
def write_folder() -> Callable[..., Path]:
    """Write images/ and masks/ with one bright square each."""

    def write(root: Path, count: int = 12, *, side: int = 40) -> Path:
        for index in range(count):
            image = np.random.default_rng(index).integers(0, 90, (side, side, 3), dtype=np.uint8)
            mask = np.zeros((side, side), dtype=np.uint8)
            top = 4 + index % 12
            mask[top : top + 14, 8:24] = 255
            image[mask > 0] += 120
            for folder, pixels in (("images", image), ("masks", mask)):
                path = root / folder / f"case_{index:02d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
        return root

    return write
