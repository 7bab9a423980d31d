"""LM-Net's encoder in segmentation_models_pytorch: one import, then by name in any of its models.

python examples/smp_lmnet_encoder.py
"""

import segmentation_models_pytorch as smp
import torch
from timm.utils import reparameterize_model
from torch import nn

import lmnet.integrations.smp  # noqa: F401 - registers lmnet_release and the zoo's other lmnet nets
from lmnet.integrations.onnx import export_onnx
from lmnet.training import CrossEntropyDice
from lmnet.training.data.synthetic import draw_cases


def before() -> nn.Module:
    """Return SMP's U-Net on one of its own encoders."""
    channels = (128, 64, 32, 16)
    return smp.Unet("mobilenet_v2", encoder_depth=4, encoder_weights=None, decoder_channels=channels, classes=2)


def after() -> nn.Module:
    """Return SMP's U-Net on LM-Net's encoder, which ends at 1/16: depth 4."""
    channels = (128, 64, 32, 16)
    return smp.Unet("lmnet_release", encoder_depth=4, encoder_weights=None, decoder_channels=channels, classes=2)


def main() -> None:
    """Train one step on synthetic images, re-parameterise a copy, export it."""
    cases = draw_cases(2, size=64).at(64)
    image = torch.stack([image for image, _ in cases]).float() / 255
    mask = torch.stack([mask for _, mask in cases]).long()
    model = after()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    loss = CrossEntropyDice()(model(image), mask)
    loss.backward()
    optimizer.step()
    deployed = reparameterize_model(model.eval())
    difference = (deployed(image) - model(image)).abs().max()
    error = export_onnx(deployed, image, "smp_lmnet_encoder.onnx")
    print(f"loss {loss:.3f}, re-parameterised differs by {difference:.1e}, smp_lmnet_encoder.onnx by {error:.1e}")


if __name__ == "__main__":
    main()
