"""LM-Net's decoder on an encoder of segmentation_models_pytorch: GFT, LFTs and multi-branch steps.

python examples/smp_lmnet_decoder.py
"""

import segmentation_models_pytorch as smp
import torch
from timm.utils import reparameterize_model
from torch import nn

from lmnet.integrations.onnx import export_onnx
from lmnet.integrations.smp import LMNet
from lmnet.training import CrossEntropyDice
from lmnet.training.data.synthetic import draw_cases


def before() -> nn.Module:
    """Return SMP's U-Net."""
    return smp.Unet(
        "mobilenet_v2", encoder_depth=4, encoder_weights=None, decoder_channels=(128, 64, 32, 16), classes=2
    )


def after() -> nn.Module:
    """Return LM-Net's decoder on the same encoder."""
    return LMNet("mobilenet_v2", encoder_depth=4, encoder_weights=None, width=16, window=7, num_heads=8, classes=2)


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
    error = export_onnx(deployed, image, "smp_lmnet_decoder.onnx")
    print(f"loss {loss:.3f}, re-parameterised differs by {difference:.1e}, smp_lmnet_decoder.onnx by {error:.1e}")


if __name__ == "__main__":
    main()
