"""The default objective: each net at its own size, and encoders that start from ImageNet weights."""

import json

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

import lmnet
from lmnet.builder.models import build_model, load_weights, write_state
from lmnet.builder.spec import parse_spec
from lmnet.builder.weights import read_weights
from lmnet.search.nets.families import make_space
from lmnet.search.nets.space import Space
from lmnet.search.results.progress import overview_text
from lmnet.search.run_search import run
from lmnet.search.several import with_encoders
from lmnet.search.train.messages import Job
from lmnet.search.train.objective import TrainingObjective, last_third
from lmnet.search.train.training import run_training
from lmnet.search.verdict.again import ConfirmingObjective
from lmnet.training import Recipe, evaluate, load_data
from tests.search.conftest import SMALL
from tests.search.objectives import width_score

RECIPE = Recipe(size=64, epochs=1, batch_size=8, lr=1e-3)
SIZES = parse_spec(SMALL.split("search:")[0] + "search:\n  input.size: {choices: [32, 64]}\n")
ENCODER = """\
schema: lmnet/1
name: with_encoder
input: {channels: 3, size: [64, 64]}
vars: {num_classes: 2, width: 8}
nodes:
  encoder: {block: timm_encoder, from: input, model: tf_efficientnet_lite0, out_indices: [1, 2]}
  deep: {block: conv_norm_act, from: encoder.1, out_channels: "${width}"}
  up: {block: upsample, from: deep, out_channels: "${width}"}
  head: {block: segmentation_head, from: up, num_classes: "${num_classes}", scale: 4}
outputs: {logits: head}
search: {width: {choices: [8, 12]}}
"""


def test_each_net_is_trained_and_scored_at_its_own_size():
    spec = SIZES.override({"input.size": [32, 32]})
    objective = TrainingObjective("synthetic", RECIPE, device="cpu", own_size=True)
    model, sides = build_model(spec), set()
    model.register_forward_pre_hook(lambda module, images: sides.add(tuple(images[0].shape[2:])))

    score = objective(model, spec, lambda epoch, score: False)

    assert sides == {(32, 32)}
    assert score == pytest.approx(evaluate(model, objective.sets().val, size=32).dice.mean(), abs=1e-6)  # of one epoch
    assert "sizes" in objective.describe()
    assert "sizes" not in TrainingObjective("synthetic", RECIPE).describe()


def test_a_score_is_the_mean_of_the_last_third_of_the_epochs(small):
    told = []
    objective = TrainingObjective("synthetic", RECIPE.override({"epochs": 4, "lr": 2e-3}), device="cpu")

    score = objective(build_model(small), small, lambda epoch, score: told.append(score))

    assert told[-1] == score
    assert last_third([0.1, 0.9, 0.5, 0.3]) == pytest.approx(0.4)
    assert last_third([0.1, 0.9, 0.6]) == 0.6
    assert last_third([0.7]) == 0.7


def test_a_search_over_sizes_tries_them(tmp_path):
    result = run(SIZES, trials=2, epochs=1, confirm_epochs=0, workers=1, out=tmp_path, device="cpu")
    assert sorted(one.hash.partition("@")[2] for one in result.tally.scored) == ["32", "64"]
    best = lmnet.load_spec(tmp_path / "best.yaml").layout.input.size[0]
    assert best in (32, 64)
    kept = {file.stem: read_weights(file).facts["size"] for file in (tmp_path / "weights").iterdir()}
    assert kept == {name: name.partition("@")[2] for name in kept}
    assert lmnet.open_model(str(tmp_path / "best.yaml"), weights=str(tmp_path / "best.safetensors")).size == best


def test_weights_of_a_search_say_how_images_were_prepared(small, tmp_path):
    run(small, trials=2, epochs=1, size=32, confirm_epochs=0, workers=1, seed=3, out=tmp_path, device="cpu")

    files = [tmp_path / "best.safetensors", *(tmp_path / "weights").iterdir()]
    for facts in [read_weights(file).facts for file in files]:
        assert facts.keys() >= {"deploy", "size", "in_channels", "mean", "std", "recipe", "seed", "data", "fingerprint"}
        assert (facts["size"], facts["in_channels"], facts["recipe"], facts["seed"]) == ("32", "3", "default", "3")
        assert (json.loads(facts["mean"]), json.loads(facts["std"])) == (list(RECIPE.mean), list(RECIPE.std))
    assert len(files) > 1
    opened = lmnet.open_model(str(tmp_path / "best.yaml"), weights=str(tmp_path / "best.safetensors"))
    assert (opened.size, opened.mean, opened.std) == (32, RECIPE.mean, RECIPE.std)
    assert opened.meaning.classes == load_data("synthetic").cases.meaning.classes


def test_a_nets_own_size_and_the_recipes_mean_are_kept_with_its_weights(tmp_path):
    spec, place = SIZES.override({"input.size": [32, 32]}), tmp_path / "trained.safetensors"
    objective = TrainingObjective("synthetic", RECIPE.override({"mean": [0.5, 0.5, 0.5]}), device="cpu", own_size=True)

    assert run_training(Job(spec, 5, weights=place), objective, lambda epoch, score: False).error is None

    facts = read_weights(place).facts
    assert (facts["size"], facts["mean"], facts["seed"]) == ("32", "[0.5, 0.5, 0.5]", "5")


def test_weights_of_an_own_objective_say_nothing_of_images(small, tmp_path):
    run_training(Job(small, 0, weights=tmp_path / "own.safetensors"), width_score, lambda epoch, score: False)
    assert read_weights(tmp_path / "own.safetensors").facts == {"deploy": "false"}


