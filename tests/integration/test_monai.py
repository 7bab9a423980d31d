import copy

import pytest
import torch

from lmnet.blocks import GlobalFeatureTransformer, LargeKernelStage, LocalFeatureTransformer, MultiKernelConv
from lmnet.integrations.skips import wrap_skips as wrap_encoder

nets = pytest.importorskip("monai.networks.nets", reason="needs the extra integration")
wrap_skips = pytest.importorskip("lmnet.integrations.monai").wrap_skips

pytestmark = pytest.mark.integration


def lft(channels):
    return LocalFeatureTransformer(channels, window=3, num_heads=4)


def gft(channels):
    return GlobalFeatureTransformer(channels, num_heads=4)


def unet(**options):
    return nets.UNet(2, 3, 2, channels=(8, 16, 32), strides=(2, 2), **options)


@pytest.mark.parametrize("units", [0, 2])
def test_a_wrapped_model_begins_as_what_it_was(units):
    model, image = unet(num_res_units=units).eval(), torch.rand(2, 3, 32, 48)
    names = list(model.state_dict())
    with torch.no_grad():
        before = model(image)
        after = wrap_skips(model, lft, gft).eval()(image)
    assert torch.equal(before, after)
    assert [name for name in model.state_dict() if not name.startswith("skip_blocks")] == names
    assert list(model.skip_blocks) == ["0", "1", "bottom"]


def test_the_blocks_learn_and_a_copy_is_its_own():
    model = wrap_skips(unet(), lft, gft, residual=False)
    copied = copy.deepcopy(model)
    copied(torch.rand(2, 3, 32, 32)).mean().backward()
    assert all(parameter.grad is not None for parameter in copied.skip_blocks.parameters())
    assert all(parameter.grad is None for parameter in model.skip_blocks.parameters())


def test_a_block_acts_on_the_skip_alone():
    model, image = unet().eval(), torch.rand(1, 3, 32, 32)
    inner = []
    model.model[1].submodule.register_forward_hook(lambda _m, _a, out: inner.append(out))
    with torch.no_grad():
        model(image)
        wrap_skips(model, lambda channels: torch.nn.Hardtanh(5, 5.1), residual=False)(image)
    # the outermost skip became 5; what comes from below was not touched by it
    assert inner[0].shape == inner[1].shape
    with torch.no_grad():
        carried = model.model[1](model.model[0](image))[:, :8]
    assert torch.equal(carried, torch.full_like(carried, 5))


@pytest.mark.parametrize("block", [MultiKernelConv, LargeKernelStage], ids=lambda block: block.__name__)
def test_the_fields_blocks_sit_on_skips_too(block):
    model, image = unet().eval(), torch.rand(2, 3, 32, 48)
    with torch.no_grad():
        before = model(image)
    wrap_skips(model, lambda channels: block(channels, out_channels=channels))
    with torch.no_grad():
        assert torch.equal(before, model.eval()(image))
    model.train()(image).mean().backward()
    assert all(parameter.grad is not None for parameter in model.skip_blocks.parameters())


def test_flexible_unet_is_wrapped_by_its_encoder():
    model = nets.FlexibleUNet(3, 2, backbone="resnet18", spatial_dims=2).eval()
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        before = model(image)
        wrap_encoder(model, lft, channels=[64, 64, 128, 256, 512])
        assert torch.equal(before, model.eval()(image))


@pytest.mark.parametrize(
    "model", [lambda: nets.BasicUNet(2, 3, 2), lambda: nets.UNet(3, 1, 2, (8, 16), (2,))], ids=["BasicUNet", "3D"]
)
def test_other_models_give_one_line(model):
    with pytest.raises(ValueError, match="wrap_skips: model must be monai.networks.nets.UNet with spatial_dims=2, got"):
        wrap_skips(model(), lft)
