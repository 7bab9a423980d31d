import pytest
import torch

from lmnet.builder import planner
from lmnet.builder.models import build_model, from_pretrained, save_pretrained
from lmnet.builder.planner import Planner
from lmnet.builder.spec import load_spec, parse_spec

TWO_OUTPUTS = """
schema: lmnet/1
name: two
input: {channels: 2, size: [64, 64]}
nodes:
  down: {block: downsample, from: input, out_channels: 8, stride: 4}
  up: {block: upsample, from: down, out_channels: 4, scale: 4}
  head: {block: segmentation_head, from: up}
outputs: {logits: head, features: down}
"""


def test_several_outputs_come_as_a_dict():
    model = build_model(parse_spec(TWO_OUTPUTS)).eval()
    with torch.no_grad():
        out = model(torch.zeros(1, 2, 61, 50))
    assert out["logits"].shape == (1, 2, 61, 50)
    assert out["features"].shape == (1, 8, 16, 13)


def test_without_padding_a_wrong_size_names_the_padded_one():
    spec = parse_spec(TWO_OUTPUTS.replace("size: [64, 64]", "size: [64, 64], pad: false"))
    model = build_model(spec).eval()
    with pytest.raises(ValueError, match="two: size must be a multiple of 4, got 61x50. Pad the image to 64x52"):
        model(torch.zeros(1, 2, 61, 50))


def test_a_wrong_picture_gives_one_line():
    model = build_model(parse_spec(TWO_OUTPUTS))
    with pytest.raises(ValueError, match=r"two: input must be \(N, 2, H, W\), got \(1, 3, 64, 64\)"):
        model(torch.zeros(1, 3, 64, 64))


def test_padding_leaves_a_fitting_picture_as_it_is():
    model = build_model(load_spec("lmnet_xxs")).eval()
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(model(image), model._run(image)["logits"])


def test_the_hash_is_of_the_architecture_alone():
    base = Planner(load_spec("lmnet_xxs"))
    text = base.spec.dump()
    renamed = parse_spec(text.replace("decoder_depth", "later_depth").replace("name: lmnet_xxs", "name: other"))
    assert Planner(renamed).plan(input_size=(64, 64)).hash == base.plan().hash
    assert base.plan({"width": 8}).hash != base.plan().hash
    assert base.plan({"window": [3, 5, 5]}).hash != base.plan().hash
    assert Planner(base.spec.override({"input.channels": 1})).plan().hash != base.plan().hash


def test_planning_again_with_other_values_equals_planning_afresh():
    spec = load_spec("lmnet_xxs")
    warm = Planner(spec)
    warm.plan()
    values = {"width": 10, "depth": [2, 1, 3], "stem_stride": 2, "kernels": [[7, 1], 3]}
    afresh = Planner(spec.override(values)).plan()
    again = warm.plan(values)
    assert (again.hash, again.macs, again.deploy_params) == (afresh.hash, afresh.macs, afresh.deploy_params)


def test_a_planner_does_not_remember_without_end(monkeypatch):
    monkeypatch.setattr(planner, "REMEMBERED", 20)
    spec = load_spec("lmnet_xxs")
    warm = Planner(spec)
    for width in (4, 6, 8, 10, 12):
        assert warm.plan({"width": width}).hash == Planner(spec.override({"width": width})).plan().hash
        assert len(warm._memo) <= 20
        assert len(warm._options_memo) <= 20


def test_peak_memory_is_what_the_meta_run_of_the_whole_net_holds():
    from timm.utils import reparameterize_model

    from lmnet.builder.cost import CostCounter

    plan = Planner(load_spec("unet")).plan(input_size=(64, 64))
    with torch.device("meta"):
        model = reparameterize_model(build_model(plan.spec).eval())
    image = torch.empty(1, 3, 64, 64, device="meta")
    with torch.no_grad(), CostCounter([image]) as counter:
        model(image)
    assert plan.peak_bytes == pytest.approx(counter.peak_bytes + 4 * image.numel(), rel=0.01)


@pytest.mark.parametrize("deployed", [False, True])
def test_save_and_load_give_the_same_net(tmp_path, deployed):
    from timm.utils import reparameterize_model

    model = build_model(load_spec("lmnet_xxs").override({"width": 8, "input.channels": 1})).eval()
    if deployed:
        reparameterize_model(model, inplace=True)
    save_pretrained(model, tmp_path / "net")
    loaded = from_pretrained(tmp_path / "net")
    image = torch.randn(1, 1, 64, 64)
    with torch.no_grad():
        assert torch.equal(loaded(image), model(image))
    assert loaded.hash == model.hash
    assert sorted(path.name for path in (tmp_path / "net").iterdir()) == ["model.safetensors", "spec.yaml"]


def test_half_precision_weights_load_into_a_float32_net(tmp_path):
    model = build_model(load_spec("lmnet_xxs")).eval()
    save_pretrained(model, tmp_path / "net", dtype=torch.float16)
    loaded = from_pretrained(tmp_path / "net")
    assert next(loaded.parameters()).dtype == torch.float32
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert (loaded(image) - model(image)).abs().max() < 0.05 * model(image).abs().max() + 1e-3


def test_an_unknown_operation_is_an_error_and_never_free():
    from lmnet.builder.cost import CostCounter, UnknownOperation

    with CostCounter(), pytest.raises(UnknownOperation, match="every operation must have a known cost, got aten.*svd"):
        torch.linalg.svd(torch.zeros(3, 3))
