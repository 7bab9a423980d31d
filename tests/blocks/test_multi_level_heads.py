"""Heads on several maps: the same as their plain, slow versions."""

import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lmnet.blocks import FpnHead, LrasppHead, SegformerHead

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


@torch.no_grad()
@pytest.mark.parametrize("norm", [{}, {"norm_layer": "groupnorm", "norm_groups": 3}])
def test_fpn_head_is_torchvisions_pyramid_and_the_papers_semantic_branch(norm):
    from torchvision.ops import FeaturePyramidNetwork

    head = drawn(FpnHead([8, 12, 16], pyramid_channels=5, embed_channels=6, scale=4, **norm))
    pyramid, maps = FeaturePyramidNetwork([8, 12, 16], 5).eval(), maps_of(SHAPES)
    names = {"laterals": "inner_blocks", "smooth": "layer_blocks"}
    state = {key.partition("."): value for key, value in head.state_dict().items()}
    pyramid.load_state_dict(
        {
            f"{names[part]}.{rest.replace('.', '.0.', 1)}": value
            for (part, _, rest), value in state.items()
            if part in names
        }
    )
    levels = list(pyramid(dict(enumerate(maps))).values())
    total = head.steps[0][0](levels[0])
    for level, steps in zip(levels[1:], list(head.steps)[1:], strict=True):
        x = level
        for step in steps:
            x = F.interpolate(torch.relu(step.norm(step.conv(x))), scale_factor=2.0, mode="bilinear")
        total = total + x
    want = F.interpolate(head.classify(total), scale_factor=4.0, mode="bilinear")
    torch.testing.assert_close(head(*maps), want, rtol=1e-4, atol=1e-4)
    assert [len(steps) for steps in head.steps] == [1, 1, 2]


@pytest.mark.parametrize(
    ("block", "name"), [(LrasppHead, "lraspp_head"), (SegformerHead, "segformer_head"), (FpnHead, "fpn_head")]
)
def test_maps_in_the_wrong_order_are_named(block, name):
    message = rf"{name}: inputs must be the finest first, got 5x9 \(input 0\) before 20x36 \(input 1\). Turn the list"
    with pytest.raises(ValueError, match=message):
        block([16, 8])(torch.randn(1, 16, 5, 9), torch.randn(1, 8, 20, 36))


def test_segformer_head_in_training_is_not_merged():
    with pytest.raises(RuntimeError, match="segformer_head: reparameterize needs eval mode, got training=True. Call"):
        SegformerHead([4, 8]).reparameterize()


@pytest.mark.parametrize(
    ("channels", "options", "message"),
    [
        ([8], {}, "fpn_head: needs at least 2 inputs, got 1. List more names in from."),
        ([8] * 9, {}, "fpn_head: takes at most 8 inputs, got 9. List fewer names in from."),
        ([8, 8], {"pyramid_channels": 0}, "fpn_head: pyramid_channels must be above 0, got pyramid_channels=0."),
        ([8, 8], {"norm_layer": "groupnorm", "norm_groups": 7}, "fpn_head: norm_groups must divide the channels"),
        ([8, 8], {"norm_layer": "bachnorm2d"}, "fpn_head: norm_layer must be"),
    ],
)
def test_fpn_head_names_a_wrong_option(channels, options, message):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        FpnHead(channels, **options)
