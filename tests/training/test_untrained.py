"""An untrained net on request: what `lmnet-build --forward` was used for."""

from pathlib import Path

import pytest
from PIL import Image

from lmnet.training.cli_predict import main

TINY = str(Path(__file__).with_name("tiny.yaml"))


def test_predict_takes_random_weights_on_request(tmp_path):
    Image.effect_noise((70, 45), 50).save(tmp_path / "photo.png")
    assert main([TINY, str(tmp_path / "photo.png"), "--random-weights", "--out", str(tmp_path / "out")]) == 0
    with Image.open(tmp_path / "out" / "photo_mask.png") as mask:
        assert mask.size == (70, 45)


def test_random_weights_and_a_file_of_weights_exclude_each_other(capsys):
    with pytest.raises(SystemExit, match="2"):
        main([TINY, "photo.png", "--random-weights", "--weights", "w.safetensors"])
    assert "--random-weights and --weights exclude each other. Leave one of them out." in capsys.readouterr().err
