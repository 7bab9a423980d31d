"""LM-Net's encoder as a timm backbone: one import registers the zoo's, here under a head of your own.

python examples/timm_features.py
"""

import timm
import torch
import torch.nn.functional as F
from timm.utils import reparameterize_model
from torch import Tensor, nn

import lmnet.integrations.timm  # noqa: F401 - registers lmnet_release and the zoo's other lmnet nets
from lmnet.integrations.onnx import export_onnx
from lmnet.training import CrossEntropyDice
from lmnet.training.data.synthetic import draw_cases


class UpsampledSum(nn.Module):
    """Any timm backbone and the smallest decoder there is: 1x1 convolutions, upsampled and summed."""

    def __init__(self, backbone: str, num_classes: int = 2) -> None:
        super().__init__()
        self.backbone = timm.create_model(backbone, features_only=True, pretrained=False)
        self.heads = nn.ModuleList(nn.Conv2d(c, num_classes, 1) for c in self.backbone.feature_info.channels())

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits."""
        maps = [head(x) for head, x in zip(self.heads, self.backbone(image), strict=True)]
        return sum(F.interpolate(x, size=image.shape[2:], mode="bilinear") for x in maps)


def before() -> nn.Module:
    """Return a timm backbone."""
    return UpsampledSum("mobilenetv3_small_100")


def after() -> nn.Module:
    """Return LM-Net's encoder in its place."""
    return UpsampledSum("lmnet_release")


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
    error = export_onnx(deployed, image, "timm_features.onnx")
    print(f"loss {loss:.3f}, re-parameterised differs by {difference:.1e}, timm_features.onnx by {error:.1e}")


if __name__ == "__main__":
    main()
