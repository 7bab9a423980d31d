import dataclasses

import pytest

from lmnet.training import Recipe, load_recipe
from lmnet.training.fitting.recipe import recipe_names


def test_the_default_recipe_file_says_what_the_class_defaults_say():
    assert load_recipe("default") == Recipe()


def test_the_papers_recipe_is_the_authors():
    recipe = load_recipe("paper")

    assert (recipe.size, recipe.epochs, recipe.batch_size) == (256, 200, 2)
    assert (recipe.lr, recipe.min_lr, recipe.weight_decay) == (1e-3, 1e-6, 1e-4)
    assert (recipe.class_weights, recipe.label_smoothing, recipe.augment) == ((1.0, 4.0), 0.001, "paper")


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_survives_its_file(tmp_path, name):
    recipe = load_recipe(name)
    (tmp_path / "mine.yaml").write_text(recipe.dump())

    assert load_recipe(tmp_path / "mine.yaml") == recipe


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch: 3", r"mine.yaml: a recipe has no key `epoch`. Did you mean epochs\?"),
        ("epochs: many", r"mine.yaml: epochs must be int, got epochs='many'"),
        ("epochs: true", r"epochs must be int"),
        ("lr: 0", r"lr must be above 0, got lr=0.0"),
        ("size: 0", r"size must be at least 1, got size=0"),
        ("ema_decay: 1", r"ema_decay must be at least 0 and below 1"),
        (
            "augment: hevy",
            r"augment must be one of heavy, light, none, paper, robust, got augment='hevy'\. Did you mean heavy\?",
        ),
        ("loss: mine", r"loss must be one of cross_entropy_dice, got loss='mine'\. Your own are known after --import"),
        ("optimizer: adam", r"optimizer must be one of adamw, sgd, got optimizer='adam'\. Did you mean adamw\?"),
        (
            "distill_temperature: 0",
            r"distill_temperature must be above 0, got distill_temperature=0.0\. Use a value like 2",
        ),
        ("class_weights: 4", r"class_weights must be a list of numbers"),
        ("mean: [1]", r"mean and std must have 3 values"),
        ("- epochs", r"a recipe must be key: value lines, got list"),
        ("epochs: 1\nepochs: 2", r"epochs"),
    ],
)
def test_a_bad_recipe_is_refused_with_its_reason(tmp_path, text, message):
    (tmp_path / "mine.yaml").write_text(text)

    with pytest.raises(ValueError, match=message):
        load_recipe(tmp_path / "mine.yaml")


def test_an_unknown_recipe_name_is_refused():
    with pytest.raises(
        ValueError, match="must be one of default, fine_tune, paper, small_machine or a .yaml file, got recipe='papr'"
    ):
        load_recipe("papr")


def test_every_option_of_a_recipe_is_in_the_default_file():
    from lmnet.training.fitting.recipe import RECIPES

    text = (RECIPES / "default.yaml").read_text()
    fields = {field.name for field in dataclasses.fields(Recipe)} - {"mean", "std"}

    assert {name for name in fields if f"{name}:" in text} == fields
