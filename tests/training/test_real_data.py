"""The three real data sets are read as they always were, bit by bit: hashes made by the reader of November 2026."""

import hashlib

import pytest

from lmnet.training import load_data

KNOWN = {
    "Kvasir-SEG": (
        "be5a9f221085910c-4e422843c660b793-b6fc2523e1e863d8",
        "011f0e472fb0a8fc8161fbc46ab85b3d20b8e3ced02408eaa70ceb57c4164f88",
        "1202374119918f397ad9a59d0ec5bc12f96fd174babb24720dc9297afbc8ef5f",
    ),
    "kaggle_3m": (
        "59cc3e5ec7b1e4e1-0a8706b990b25feb-e888f8d197ee25e6",
        "000dbdb268404b0c1d79a614e83769567c7032d221de0838ef5649306e11ba90",
        "88412581e5b78283b6bc404102bade2b56131aeec8fc7f63fd103f06a89efd40",
    ),
    "Dataset_BUSI_with_GT": (
        "313a159bae123d7d-2ccea90456494932-a4827cb6d61f454d",
        "145b0b7c21b7ac1dbb6242119c15f36b5a6b606108a198048724d3184ef3b278",
        "db361b579fbd933106bcc226ee93be596603c6e5e68d3bc31622819910de634a",
    ),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if "BUSI" in name else pytest.mark.slow) for name in KNOWN]
)
def test_a_real_data_set_is_read_bit_by_bit_as_before(real_data, name):
    data = load_data(real_data / name)
    pixels, resized = hashlib.sha256(), hashlib.sha256()
    for index in range(len(data.cases)):
        pixels.update(data.cases.image(index).tobytes())
        pixels.update(data.cases.mask(index).tobytes())
    small = data.val.at(128)
    for index in range(len(small)):
        for tensor in small[index]:
            resized.update(tensor.numpy().tobytes())

    assert (data.fingerprint, pixels.hexdigest(), resized.hexdigest()) == KNOWN[name]
