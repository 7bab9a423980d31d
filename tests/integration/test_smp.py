import copy

import pytest
import torch
from timm.utils import reparameterize_model

from lmnet import list_models
from lmnet.blocks import GlobalFeatureTransformer, LocalFeatureTransformer
from lmnet.builder.models import build_model
from lmnet.builder.spec import SpecError, load_spec, parse_spec
from lmnet.integrations.encoder import registered_name
from lmnet.integrations.skips import wrap_skips

smp = pytest.importorskip("segmentation_models_pytorch", reason="needs the extra integration")
lmnet_smp = pytest.importorskip("lmnet.integrations.smp")
get_encoder = smp.encoders.get_encoder

pytestmark = pytest.mark.integration

NAMES = ["lmnet_release", "lmnet_s", "lmnet_xxs"]  # their finest maps: 1, 1/2 and 1/4 of the image


def strides(image, features):
    return [[image.shape[2] // x.shape[2], image.shape[3] // x.shape[3]] for x in features]


def test_one_import_registers_the_zoos_nets():
    names = {registered_name(name) for name in list_models()}
    assert {"lmnet_unext", *NAMES} <= names <= set(smp.encoders.get_encoder_names())


# SMP's own pattern: tests/encoders/base.py, BaseEncoderTester, at 64 x 64


@pytest.mark.parametrize("name", NAMES)
def test_forward_and_backward(name):
    encoder = get_encoder(name, in_channels=3, weights=None)
    features = encoder(torch.rand(1, 3, 128, 128))
    assert len(features) == 6
    features[-1].mean().backward()


@pytest.mark.parametrize("in_channels", [1, 2, 3, 4])
@pytest.mark.parametrize("name", NAMES)
def test_in_channels(name, in_channels):
    encoder = get_encoder(name, in_channels=in_channels, weights=None).eval()
    with torch.no_grad():
        encoder(torch.rand(1, in_channels, 64, 64))


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("name", NAMES)
def test_depth(name, depth):
    encoder = get_encoder(name, in_channels=3, weights=None, depth=depth).eval()
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        features = encoder(image)
    assert strides(image, features) == [[2**level] * 2 for level in range(depth + 1)]
    assert [x.shape[1] for x in features] == list(encoder.out_channels)
    assert encoder.output_stride == 2**depth


@pytest.mark.parametrize("stride", [8, 16])
def test_dilated_mode_is_refused_as_smps_vgg_does(stride):
    with pytest.raises(ValueError, match=rf"lmnet_xxs: dilated mode is not supported, got output_stride={stride}\."):
        get_encoder("lmnet_xxs", weights=None, output_stride=stride)


@pytest.mark.parametrize("size", [(65, 64), (64, 97)])
def test_an_odd_size_gives_smps_size_error(size):
    with pytest.raises(RuntimeError, match=r"Wrong input shape height=.* divisible by 32. Consider pad your images to"):
        smp.FPN("lmnet_xxs", encoder_weights=None)(torch.rand(1, 3, *size))
    with pytest.raises(RuntimeError, match=r"Wrong input shape height=.* divisible by 16. Consider pad your images to"):
        lmnet_smp.LMNet("lmnet_s", width=8)(torch.rand(1, 3, *size))


def test_smps_unet_takes_odd_sizes():
    model = smp.Unet("lmnet_xxs", encoder_weights=None, classes=2).eval()
    assert model(torch.rand(1, 3, 65, 97)).shape == (1, 2, 65, 97)


@pytest.mark.parametrize("decoder", ["Unet", "UnetPlusPlus", "FPN", "Linknet", "MAnet"])
def test_smps_decoders_take_it(decoder):
    model = getattr(smp, decoder)("lmnet_s", encoder_weights=None, classes=2).eval()
    image = torch.rand(1, 3, 64, 64)
    deployed = reparameterize_model(model)
    torch.testing.assert_close(deployed(image), model(image), atol=1e-5, rtol=1e-5)


def test_depth_must_be_from_1_to_5():
    with pytest.raises(ValueError, match=r"lmnet_xxs: depth must be from 1 to 5, got depth=6\. Use 4\."):
        lmnet_smp.SmpEncoder(load_spec("lmnet_xxs"), depth=6)


def test_reductions_must_be_powers_of_2():
    text = """
schema: lmnet/1
name: thirds
input: {channels: 3, size: [96, 96]}
nodes:
  stem: {block: downsample, from: input, out_channels: 8, stride: 3}
  head: {block: segmentation_head, from: stem, num_classes: 2, scale: 3}
outputs: {logits: head}
"""
    with pytest.raises(ValueError, match=r"thirds: reductions must be powers of 2 for SMP, got reductions=\[3\]"):
        lmnet_smp.SmpEncoder(parse_spec(text))


def test_new_in_channels_keep_the_weights():
    encoder = get_encoder("lmnet_xxs", weights=None)
    before = copy.deepcopy(encoder.state_dict())
    encoder.set_in_channels(1)
    changed = {key for key, value in encoder.state_dict().items() if value.shape != before[key].shape}
    kept = (key for key in before if key not in changed)
    assert all(key.startswith("body.stem") for key in changed)
    assert all(torch.equal(encoder.state_dict()[key], before[key]) for key in kept)
    assert encoder.out_channels[0] == 1


def test_a_spec_of_ones_own_is_registered_once():
    name = lmnet_smp.register_spec(load_spec("unet").override({"width": 4}), "unet_of_mine")
    assert get_encoder(name, weights=None).out_channels == [4, 8, 16, 32, 64, 64]
    with pytest.raises(ValueError, match="smp: there is an encoder 'unet_of_mine' already"):
        lmnet_smp.register_spec("unet", "unet_of_mine")


@pytest.mark.parametrize("encoder", ["resnet18", "mobilenet_v2", "vgg11", "mit_b0", "lmnet_xxs", "tu-regnety_002"])
def test_lmnets_decoder_sits_on_any_encoder(encoder):
    model = lmnet_smp.LMNet(encoder, encoder_depth=4, width=8, classes=3)
    model(torch.rand(2, 3, 64, 96)).mean().backward()
    assert model(torch.rand(2, 3, 64, 96)).shape == (2, 3, 64, 96)
    assert all(parameter.grad is not None for parameter in model.decoder.parameters())


def test_lmnets_decoder_needs_two_maps():
    with pytest.raises(
        ValueError, match=r"lmnet decoder: two or more maps in a row must have channels, got .*\[0, 64\]"
    ):
        lmnet_smp.LMNet("resnet18", encoder_depth=1)


def lft(channels):
    return LocalFeatureTransformer(channels, window=3, num_heads=8)


def gft(channels):
    return GlobalFeatureTransformer(channels, num_heads=8)


def test_a_wrapped_model_begins_as_what_it_was_and_its_weights_keep_their_names():
    model = smp.Unet("mobilenet_v2", encoder_weights=None).eval()
    image, names = torch.rand(2, 3, 64, 64), list(model.state_dict())
    with torch.no_grad():
        before = model(image)
        after = wrap_skips(model, lft, gft).eval()(image)
    assert torch.equal(before, after)
    assert [name for name in model.state_dict() if not name.startswith("skip_blocks")] == names
    assert list(model.skip_blocks.blocks) == ["1", "2", "3", "4", "5"]


def test_a_wrapped_models_new_weights_learn_and_its_copy_is_its_own():
    model = wrap_skips(smp.Unet("mobilenet_v2", encoder_weights=None), lft, gft, residual=False)
    copied = copy.deepcopy(model)
    image = torch.rand(2, 3, 64, 64)
    copied(image).mean().backward()
    assert all(parameter.grad is not None for parameter in copied.skip_blocks.parameters())
    assert all(parameter.grad is None for parameter in model.skip_blocks.parameters())


def test_heads_that_do_not_fit_a_skip_give_one_line():
    with pytest.raises(ValueError, match=r"lft: num_heads must divide in_channels, got num_heads=7, in_channels=16"):
        wrap_skips(
            smp.Unet("mobilenet_v2", encoder_weights=None),
            lambda channels: LocalFeatureTransformer(channels, num_heads=7),
        )


SPEC = """
schema: lmnet/1
name: on_smp
input: {channels: 3, size: [64, 64]}
nodes:
  backbone: {block: smp_encoder, from: input, encoder: resnet18, depth: 2}
  bottom:   {block: conv_norm_act, from: backbone.1, out_channels: 16, kernel_size: 1}
  dec0:     {block: fusion_decoder, from: [bottom, backbone.0], depth: 1}
  head:     {block: segmentation_head, from: dec0, num_classes: 2, scale: 2}
outputs: {logits: head}
"""


def test_an_smp_encoder_is_a_node():
    model = build_model(parse_spec(SPEC))
    assert model(torch.rand(2, 3, 50, 64)).shape == (2, 2, 50, 64)
    assert model.plan.macs > 1e6


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("resnet81", "got encoder='resnet81'. Did you mean resnet18"),
        ("depth: 9", "depth must be from 1 to 5, got depth=9"),
    ],
)
def test_a_wrong_smp_encoder_node_gives_one_line(wrong, message):
    text = SPEC.replace("resnet18", wrong) if "depth" not in wrong else SPEC.replace("depth: 2", wrong)
    with pytest.raises(SpecError, match=message):
        build_model(parse_spec(text))
