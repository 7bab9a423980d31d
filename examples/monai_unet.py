"""LM-Net's blocks in MONAI's 2D U-Net, with MONAI's loss, trainer and sliding-window inference.

python examples/monai_unet.py
"""

import torch
from monai.engines import SupervisedTrainer
from monai.inferers import sliding_window_inference
from monai.losses import DiceCELoss
from monai.networks.nets import UNet
from timm.utils import reparameterize_model
from torch import nn

from lmnet.blocks import GlobalFeatureTransformer, LocalFeatureTransformer
from lmnet.integrations.monai import wrap_skips
from lmnet.integrations.onnx import export_onnx
from lmnet.training.data.synthetic import draw_cases


def before() -> nn.Module:
    """Return MONAI's U-Net."""
    return UNet(spatial_dims=2, in_channels=3, out_channels=2, channels=(16, 32, 64, 128), strides=(2, 2, 2))


def after() -> nn.Module:
    """Return the same with LM-Net's blocks."""
    return wrap_skips(
        before(),
        lambda channels: LocalFeatureTransformer(channels, window=7, num_heads=8),
        bottom=lambda channels: GlobalFeatureTransformer(channels, num_heads=8),
    )


def main() -> None:
    """Train one step on synthetic images, re-parameterise a copy, export it."""
    cases = draw_cases(2, size=64).at(64)
    image = torch.stack([image for image, _ in cases]).float() / 255
    mask = torch.stack([mask for _, mask in cases]).long()
    model = after()
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=1,
        train_data_loader=[{"image": image, "label": mask[:, None]}],
        network=model,
        optimizer=torch.optim.AdamW(model.parameters(), lr=1e-3),
        loss_function=DiceCELoss(to_onehot_y=True, softmax=True),
    )
    trainer.run()
    loss = trainer.state.output[0]["loss"]
    model.eval()
    large = sliding_window_inference(image.repeat(1, 1, 2, 2), roi_size=(64, 64), sw_batch_size=2, predictor=model)
    deployed = reparameterize_model(model)
    difference = (deployed(image) - model(image)).abs().max()
    error = export_onnx(deployed, image, "monai_unet.onnx")
    print(f"{tuple(large.shape)} by sliding windows")
    print(f"loss {loss:.3f}, re-parameterised differs by {difference:.1e}, monai_unet.onnx by {error:.1e}")


if __name__ == "__main__":
    main()
