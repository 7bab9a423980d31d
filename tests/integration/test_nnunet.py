"""Needs nnU-Net itself, which is not in the extra integration: it holds timm below 1.0.23. See docs/reuse.md.

python -m pytest tests/integration/test_nnunet.py -m integration -o filterwarnings=
"""

import pytest
import torch

pytest.importorskip("nnunetv2", reason="needs the extra nnunet, in an environment of its own")

from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from lmnet.integrations.nnunet import LMNet, architecture

pytestmark = pytest.mark.integration

ENTRY = architecture("lmnet_paper", variables={"depth": [1, 1, 1, 1], "decoder_depth": [1, 1, 1, 1]})
PLANS = {
    "dataset_name": "Dataset999_Drawn",
    "plans_name": "lmnetPlans",
    "original_median_spacing_after_transp": [999.0, 1.0, 1.0],
    "original_median_shape_after_transp": [1, 64, 64],
    "image_reader_writer": "NaturalImage2DIO",
    "transpose_forward": [0, 1, 2],
    "transpose_backward": [0, 1, 2],
    "experiment_planner_used": "ExperimentPlanner",
    "label_manager": "LabelManager",
    "foreground_intensity_properties_per_channel": {},
    "configurations": {
        "2d": {
            "data_identifier": "nnUNetPlans_2d",
            "preprocessor_name": "DefaultPreprocessor",
            "batch_size": 2,
            "patch_size": [64, 64],
            "median_image_size_in_voxels": [64.0, 64.0],
            "spacing": [1.0, 1.0],
            "normalization_schemes": ["ZScoreNormalization"] * 3,
            "use_mask_for_norm": [False] * 3,
            "batch_dice": True,
            "architecture": ENTRY,
        }
    },
}
DATASET = {
    "channel_names": {"0": "R", "1": "G", "2": "B"},
    "labels": {"background": 0, "polyp": 1},
    "file_ending": ".png",
}


def test_nnunet_builds_the_class_from_plans():
    network = get_network_from_plans(
        ENTRY["network_class_name"], ENTRY["arch_kwargs"], ENTRY["_kw_requires_import"], 3, 2, deep_supervision=False
    )
    assert isinstance(network, LMNet)
    assert network(torch.rand(1, 3, 64, 64)).shape == (1, 2, 64, 64)


def test_the_trainers_own_step_trains_it(tmp_path, monkeypatch):
    module = "nnunetv2.training.nnUNetTrainer.nnUNetTrainer"
    monkeypatch.setattr(f"{module}.nnUNet_preprocessed", str(tmp_path))
    monkeypatch.setattr(f"{module}.nnUNet_results", str(tmp_path))
    monkeypatch.setenv("nnUNet_compile", "false")
    trainer = nnUNetTrainer({**PLANS, "continue_training": False}, "2d", 0, DATASET, device=torch.device("cpu"))
    trainer.initialize()
    trainer.set_deep_supervision_enabled(True)
    scales = trainer._get_deep_supervision_scales()
    target = [torch.randint(0, 2, (2, 1, round(64 * scale[0]), round(64 * scale[1]))).float() for scale in scales]
    before = next(trainer.network.parameters()).detach().clone()
    trainer.network.train()
    loss = trainer.train_step({"data": torch.rand(2, 3, 64, 64), "target": target})["loss"]
    assert 0 < abs(float(loss)) < 10
    assert not torch.equal(before, next(trainer.network.parameters()))
    trainer.set_deep_supervision_enabled(False)
    assert trainer.network(torch.rand(1, 3, 64, 64)).shape == (1, 2, 64, 64)


def test_the_predictors_sliding_window_takes_it():
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    manager = PlansManager(PLANS)
    network = LMNet(3, 2, **ENTRY["arch_kwargs"], deep_supervision=False).eval()
    predictor = nnUNetPredictor(device=torch.device("cpu"), perform_everything_on_device=False, allow_tqdm=False)
    predictor.manual_initialization(
        network, manager, manager.get_configuration("2d"), None, DATASET, "nnUNetTrainer", (0, 1)
    )
    logits = predictor.predict_sliding_window_return_logits(torch.rand(3, 1, 100, 80))
    assert logits.shape == (2, 1, 100, 80)
