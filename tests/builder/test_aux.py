"""``aux`` in a spec: maps that get a loss of their own while training and are gone from everything else."""

import pytest
import torch
from timm.utils import reparameterize_model

import lmnet
from lmnet.builder.models import build_model, deploy, from_pretrained, load_weights, save_pretrained
from lmnet.builder.planner import plan_spec
from lmnet.builder.spec import parse_spec
from lmnet.training.export.formats import export_model

PLAIN = """
schema: lmnet/1
name: deep
input: {channels: 3, size: [64, 64]}
vars: {num_classes: 2, weight: 0.5}
nodes:
  one: {block: downsample, from: input, out_channels: 8}
  two: {block: multi_branch, from: one, out_channels: 8}
  head: {block: segmentation_head, from: two, num_classes: "${num_classes}", scale: 2}
outputs: {logits: head}
"""
NODES = """
  low: {block: downsample, from: two, out_channels: 4}
  deep: {block: segmentation_head, from: low, num_classes: "${num_classes}"}
"""
DEEP = PLAIN.replace("\noutputs:", f"{NODES}outputs:") + 'aux: {deep: "${weight}", head: 0.25}\n'
ODD = (1, 3, 50, 45)


def net(text=DEEP):
    torch.manual_seed(0)
    return build_model(parse_spec(text))


def test_no_cost_counts_nodes_that_only_aux_uses():
    plain, deep = plan_spec(parse_spec(PLAIN)), plan_spec(parse_spec(DEEP))
    figures = ("params", "macs", "deploy_params", "deploy_macs", "peak_bytes", "stride")
    assert [getattr(deep, name) for name in figures] == [getattr(plain, name) for name in figures]
    assert [node.name for node in deep.nodes] == ["one", "two", "head"]
    assert [node.name for node in deep.aux_nodes] == ["low", "deep"]


def test_the_hash_knows_aux_and_its_weights():
    plans = [plan_spec(parse_spec(text)) for text in (PLAIN, DEEP, DEEP.replace("weight: 0.5", "weight: 0.6"))]
    assert len({plan.hash for plan in plans}) == 3
    assert parse_spec(parse_spec(DEEP).dump()) == parse_spec(DEEP)


def test_a_net_gives_logits_alone_unless_asked():
    model = net()
    assert model(torch.randn(ODD)).shape == (1, 2, 50, 45)
    logits, aux = model.forward_with_aux(torch.randn(ODD))
    assert logits.shape == (1, 2, 50, 45)
    assert [(weight, tuple(x.shape)) for weight, x in aux] == [(0.5, (1, 2, 50, 45)), (0.25, (1, 2, 50, 45))]
    assert {name.split(".")[1] for name in model.state_dict() if name.startswith("aux_nodes.")} == {"low", "deep"}


def test_a_map_that_is_an_output_too_is_the_output():
    model = net().eval()
    logits, aux = model.forward_with_aux(torch.randn(ODD))
    assert torch.equal(logits, aux[1][1])


@pytest.mark.parametrize("make", [deploy, lambda model: reparameterize_model(model.eval())])
def test_the_deploy_form_has_no_aux(make, tmp_path):
    model = net().eval()
    image = torch.randn(ODD)
    deployed = make(model)
    assert not any(name.startswith("aux_nodes") for name in deployed.state_dict())
    torch.testing.assert_close(deployed(image), model(image), rtol=1e-4, atol=1e-5)
    assert deployed.forward_with_aux(image)[1] == []
    save_pretrained(deployed, tmp_path)
    torch.testing.assert_close(from_pretrained(tmp_path)(image), deployed(image))


def test_an_exported_file_has_no_aux(tmp_path):
    export_model(net().eval(), tmp_path / "net.pt2", (64, 64))
    names = list(torch.export.load(tmp_path / "net.pt2").state_dict)
    assert names
    assert not [name for name in names if "aux_nodes" in name]


def test_weights_with_aux_are_read_again_and_heads_adapt(tmp_path):
    model = net()
    save_pretrained(model, tmp_path)
    assert from_pretrained(tmp_path).state_dict().keys() == model.state_dict().keys()
    other = build_model(parse_spec(DEEP).override({"num_classes": 4}))
    load_weights(other, tmp_path, adapt=True)  # heads of four classes keep their random weights
    assert torch.equal(other.state_dict()["aux_nodes.low.conv.conv.weight"], model.aux_nodes.low.conv.conv.weight)


def test_a_net_without_logits_has_no_aux():
    text = DEEP.replace("outputs: {logits: head}", "outputs: {mask: head}")
    with pytest.raises(lmnet.SpecError, match="aux needs an output named logits, got mask. Name one logits."):
        plan_spec(parse_spec(text))
    model = net(PLAIN.replace("outputs: {logits: head}", "outputs: {mask: head}"))
    with pytest.raises(ValueError, match="deep: it has no output named logits, got mask. Name one so."):
        model.forward_with_aux(torch.randn(ODD))
