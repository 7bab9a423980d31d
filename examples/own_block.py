"""A block of your own and any timm or SMP encoder as nodes of a spec, from outside the package.

python examples/own_block.py
"""

import torch
from timm.utils import reparameterize_model
from torch import Tensor, nn

import lmnet.integrations.smp  # noqa: F401 - registers the block smp_encoder
from lmnet.blocks import Example, register
from lmnet.builder.models import build_model
from lmnet.builder.spec import parse_spec
from lmnet.integrations.onnx import export_onnx
from lmnet.training import CrossEntropyDice
from lmnet.training.data.synthetic import draw_cases


@register("my_gate", example=Example({"reduction": 4}, ((8, 6, 6),), ((8, 6, 6),)))
class MyGate(nn.Module):
    """Weigh each channel by its mean: any module that takes in_channels and plain options is a block."""

    def __init__(self, in_channels: int, *, reduction: int = 4) -> None:
        super().__init__()
        self.in_channels = self.out_channels = in_channels
        self.down, self.up = (
            nn.Linear(in_channels, in_channels // reduction),
            nn.Linear(in_channels // reduction, in_channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the weighed map."""
        gate = self.up(self.down(x.mean((2, 3))).relu()).sigmoid()
        return x * gate[:, :, None, None]


SPEC = """
schema: lmnet/1
name: own
input: {channels: 3, size: [64, 64]}
vars: {encoder: mobilenet_v2}
nodes:
  backbone: {block: smp_encoder, from: input, encoder: "${encoder}", depth: 3}
  bottom:   {block: conv_norm_act, from: backbone.2, out_channels: 32, kernel_size: 1}
  skip1:    {block: SKIP, from: backbone.1}
  dec1:     {block: fusion_decoder, from: [bottom, skip1], depth: 1}
  skip0:    {block: SKIP, from: backbone.0}
  dec0:     {block: fusion_decoder, from: [dec1, skip0], depth: 1}
  head:     {block: segmentation_head, from: dec0, num_classes: 2, scale: 2}
outputs: {logits: head}
"""


def before() -> nn.Module:
    """Return the net with LM-Net's LFT on the skips."""
    return build_model(parse_spec(SPEC.replace("SKIP", "lft")))


def after() -> nn.Module:
    """Return the net with a block of your own there."""
    return build_model(parse_spec(SPEC.replace("SKIP", "my_gate")))


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
    error = export_onnx(deployed, image, "own_block.onnx")
    print(f"loss {loss:.3f}, re-parameterised differs by {difference:.1e}, own_block.onnx by {error:.1e}")


if __name__ == "__main__":
    main()
