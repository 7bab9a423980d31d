"""LM-Net as nnU-Net v2 builds it from its plans: the entry to put there, and what the trainer makes of it.

python examples/nnunet_plans.py
"""

import json

import torch
from timm.utils import reparameterize_model
from torch import nn

from lmnet.integrations.nnunet import LMNet, architecture
from lmnet.integrations.onnx import export_onnx
from lmnet.training import CrossEntropyDice
from lmnet.training.data.synthetic import draw_cases

PLANS_ENTRY = architecture("lmnet_paper", variables={"depth": [1, 1, 1, 1], "decoder_depth": [1, 1, 1, 1]})


def after() -> nn.Module:
    """Return LM-Net as nnU-Net's get_network_from_plans calls its class."""
    return LMNet(input_channels=3, num_classes=2, **PLANS_ENTRY["arch_kwargs"], deep_supervision=True)


def main() -> None:
    """Train one step on synthetic images, re-parameterise a copy, export it."""
    print(json.dumps(PLANS_ENTRY))
    cases = draw_cases(2, size=64).at(64)
    image = torch.stack([image for image, _ in cases]).float() / 255
    mask = torch.stack([mask for _, mask in cases]).long()
    model = after()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    loss = sum(0.5**i * CrossEntropyDice()(logits, mask[:, :: 2**i, :: 2**i]) for i, logits in enumerate(model(image)))
    loss.backward()
    optimizer.step()
    model.decoder.deep_supervision = False  # as nnU-Net's trainer does for validation and inference
    deployed = reparameterize_model(model.eval())
    difference = (deployed(image) - model(image)).abs().max()
    error = export_onnx(deployed, image, "nnunet_plans.onnx")
    print(f"loss {loss:.3f}, re-parameterised differs by {difference:.1e}, nnunet_plans.onnx by {error:.1e}")


if __name__ == "__main__":
    main()
