"""A MODEL is one thing for every command: what stands beside its tensors goes wherever they go."""

import json
import shutil

import numpy as np
import pytest
import torch

import lmnet
from lmnet.builder.models import build_model, load_weights, save_pretrained
from lmnet.builder.spec import load_spec, parse_spec
from lmnet.builder.weights import read_weights
from lmnet.commands.build import main as build_main
from lmnet.training.cli_eval import main as evaluate_main
from lmnet.training.cli_predict import main as predict_main
from lmnet.training.cli_train import main as train_main
from lmnet.training.export.formats import export_facts, export_model
from lmnet.training.runs.train_run import open_teacher

QUICK = ["--size", "48", "--epochs", "1", "--batch-size", "4", "--workers", "0", "--device", "cpu"]
KINDS = ("run", "saved", "study", "net.safetensors", "net.onnx", "net.pt2")


@pytest.fixture(scope="module")
def places(tmp_path_factory, tiny_spec):
    """One trained net as a run, a saved folder, a search's folder and exported files, and the data."""
    from PIL import Image

    root = tmp_path_factory.mktemp("models")
    for index in range(12):
        image = np.random.default_rng(index).integers(0, 90, (40, 48, 3), dtype=np.uint8)
        mask = np.zeros((40, 48), dtype=np.uint8)
        mask[index : index + 14, 8:24] = 2
        mask[2:8, 30:40] = 1
        image[mask > 0] += 120
        for name, pixels in (("images", image), ("masks", mask)):
            (root / "data" / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(root / "data" / name / f"case_{index:02d}.png")
    meaning = ["--mask-values", "0,2,1", "--class-names", "nothing,tool,lesion", "--set", "num_classes=3"]
    run = root / "run"
    assert train_main([tiny_spec, "--data", str(root / "data"), "--out", str(run), *QUICK, *meaning]) == 0
    net = lmnet.from_pretrained(run)
    save_pretrained(net, root / "saved")
    (root / "study").mkdir()
    shutil.copy(run / "spec.yaml", root / "study" / "best.yaml")
    shutil.copy(run / "best.safetensors", root / "study")
    for name in KINDS[3:]:
        if name.endswith("onnx"):
            pytest.importorskip("onnxruntime", reason="needs the extra export")
        spec, weights = str(run / "spec.yaml"), str(run)
        assert build_main([spec, "--weights", weights, "--export", str(root / name), "--input-size", "64"]) == 0
    return root


def test_the_facts_of_a_run_are_all_that_its_images_and_classes_need(places):
    facts = lmnet.open_model(places / "run").facts

    assert facts.keys() >= {"size", "in_channels", "mean", "std", "data", "data_name", "fingerprint", "epoch", "score"}
    assert [each["name"] for each in json.loads(facts["data"])["classes"]] == ["nothing", "tool", "lesion"]
    assert json.loads(facts["data"])["masks"]["values"] == [0, 2, 1]


@pytest.mark.parametrize("kind", KINDS)
def test_the_facts_are_the_same_wherever_the_tensors_went(places, kind):
    run, other = lmnet.open_model(places / "run"), lmnet.open_model(places / kind)

    assert other.facts == run.facts
    for name in ("name", "size", "in_channels", "num_classes", "mean", "std", "meaning"):
        assert getattr(other, name) == getattr(run, name)
    assert (other.run is not None) == (kind == "run")
    image = np.random.default_rng(0).integers(0, 255, (40, 48, 3), dtype=np.uint8)
    np.testing.assert_allclose(other.predict(image).shares, run.predict(image).shares, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_every_command_takes_every_kind_of_model(places, kind, tmp_path, tiny_spec, capsys):
    model, data = str(places / kind), ["--data", str(places / "data")]
    image = str(places / "data" / "images" / "case_00.png")

    assert predict_main([model, image, "--out", str(tmp_path / "p"), "--json"]) == 0
    shares = json.loads(capsys.readouterr().out)[0]["class_shares"]
    assert shares.keys() == {"tool", "lesion"}
    assert evaluate_main([model, *data, "--split", "all", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 12
    teach = [tiny_spec, *data, *QUICK, "--mask-values", "0,2,1", "--set", "num_classes=3"]
    assert train_main([*teach, "--teacher", model, "--out", str(tmp_path / "taught")]) == 0
    assert "learning from tiny" in capsys.readouterr().err
    if kind in ("net.onnx", "net.pt2"):
        assert train_main([*teach, "--weights", model, "--out", str(tmp_path / "r")]) == 2
        assert "an exported file is no file of weights" in capsys.readouterr().err
        assert train_main([model, *data, *QUICK, "--out", str(tmp_path / "r")]) == 2
        assert "has no layers to build or train" in capsys.readouterr().err
        return
    started = train_main([model, *data, *QUICK, "--mask-values", "0,2,1", "--out", str(tmp_path / "own")])
    err = capsys.readouterr().err
    assert started == 0, err
    assert f", weights: {lmnet.builder.find_model.find_model(model).weights.name} " in err
    again = lmnet.create_model(model)
    assert again.facts == lmnet.from_pretrained(model).facts == lmnet.open_model(model).facts
    assert torch.equal(again.state_dict()["head.conv.bias"], load_bias(places / "run"))


def load_bias(run):
    return read_weights(run / "best.safetensors").state["head.conv.bias"]


def test_a_saved_zoo_net_is_fed_as_the_zoo_net_is(tmp_path):
    save_pretrained(lmnet.from_pretrained("lmnet_xs"), tmp_path / "m")

    zoo = lmnet.open_model("lmnet_xs")
    for opened in (
        lmnet.open_model(tmp_path / "m"),
        lmnet.open_model(tmp_path / "m" / "spec.yaml", weights=tmp_path / "m"),
    ):
        assert (opened.size, opened.facts, opened.meaning) == (256, zoo.facts, zoo.meaning)


@pytest.mark.parametrize("name", ["lmnet_xs@busi", "lmnet_xxs@synthetic"])
def test_a_name_with_its_data_is_one_net_for_all(name, tmp_path, capsys):
    net, data = name.split("@")
    made = lmnet.create_model(name)
    assert made.training
    for other in (lmnet.from_pretrained(name), lmnet.create_model(net, pretrained=data), lmnet.open_model(name).model):
        assert other.facts == made.facts
        assert all(
            torch.equal(a, b) for a, b in zip(made.state_dict().values(), other.state_dict().values(), strict=True)
        )
    with pytest.raises(ValueError, match=f"{name}: it names weights already, got pretrained='kvasir' too"):
        lmnet.create_model(name, pretrained="kvasir")
    with pytest.raises(
        lmnet.SpecError, match=f"it names a net with its weights .{data}., and a spec is needed here. Give {net}."
    ):
        load_spec(name)


def test_training_gives_the_model_its_facts(drawn, tiny_net):
    from lmnet.training import Recipe, fit

    net = build_model(load_spec("lmnet_xxs").override({"width": 4}))
    fit(net, drawn, Recipe(size=32, epochs=1, batch_size=8), device="cpu")

    assert (net.facts["size"], net.facts["fingerprint"], net.facts["epoch"]) == ("32", drawn.fingerprint, "1")
    assert net.normalization == (Recipe().mean, Recipe().std)


def test_a_net_for_other_classes_keeps_what_still_holds():
    net = lmnet.create_model("lmnet_xs", pretrained=True, num_classes=4, in_channels=1)
    assert net.facts.keys() == {"size", "in_channels", "mean", "std"}
    assert net.facts["in_channels"] == "1"


def test_weights_without_facts_are_fed_at_the_specs_size_and_that_is_noted(tmp_path, capsys):
    net = lmnet.create_model("lmnet_xxs")
    torch.save(net.state_dict(), tmp_path / "w.pth")

    opened = lmnet.open_model("lmnet_xxs", weights=tmp_path / "w.pth")

    assert opened.size == min(net.spec.layout.input.size)
    assert "does not say how it was trained: images are fed at" in opened.notes[0]
    assert "ImageNet's mean and deviation" in opened.notes[0]


@pytest.mark.parametrize(
    ("model", "weights", "message"),
    [
        ("run/best.safetensors", None, "best.safetensors: it is a file of weights without its spec. Give the folder "),
        ("run/last.ckpt", None, "it is what the run continues from, not a file of weights. Give the run folder "),
        ("run/spec.yaml", "run/last.ckpt", "Give the run folder .* To train further, give --weights with that folder"),
        ("run/spec.yaml", "copy.ckpt", "it holds the state of a training run, no state_dict. Give the run folder"),
        ("run/spec.yaml", None, "spec.yaml: it is a spec, which has no weights. Give the folder "),
        ("study/best.yaml", None, "best.yaml: it is a spec, which has no weights. Give the folder "),
        ("data", None, "data: the folder is no model; it holds images, masks. A model is a run folder, "),
        ("begun", None, "begun: the run has no finished epoch yet"),
        ("searched", None, "searched: the search kept no weights of its best net. Train "),
        ("data/images/case_00.png", None, "case_00.png: it is no model. A model is"),
        ("absent.safetensors", None, "absent.safetensors: there is no such file. Check the path."),
        ("net.onnx", "run", "net.onnx: an exported file has its own weights. Leave --weights out."),
        ("junk.onnx", None, "junk.onnx: it is no whole .onnx file"),
    ],
)
def test_what_is_no_model_is_answered_with_what_is(places, model, weights, message):
    shutil.copy(places / "run" / "last.ckpt", places / "copy.ckpt")
    (places / "begun").mkdir(exist_ok=True)
    for name in ("run.json", "spec.yaml"):
        shutil.copy(places / "run" / name, places / "begun")
    (places / "searched").mkdir(exist_ok=True)
    shutil.copy(places / "study" / "best.yaml", places / "searched")
    (places / "junk.onnx").write_bytes(b"\0junk")

    with pytest.raises(ValueError, match=message):
        lmnet.open_model(places / model, weights=None if weights is None else places / weights)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lmnet_xs@busy"], "no weights of it trained on busy. Did you mean lmnet_xs@busi? It has"),
        (["lmnet_xss@busi"], "Did you mean lmnet_xs?"),
        (["lmnet_xs@busi", "--weights", "RUN"], "it names weights already. Give lmnet_xs with --weights"),
    ],
)
def test_a_wrong_name_with_data_is_one_line_in_every_command(places, words, message, tmp_path, capsys):
    words = [str(places / "run") if word == "RUN" else word for word in words]
    for main, more in ((train_main, []), (evaluate_main, ["--data", "synthetic"]), (predict_main, [str(places)])):
        options = ["--out", str(tmp_path / "out")] if main is not evaluate_main else []
        assert main([words[0], *more, *words[1:], *options]) == 2
        err = capsys.readouterr().err
        assert message in err
        assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


CONCAT = """
schema: lmnet/1
name: joined
input: {channels: 3, size: [32, 32]}
nodes:
  a: {block: conv_norm_act, from: input, out_channels: 8, kernel_size: 3}
  b: {block: conv_norm_act, from: a, out_channels: 8, kernel_size: 3}
  c: {block: conv_norm_act, from: b, out_channels: 8, kernel_size: 3}
  all: {block: concat, from: [a, b, c]}
  mix: {block: conv_norm_act, from: all, out_channels: 8, kernel_size: 1}
  head: {block: segmentation_head, from: mix, num_classes: 2}
outputs: {logits: head}
"""


def test_only_convolutions_of_the_image_are_fitted_to_other_channels(tmp_path):
    three = build_model(parse_spec(CONCAT))
    save_pretrained(three, tmp_path)
    two = build_model(parse_spec(CONCAT.replace("[a, b, c]", "[a, c]")))
    grey = build_model(parse_spec(CONCAT.replace("channels: 3", "channels: 1")))

    with pytest.raises(ValueError, match=r"1 of another shape \(mix.conv.weight \[8, 24, 1, 1\] for \[8, 16, 1, 1\]\)"):
        load_weights(two, tmp_path, adapt=True)
    assert load_weights(grey, tmp_path, adapt=True).notes == [
        "1 convolution of the image was summed: the weights have 3 channels and the net 1"
    ]


SMALLEST = """\
schema: lmnet/1
name: smallest
input: {channels: 3, size: [32, 32]}
nodes:
  head: {block: segmentation_head, from: input}
outputs: {logits: head}
"""


def test_two_exported_teachers_of_one_name_are_told_apart_by_their_content(tmp_path):
    names = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        model, path = build_model(parse_spec(SMALLEST)).eval(), tmp_path / str(seed) / "net.pt2"
        path.parent.mkdir()
        export_model(model, path, (32, 32), facts=export_facts(model, None))
        names.append(open_teacher(str(path)).name)
    shutil.copy(tmp_path / "0" / "net.pt2", tmp_path / "copy.pt2")

    assert names[0] != names[1]
    assert open_teacher(str(tmp_path / "copy.pt2")).name == names[0]
    assert names[0].startswith("smallest ")
