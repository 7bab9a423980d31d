"""LM-Net's blocks in a U-Net of your own: channels in, options by keyword, map in, map out. Needs lmnet alone.

python examples/plain_unet.py
"""

import torch
from timm.utils import reparameterize_model
from torch import Tensor, nn

from lmnet.blocks import CrossScaleFusion, GlobalFeatureTransformer, LocalFeatureTransformer, MultiBranchConv
from lmnet.integrations.onnx import export_onnx
from lmnet.training import CrossEntropyDice
from lmnet.training.data.synthetic import draw_cases


def convolutions(in_channels: int, out_channels: int) -> nn.Module:
    """Return two 3x3 convolutions, as U-Net has them."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1), nn.BatchNorm2d(out_channels), nn.ReLU(),
        nn.Conv2d(out_channels, out_channels, 3, padding=1), nn.BatchNorm2d(out_channels), nn.ReLU(),
    )  # fmt: skip


class UNet(nn.Module):
    """A U-Net of three levels; with ``use_lmnet`` its skips are fused and pass LFTs, and its bottom passes a GFT."""

    def __init__(self, width: int = 16, num_classes: int = 2, *, use_lmnet: bool) -> None:
        super().__init__()
        w0, w1, w2 = width, 2 * width, 4 * width
        first = MultiBranchConv(3, out_channels=w0) if use_lmnet else convolutions(3, w0)
        self.encoder = nn.ModuleList([first, convolutions(w0, w1), convolutions(w1, w2)])
        self.fuse = CrossScaleFusion([w0, w1], out_channels=w0, scales=[1, 0.5]) if use_lmnet else None
        self.skip0 = LocalFeatureTransformer(w0, window=7, num_heads=4) if use_lmnet else nn.Identity()
        self.skip1 = LocalFeatureTransformer(w1, window=7, num_heads=4) if use_lmnet else nn.Identity()
        self.bottom = GlobalFeatureTransformer(w2, num_heads=4) if use_lmnet else nn.Identity()
        self.up = nn.ModuleList([nn.ConvTranspose2d(w1, w0, 2, stride=2), nn.ConvTranspose2d(w2, w1, 2, stride=2)])
        self.decoder = nn.ModuleList([convolutions(2 * w0, w0), convolutions(2 * w1, w1)])
        self.head = nn.Conv2d(w0, num_classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits."""
        e0 = self.encoder[0](image)
        e1 = self.encoder[1](nn.functional.max_pool2d(e0, 2))
        x = self.bottom(self.encoder[2](nn.functional.max_pool2d(e1, 2)))
        x = self.decoder[1](torch.cat([self.skip1(e1), self.up[1](x)], dim=1))
        s0 = e0 if self.fuse is None else self.fuse(e0, e1)
        x = self.decoder[0](torch.cat([self.skip0(s0), self.up[0](x)], dim=1))
        return self.head(x)


def before() -> nn.Module:
    """Return the plain U-Net."""
    return UNet(use_lmnet=False)


def after() -> nn.Module:
    """Return the U-Net with LM-Net's blocks."""
    return UNet(use_lmnet=True)


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
    error = export_onnx(deployed, image, "plain_unet.onnx")
    print(f"loss {loss:.3f}, re-parameterised differs by {difference:.1e}, plain_unet.onnx by {error:.1e}")


if __name__ == "__main__":
    main()
