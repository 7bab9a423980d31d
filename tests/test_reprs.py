"""What a user sees who types a name in a notebook: two short lines, and an image where there is one."""

import numpy as np
import torch
from torch import nn

import lmnet
from lmnet.training import load_data


def test_a_model_is_two_lines_with_its_cost():
    model = lmnet.create_model("lmnet_xxs")
    first, second = repr(model).splitlines()
    assert first == f"lmnet_xxs: (3, 256, 256) -> logits, {len(model.plan.nodes)} nodes, hash {model.hash}"
    assert second == "0.229 M parameters, 0.060 GMACs (re-parameterised)"
    assert len(nn.Module.__repr__(model).splitlines()) > 50


def test_an_opened_model_and_its_prediction_are_short():
    opened = lmnet.open_model("lmnet_xxs")
    first, second = repr(opened).splitlines()
    assert first == "lmnet_xxs: 3 channels at 128 px -> 2 classes"
    assert second == "0.229 M parameters, 0.015 GMACs at 128 px"
    with torch.inference_mode():
        prediction = opened.predict(np.zeros((40, 60, 3), np.uint8))
    assert repr(prediction).startswith("image, 60x40: ")
    assert prediction._repr_png_().startswith(b"\x89PNG")


def test_a_data_set_says_its_sides_and_what_its_values_mean():
    data = load_data("synthetic", count=40)
    first, second = repr(data).splitlines()
    assert first == "synthetic: 40 images of 40 patients (train 32, val 4, test 4)"
    assert second.startswith("masks: ")
    assert repr(data.train) == "32 images of 32 patients"