def test_one_size_for_all_is_refused_where_it_is_a_knob(tmp_path):
    with pytest.raises(ValueError, match=r"size=64 is given, but the space varies input\.size and each net"):
        run(SIZES, size=64, trials=1, out=tmp_path)


def test_weights_for_an_encoder_that_is_not_there_are_refused_before_anything_is_trained(small, tmp_path):
    with pytest.raises(ValueError, match="small: it has 0 timm_encoder nodes, and pretrained encoder weights need one"):
        run(small, pretrained_encoder="auto", trials=1, out=tmp_path / "out")
    with pytest.raises(ValueError, match=r"there is no file .*absent\.pth\. Give auto"):
        run(parse_spec(ENCODER), pretrained_encoder=str(tmp_path / "absent.pth"), trials=1, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_every_choice_of_an_encoder_is_checked_before_anything_is_trained(tmp_path, monkeypatch):
    """The spec's own encoder has weights, another choice has none."""
    other, checked = "tf_mobilenetv3_small_minimal_100", []

    def load(model, source):
        (name,) = (node.options["model"] for node in model.plan.nodes if node.block == "timm_encoder")
        checked.append(name)
        if name == other:
            raise ValueError(f"no weights for {name}. Give auto.")

    monkeypatch.setattr("lmnet.search.several.load_encoder", load)
    knob = ENCODER.replace("model: tf_efficientnet_lite0", 'model: "${model}"')
    knob = knob.replace("width: 8}", "width: 8, model: tf_efficientnet_lite0}")
    knob = knob.replace("[8, 12]}", f"[8, 12]}}, model: {{choices: [tf_efficientnet_lite0, {other}]}}")

    with pytest.raises(
        ValueError, match=f"search: the choice model={other} has no pretrained encoder: no weights for tf"
    ):
        run(parse_spec(knob), pretrained_encoder="auto", trials=1, out=tmp_path / "out")

    assert checked == ["tf_efficientnet_lite0", other]
    assert not (tmp_path / "out").exists()
    families = make_space([parse_spec(ENCODER), parse_spec(knob.replace("with_encoder", "with_knob"))])
    _, found = with_encoders(families, "auto")
    assert found.loaded == ("with_encoder", "with_knob")
    assert found.left_out == {"with_knob": (f"model={other}",)}


def test_an_encoder_starts_from_its_weights(tmp_path):
    torch.manual_seed(0)
    state = timm.create_model("tf_efficientnet_lite0").state_dict()
    save_file(state, tmp_path / "encoder.safetensors")
    spec = parse_spec(ENCODER)
    assert Space(spec).size == 2
    still = Recipe(size=64, epochs=1, batch_size=8, freeze_epochs=1)
    objective = TrainingObjective(
        "synthetic", still, device="cpu", pretrained_encoder=str(tmp_path / "encoder.safetensors")
    )
    model = build_model(spec)

    objective(model, spec, lambda epoch, score: False)

    stem = next(value for key, value in model.state_dict().items() if key.endswith("conv_stem.weight"))
    assert torch.equal(stem, state["conv_stem.weight"])
    assert "encoder" in objective.describe()
    assert objective.recipe_of(model, spec).mean == model.normalization[0] != RECIPE.mean

    write_state(model, tmp_path / "trained.safetensors")  # as confirmations do, which score what they read back
    again = build_model(spec)
    load_weights(again, tmp_path / "trained.safetensors")
    assert again.normalization == model.normalization
    scores = ConfirmingObjective(objective, 1).test_scores(again, spec)
    assert 0 <= scores.dice.mean() <= 1


def without_lesions(folder, *, val_only):
    """A list of images; none of val has a lesion, or one of three."""
    rows = ["image,mask,split"]
    for index in range(9):
        side = ("train", "val", "test")[index % 3]
        mask = np.zeros((32, 32), np.uint8)
        if side != "val" or (not val_only and index == 1):
            mask[8:20, 8:20] = 255
        for name, pixels in (("i", np.stack([mask // 2 + 40] * 3, -1)), ("m", mask)):
            Image.fromarray(pixels).save(folder / f"{name}{index}.png")
        rows.append(f"i{index}.png,m{index}.png,{side}")
    (folder / "list.csv").write_text("\n".join(rows) + "\n")
    return folder / "list.csv"


def test_nets_are_not_chosen_by_images_without_a_lesion(small, tmp_path):
    data = without_lesions(tmp_path, val_only=True)
    with pytest.raises(ValueError, match=r"by the Dice of lesions, and no val image has a lesion at 32 px\. Use"):
        run(small, data=data, size=32, trials=1, out=tmp_path / "out", device="cpu")
    assert not (tmp_path / "out").exists()


def test_what_chooses_is_said_in_words(small, tmp_path):
    data = without_lesions(tmp_path, val_only=False)
    seen = []
    run(small, data=data, size=32, dry_run=True, device="cpu", on_overview=seen.append)
    expected = "score: nets and epochs are chosen by val Dice at 32 px: mean over 1 of 3 images with a lesion"
    assert expected in overview_text(seen[0]).splitlines()
    sized = TrainingObjective(str(data), RECIPE.override({"size": 32}), device="cpu", own_size=True)
    assert sized.check_scores() == (
        "nets are chosen by val Dice at the images' own size, epochs at the net's; at 32 px: "
        "mean over 1 of 3 images with a lesion"
    )
    objective = TrainingObjective(str(data), RECIPE.override({"size": 32}), device="cpu")
    assert objective.describe()["chosen by"] == "val dice_foreground_mean, images with a lesion"
    assert "chosen by" not in TrainingObjective("synthetic", RECIPE).describe()  # so that old studies are resumed
