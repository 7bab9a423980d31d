"""Heads on several maps: the same as their plain, slow versions."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lmnet.blocks import LrasppHead, SegformerHead

SHAPES = [(8, 20, 36), (12, 10, 18), (16, 5, 9)]


def drawn(module):
    generator = torch.Generator().manual_seed(0)
    for key, value in module.state_dict().items():
        if value.is_floating_point():
            value.copy_(torch.randn(value.shape, generator=generator).abs() + 0.1 if "var" in key else
                        torch.randn(value.shape, generator=generator))  # fmt: skip
    return module.eval()


def maps_of(shapes):
    return [torch.randn(2, *shape, generator=torch.Generator().manual_seed(1)) for shape in shapes]


@torch.no_grad()
def test_segformer_head_is_the_papers_with_concatenated_maps():
    head, maps = drawn(SegformerHead([8, 12, 16], embed_channels=6, scale=4)), maps_of(SHAPES)
    whole = nn.Conv2d(18, 6, 1, bias=False)
    whole.weight.copy_(torch.cat([mix.weight for mix in head.mix], dim=1))
    levels = [F.interpolate(embed(x), (20, 36), mode="bilinear") for embed, x in zip(head.embed, maps, strict=True)]
    want = head.classify(torch.relu(head.norm(whole(torch.cat(levels, dim=1)))))
    want = F.interpolate(want, scale_factor=4.0, mode="bilinear")
    torch.testing.assert_close(head(*maps), want, rtol=1e-4, atol=1e-4)
    head.reparameterize()
    torch.testing.assert_close(head(*maps), want, rtol=1e-4, atol=1e-4)
    assert set(dict(head.named_parameters())) == {
        f"{name}.{kind}" for name in ("embed.0", "embed.1", "embed.2", "classify") for kind in ("weight", "bias")
    }


@torch.no_grad()
def test_lraspp_head_is_torchvisions():
    from torchvision.models.segmentation.lraspp import LRASPPHead

    head, other = drawn(LrasppHead([8, 16], num_classes=3, embed_channels=6)), LRASPPHead(8, 16, 3, 6).eval()
    names = {"embed": "cbr.0", "norm": "cbr.1", "weigh": "scale.1", "classify_coarse": "high_classifier"}
    names["classify_fine"] = "low_classifier"
    other.load_state_dict({f"{names[k.split('.')[0]]}.{k.split('.')[1]}": v for k, v in head.state_dict().items()})
    fine, _, coarse = maps_of(SHAPES)
    want = other({"low": fine, "high": coarse})
    torch.testing.assert_close(head(fine, coarse), want, rtol=1e-4, atol=1e-5)
    head.fold_norm()
    torch.testing.assert_close(head(fine, coarse), want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("block", "name"), [(LrasppHead, "lraspp_head"), (SegformerHead, "segformer_head")])
def test_maps_in_the_wrong_order_are_named(block, name):
    message = rf"{name}: inputs must be the finest first, got 5x9 \(input 0\) before 20x36 \(input 1\). Turn the list"
    with pytest.raises(ValueError, match=message):
        block([16, 8])(torch.randn(1, 16, 5, 9), torch.randn(1, 8, 20, 36))


def test_segformer_head_in_training_is_not_merged():
    with pytest.raises(RuntimeError, match="segformer_head: reparameterize needs eval mode, got training=True. Call"):
        SegformerHead([4, 8]).reparameterize()
