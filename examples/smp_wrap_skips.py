"""LFTs on the skips and a GFT at the bottom of an SMP model that exists already, without a fork.

python examples/smp_wrap_skips.py
"""

import segmentation_models_pytorch as smp
import torch
from timm.utils import reparameterize_model
from torch import nn

from lmnet.blocks import GlobalFeatureTransformer, LocalFeatureTransformer
from lmnet.integrations.onnx import export_onnx
from lmnet.integrations.skips import wrap_skips
from lmnet.training import CrossEntropyDice
from lmnet.training.data.synthetic import draw_cases


def before() -> nn.Module:
    """Return SMP's U-Net, which may be pretrained."""
    return smp.Unet("mobilenet_v2", encoder_weights=None, classes=2)


def after() -> nn.Module:
    """Return the same with LM-Net's blocks; it starts with the very same output, and its weights keep their names."""
    return wrap_skips(
        before(),
        lambda channels: LocalFeatureTransformer(channels, window=7, num_heads=8),
        bottom=lambda channels: nn.Sequential(  # 1280 channels are many: squeeze them first
            nn.Conv2d(channels, 128, 1), GlobalFeatureTransformer(128, out_channels=channels, num_heads=8)
        ),
    )


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
    error = export_onnx(deployed, image, "smp_wrap_skips.onnx")
    print(f"loss {loss:.3f}, re-parameterised differs by {difference:.1e}, smp_wrap_skips.onnx by {error:.1e}")


if __name__ == "__main__":
    main()
