import pytest
import timm
import torch
from timm.utils import reparameterize_model

import lmnet
import lmnet.integrations.timm as lmnet_timm
from lmnet.blocks import TimmEncoder
from lmnet.builder.spec import SpecError, load_spec
from lmnet.integrations.encoder import SpecEncoder, registered_name

pytestmark = pytest.mark.integration

NAMES = [registered_name(name) for name in lmnet.list_models(family="lmnet")]


def test_one_import_registers_the_zoos_nets():
    assert set(timm.list_models("lmnet_*")) == {registered_name(name) for name in lmnet.list_models()}
    assert {"lmnet_paper", "lmnet_unext", "lmnet_unet", "lmnet_emcad_b0"} <= set(timm.list_models("lmnet_*"))


@pytest.mark.parametrize("name", NAMES)
def test_features_are_what_feature_info_says(name):
    model = timm.create_model(name, features_only=True)
    maps = model(torch.rand(2, 3, 64, 96))
    assert [x.shape[1] for x in maps] == model.feature_info.channels()
    assert [64 // x.shape[2] for x in maps] == [96 // x.shape[3] for x in maps] == model.feature_info.reduction()
    sum(x.mean() for x in maps).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_the_release_net_has_the_papers_five_levels():
    model = timm.create_model("lmnet_release", features_only=True, out_indices=(1, 4), in_chans=1)
    assert model.feature_info.channels() == [24, 192]
    assert model.feature_info.reduction() == [2, 16]
    assert [tuple(x.shape) for x in model(torch.rand(1, 1, 33, 48))] == [(1, 24, 17, 24), (1, 192, 3, 3)]


def test_the_classifier_follows_timms_contract():
    model = timm.create_model("lmnet_xxs", num_classes=7, drop_rate=0.1, global_pool="max").eval()
    image = torch.rand(2, 3, 64, 64)
    features = model.forward_features(image)
    assert features.shape == (2, model.num_features, 2, 2)
    torch.testing.assert_close(model.forward_head(features), model(image))
    assert model.forward_head(features, pre_logits=True).shape == (2, model.head_hidden_size)
    assert model.get_classifier().out_features == 7
    model.reset_classifier(0)
    assert model(image).shape == (2, model.num_features)


def test_variables_of_the_spec_are_options():
    model = timm.create_model("lmnet_xxs", features_only=True, width=8)
    assert model.feature_info.channels()[0] == 8
    with pytest.raises(SpecError, match="got wdth. Did you mean width"):
        timm.create_model("lmnet_xxs", wdth=8)


def test_a_reparameterised_copy_gives_the_same_and_exports():
    model = timm.create_model("lmnet_xxs", num_classes=3).eval()
    image = torch.rand(2, 3, 64, 64)
    deployed = reparameterize_model(model)
    torch.testing.assert_close(deployed(image), model(image), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        torch.export.export(deployed, (image,)).module()(image), model(image), atol=1e-5, rtol=1e-5
    )


def test_the_builders_timm_encoder_takes_it():
    assert TimmEncoder(3, model="lmnet_xxs").reductions == [4, 8, 16, 32]


def test_a_spec_of_ones_own_is_registered_once():
    name = lmnet_timm.register_spec(load_spec("unet").override({"width": 4}), "unet_of_mine")
    assert timm.create_model(name, features_only=True).feature_info.reduction() == [1, 2, 4, 8, 16]
    with pytest.raises(ValueError, match="timm: there is a model 'unet_of_mine' already. Pass another"):
        lmnet_timm.register_spec("unet", "unet_of_mine")


def test_dilated_mode_gives_one_line():
    with pytest.raises(
        ValueError, match=r"lmnet_xxs: dilated mode is not supported, got output_stride=8\. Leave it out"
    ):
        timm.create_model("lmnet_xxs", features_only=True, output_stride=8)


def test_maps_that_there_are_not_are_named_with_the_number_of_those_there_are():
    with pytest.raises(ValueError, match=r"lmnet_xs: it has 4 feature maps, 0 to 3, got 7. Use fewer."):
        timm.create_model("lmnet_xs", features_only=True, out_indices=(0, 7))


def test_intermediates_are_the_feature_maps():
    net = timm.create_model("lmnet_xxs").eval()
    image = torch.randn(1, 3, 64, 64)

    last, maps = net.forward_intermediates(image)

    assert [y.shape[1] for y in maps] == [info["num_chs"] for info in net.feature_info]
    assert torch.equal(last, maps[-1])
    (only,) = net.forward_intermediates(image, indices=1, intermediates_only=True)
    assert torch.equal(only, last)
    with pytest.raises(ValueError, match="got 9"):
        net.forward_intermediates(image, indices=[9])
    with pytest.raises(ValueError, match="maps are NCHW, got output_fmt='NLC'"):
        net.forward_intermediates(image, output_fmt="NLC")


def test_checkpointing_is_refused_in_one_sentence():
    net = timm.create_model("lmnet_xxs")
    net.set_grad_checkpointing(False)
    with pytest.raises(ValueError, match="gradient checkpointing of the whole net is not supported"):
        net.set_grad_checkpointing()


@pytest.mark.parametrize("in_chans", [3, 1])
def test_pretrained_takes_the_encoder_of_the_shipped_weights(in_chans):
    model = timm.create_model("lmnet_xxs", pretrained=True, num_classes=5, in_chans=in_chans).eval()
    features = timm.create_model("lmnet_xxs", pretrained=True, features_only=True, in_chans=in_chans).eval()
    net = lmnet.create_model("lmnet_xxs", pretrained=True)

    image = torch.rand(1, 1, 64, 64)
    maps = features(image.expand(-1, in_chans, -1, -1))

    for name, tensor in net.state_dict().items():
        if name in model.state_dict() and tensor.ndim == 1 and tensor.is_floating_point():
            assert torch.equal(tensor, model.state_dict()[name])
    wanted = SpecEncoder(load_spec("lmnet_xxs"))
    wanted.load_state_dict(net.state_dict(), strict=False)
    for got, want in zip(maps, wanted.eval()(image.expand(-1, 3, -1, -1)), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)  # a grey image means the same to both stems


def test_pretrained_without_fitting_weights_says_so():
    with pytest.raises(ValueError, match="the zoo has no weights of it"):
        timm.create_model("lmnet_january", pretrained=True)
    with pytest.raises(ValueError, match="the weights must fit the encoder, got .* missing or of another shape"):
        timm.create_model("lmnet_xxs", pretrained=True, width=8)
