import pytest
import torch

from lmnet import create_model
from lmnet.builder.planner import plan_spec
from lmnet.builder.spec import load_spec, parse_spec
from lmnet.integrations.encoder import SpecEncoder, encoder_levels, registered_name
from lmnet.integrations.nnunet import LMNet, architecture, strides_of
from lmnet.integrations.skips import wrap_skips


def levels_of(name):
    return [(level.node, level.reduction) for level in encoder_levels(plan_spec(load_spec(name)))]


def test_the_encoder_ends_at_the_smallest_map_and_leaves_skips_and_decoder_out():
    assert levels_of("lmnet_release") == [("enc0", 1), ("enc1", 2), ("enc2", 4), ("enc3", 8), ("down3", 16)]
    assert levels_of("unet") == [("enc0", 1), ("enc1", 2), ("enc2", 4), ("enc3", 8), ("enc4", 16)]
    assert levels_of("unet_lft") == levels_of("unet")


def test_a_trained_nets_weights_fit_and_give_the_same_maps():
    model = create_model("lmnet_xxs").eval()
    encoder = SpecEncoder(load_spec("lmnet_xxs")).eval()
    missing = encoder.load_state_dict(model.state_dict(), strict=False).missing_keys
    image = torch.rand(1, 3, 64, 96)
    expected = []
    model.get_submodule("enc1").register_forward_hook(lambda _m, _a, out: expected.append(out))
    with torch.no_grad():
        model(image)
        maps = encoder(image)
    assert missing == []
    assert [x.shape[1] for x in maps] == encoder.out_channels
    torch.testing.assert_close(maps[1], expected[0])


def test_an_odd_size_rounds_up():
    encoder = SpecEncoder(load_spec("lmnet_xxs"), in_channels=1, max_reduction=8)
    maps = encoder(torch.rand(2, 1, 65, 96))
    assert encoder.reductions == [4, 8]
    assert [tuple(x.shape[2:]) for x in maps] == [(17, 24), (9, 12)]


def test_max_reduction_must_leave_a_map():
    with pytest.raises(ValueError, match=r"lmnet_xxs: max_reduction must leave one map.*got max_reduction=2\. Use 4\."):
        SpecEncoder(load_spec("lmnet_xxs"), max_reduction=2)


def test_a_backbone_of_several_outputs_ends_the_encoder_and_gives_all_its_maps():
    levels = encoder_levels(plan_spec(load_spec("mobilenetv4_lm")))
    assert [(level.node, level.output, level.reduction) for level in levels] == [
        ("backbone", output, 2 ** (output + 1)) for output in range(4)
    ]
    encoder = SpecEncoder(load_spec("mobilenetv4_lm"), max_reduction=8)
    assert [tuple(x.shape[1:]) for x in encoder(torch.rand(1, 3, 64, 96))] == [(32, 32, 48), (16, 16, 24), (32, 8, 12)]


def test_the_encoder_ends_at_the_widest_of_the_smallest_maps():
    assert levels_of("egeunet")[-1] == ("bottom", 32)  # dec5 and mask5 behind it are of the same size, but narrower
    assert levels_of("unext")[-1] == ("mix5", 32)


def test_a_net_that_begins_with_two_inputs_has_no_encoder():
    text = """
schema: lmnet/1
name: twice
input: {channels: 3, size: [64, 64]}
nodes:
  both: {block: concat, from: [input, input]}
  head: {block: segmentation_head, from: both, num_classes: 2}
outputs: {logits: head}
"""
    with pytest.raises(
        ValueError, match="twice: an encoder must begin with a node of one input and one output, got no"
    ):
        encoder_levels(plan_spec(parse_spec(text)))


def test_registered_names_begin_with_lmnet():
    assert [registered_name(name) for name in ("lmnet_xs", "unext")] == ["lmnet_xs", "lmnet_unext"]


def test_the_input_must_be_a_map_of_the_encoders_channels():
    with pytest.raises(ValueError, match=r"lmnet_xxs: input must be \(N, 3, H, W\), got \(3, 64, 64\)"):
        SpecEncoder(load_spec("lmnet_xxs"))(torch.rand(3, 64, 64))


def test_nnunets_network_returns_what_its_strides_say():
    entry = architecture("lmnet_paper", variables={"width": 8, "num_heads": 8})["arch_kwargs"]
    network = LMNet(1, 4, **entry)
    maps = network(torch.rand(1, 1, 64, 64))
    assert entry["strides"] == [[1, 1], [2, 2], [2, 2], [2, 2], [2, 2]]
    assert [tuple(x.shape) for x in maps] == [(1, 4, 64, 64), (1, 4, 32, 32), (1, 4, 16, 16), (1, 4, 8, 8)]
    network.decoder.deep_supervision = False
    assert network(torch.rand(1, 1, 64, 64)).shape == (1, 4, 64, 64)


def test_nnunets_network_works_without_supervised_nodes():
    network = LMNet(3, 2, spec="lmnet_xxs", supervised=())
    assert [tuple(x.shape) for x in network(torch.rand(1, 3, 64, 64))] == [(1, 2, 64, 64)]
    assert strides_of(network.net.plan) == [[1, 1], [32, 32]]


def test_nnunets_strides_must_fit():
    with pytest.raises(
        ValueError, match=r"lmnet_paper: strides must be those of the supervised nodes, got .* Use \[\["
    ):
        LMNet(3, 2, strides=[[1, 1], [2, 2]])


def test_supervised_nodes_must_exist_and_shrink():
    with pytest.raises(ValueError, match="lmnet_paper: supervised must name nodes of the spec, got dec9"):
        architecture("lmnet_paper", supervised=["dec9"])
    with pytest.raises(ValueError, match="supervised nodes must get smaller by whole factors, got dec1_logits"):
        architecture("lmnet_paper", supervised=["dec2", "dec1"])


class Own(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.down = SpecEncoder(load_spec("lmnet_xxs"))
        self.plain = torch.nn.Identity()

    def forward(self, x):
        return self.down(x)


def test_skips_of_an_own_model_are_wrapped_and_the_bottom_is_left_alone():
    model = wrap_skips(Own(), lambda channels: torch.nn.Conv2d(channels, channels, 1), encoder="down", residual=False)
    assert [block.in_channels for block in model.skip_blocks.blocks.values()] == [6, 12, 24]
    model(torch.rand(1, 3, 64, 64))[0].mean().backward()
    assert model.skip_blocks.blocks["0"].weight.grad is not None


def test_wrong_uses_of_wrap_skips_give_one_line():
    def block(channels):
        return torch.nn.Conv2d(channels, channels, 1)

    with pytest.raises(
        ValueError, match="wrap_skips: encoder must be a submodule.*got encoder='encoder'. Use one of down"
    ):
        wrap_skips(Own(), block)
    with pytest.raises(ValueError, match=r"the encoder must name its channels .*got Identity\. Pass channels"):
        wrap_skips(Own(), block, encoder="plain")
    with pytest.raises(ValueError, match="wrap_skips: a model is wrapped once"):
        wrap_skips(wrap_skips(Own(), block, encoder="down"), block, encoder="down")


def test_a_grid_of_reductions_stays_finest_first():
    text = """
schema: lmnet/1
name: stem
input: {channels: 3, size: [96, 96]}
nodes:
  stem: {block: downsample, from: input, out_channels: 8, stride: 3}
  deep: {block: downsample, from: stem, out_channels: 12, stride: 4}
  head: {block: segmentation_head, from: deep, num_classes: 2, scale: 12}
outputs: {logits: head}
"""
    assert [level.reduction for level in encoder_levels(plan_spec(parse_spec(text)))] == [3, 12]
