"""Every net of the field takes any size, learns and keeps its weights; the slow tests put each to all uses of ours.

`python -m pytest -m slow tests/test_field_uses.py` runs the slow ones, `-k unext_s` those of one net.
"""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import lmnet
from lmnet.blocks.testing import make_trained_looking
from lmnet.builder.zoo_table import OURS, families

FIELD = [name for family in families() if family != OURS for name in lmnet.list_models(family=family)]
ODD, OBLONG, TRAINED = (33, 47), (64, 32), (40, 56)
LARGE = [(32, 32), (96, 161), (250, 330), (512, 416)]
EXPORTED = 1e-5
"""Largest difference of an exported file to the net, relative to the largest logit."""


def image_of(size, batch=1):
    generator = torch.Generator().manual_seed(size[0])
    return torch.randn(batch, 3, *size, generator=generator)


def looks_trained(name):
    torch.manual_seed(0)
    return make_trained_looking(lmnet.create_model(name)).eval()


def take_a_step(model, size):
    """One training step with the losses of all outputs, those of ``aux`` too; which parameters have learnt nothing."""
    optimizer = torch.optim.SGD(model.train().parameters(), lr=0.01)
    logits, aux = model.forward_with_aux(image_of(size, batch=2))
    masks = torch.arange(2 * size[0] * size[1]).view(2, *size) % 2
    loss = nn.functional.cross_entropy(logits, masks)
    for weight, other in aux:
        larger = nn.functional.interpolate(other, size=size, mode="bilinear")
        loss = loss + weight * nn.functional.cross_entropy(larger, masks)
    assert torch.isfinite(loss)
    loss.backward()
    optimizer.step()
    return [name for name, parameter in model.named_parameters() if parameter.grad is None]


@pytest.mark.parametrize("name", FIELD)
def test_a_net_of_the_field_takes_odd_and_oblong_images_learns_and_keeps_its_weights(name):
    model = lmnet.create_model(name)
    assert take_a_step(model, TRAINED) == []
    other = lmnet.create_model(name)
    other.load_state_dict(model.state_dict())
    model.eval(), other.eval()
    with torch.inference_mode():
        for size in (ODD, OBLONG):
            logits = model(image_of(size))
            assert logits.shape == (1, 2, *size)
            assert torch.isfinite(logits).all()
        assert torch.equal(other(image_of(OBLONG)), logits)


@pytest.mark.slow
@pytest.mark.parametrize("name", FIELD)
def test_a_net_of_the_field_takes_sizes_from_32_to_512(name):
    model = looks_trained(name)
    with torch.inference_mode():
        for size in LARGE:
            logits = model(image_of(size))
            assert logits.shape == (1, 2, *size)
            assert torch.isfinite(logits).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", FIELD)
def test_a_net_of_the_field_trains_is_scored_and_predicts(name, tmp_path):
    from lmnet.training.cli_eval import main as evaluate
    from lmnet.training.cli_predict import main as predict
    from lmnet.training.cli_train import main as train

    run, masks = str(tmp_path / "run"), tmp_path / "masks"
    quick = ["--size", "64", "--epochs", "1", "--workers", "0", "--device", "cpu"]
    assert train([name, "--data", "synthetic", "--out", run, *quick]) == 0
    assert evaluate([run, "--data", "synthetic"]) == 0
    Image.fromarray(np.zeros((50, 71, 3), dtype=np.uint8)).save(tmp_path / "image.png")
    assert predict([run, str(tmp_path / "image.png"), "--out", str(masks)]) == 0
    assert len(list(masks.glob("*.png"))) >= 1


@pytest.mark.slow
@pytest.mark.parametrize("name", FIELD)
def test_a_net_of_the_field_is_exported_equal_to_itself_at_a_second_and_oblong_size(name, tmp_path):
    pytest.importorskip("onnxruntime", reason="needs the extra export")
    from lmnet.training.export.formats import export_model

    checks = export_model(looks_trained(name), tmp_path / "net.onnx", (96, 192))
    print(name, [(check.shape, f"{check.error:.1e}") for check in checks])
    assert len({check.shape[2:] for check in checks}) == 2
    assert any(check.shape[2] != check.shape[3] for check in checks)
    assert max(check.error for check in checks) <= EXPORTED


@pytest.mark.slow
@pytest.mark.parametrize("name", FIELD)
def test_a_net_of_the_field_is_quantised(name, tmp_path, capsys):
    pytest.importorskip("onnxruntime", reason="needs the extra export")
    from lmnet.commands.build import main as build

    options = ["--export", str(tmp_path / "net.onnx"), "--quantize", "synthetic", "--max-loss", "1"]
    assert build([name, "--random-weights", *options, "--input-size", "64"]) == 0
    assert "int8: Dice 0." in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("name", FIELD)
def test_a_net_of_the_field_is_compiled_as_one_graph(name):
    torch.compiler.reset()
    model, image = looks_trained(name), image_of((64, 96))
    with torch.no_grad():
        expected = model(image)
        found = torch.compile(model, fullgraph=True)(image)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.slow
@pytest.mark.parametrize("name", FIELD)
def test_a_net_of_the_field_is_a_family_of_the_search(name, tmp_path):
    from lmnet.search import run

    seen = []

    def objective(model, spec):
        assert take_a_step(model, (64, 64)) == []
        seen.append(spec.dump())
        return float(len(seen))

    run(name, objective=objective, trials=4, out=tmp_path / "results", storage=f"sqlite:///{tmp_path}/study.db")
    assert len(set(seen)) == 4


@pytest.mark.slow
@pytest.mark.parametrize("name", FIELD)
def test_a_net_of_the_field_is_an_encoder_of_timm_and_smp_and_runs_in_monai(name):
    timm = pytest.importorskip("timm")
    smp = pytest.importorskip("segmentation_models_pytorch", reason="needs the extra integration")
    monai = pytest.importorskip("monai.inferers", reason="needs the extra integration")
    import lmnet.integrations.smp
    import lmnet.integrations.timm
    from lmnet.integrations.encoder import registered_name

    known, stride = registered_name(name), max(32, lmnet.create_model(name).plan.stride)
    image = image_of((2 * stride, 3 * stride), batch=2)
    features = timm.create_model(known, features_only=True)
    reductions = features.feature_info.reduction()
    shapes = zip(features.feature_info.channels(), reductions, strict=True)
    expected = [(2, channels, 2 * stride // each, 3 * stride // each) for channels, each in shapes]
    assert [tuple(x.shape) for x in features(image)] == expected
    classifier = timm.create_model(known, num_classes=5)
    classifier(image).sum().backward()
    assert [key for key, value in classifier.named_parameters() if value.grad is None] == []

    decoded = smp.Unet(known, encoder_weights=None, classes=2)
    decoded(image_of((64, 96), batch=2)).mean().backward()
    assert decoded.segmentation_head[0].weight.grad is not None
    assert decoded.eval()(image_of((65, 97))).shape == (1, 2, 65, 97)

    windows = monai.SlidingWindowInferer(roi_size=(64, 64), overlap=0.25)
    with torch.inference_mode():
        assert windows(image_of((80, 100)), lmnet.create_model(name).eval()).shape == (1, 2, 80, 100)
