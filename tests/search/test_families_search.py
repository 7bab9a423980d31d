"""Searches over several families: trials, resumption, results, verdict, and the command."""

import csv
import json
import random
import re

import optuna
import pytest

import lmnet
from lmnet.builder.spec import load_spec, parse_spec
from lmnet.builder.zoo_table import read_table
from lmnet.search.cli import main
from lmnet.search.nets.families import make_pricer, make_space
from lmnet.search.nets.given import ZOO, expand, title, zoo_families
from lmnet.search.nets.limits import Limits
from lmnet.search.results.answer import answer_text
from lmnet.search.results.counts import Scored, role_name
from lmnet.search.results.progress import overview_text
from lmnet.search.results.status import read_status
from lmnet.search.results.summary import as_dict
from lmnet.search.run_search import run
from lmnet.search.several import family_notes, with_encoders
from lmnet.search.verdict import finalists
from tests.search.confirming import confirmed_out_of_time
from tests.search.families import DEEP, PLAIN, WIDE, family_score, run_families
from tests.search.killing import crash, trials_of

LIMIT = 0.0003


@pytest.fixture
def specs(deep, plain, wide):
    return [deep, plain, wide]


def search(specs, folder, **changes):
    return run(specs, **({"objective": family_score, "max_gflops": LIMIT, "trials": 9, "out": folder} | changes))


def test_the_zoo_begins_with_the_families_whose_weights_have_the_best_scores():
    scores = [row.dice.mean for row in map(read_table().rows.get, zoo_families()) if row.dice is not None]
    assert len(scores) > 5
    assert scores == sorted(scores, reverse=True)
    assert all(read_table().rows[name].dice for name in zoo_families()[: len(scores)])


def test_a_search_of_three_families_begins_with_each_start_and_is_continued(specs, tmp_path):
    overviews = []
    search(specs, tmp_path, trials=5, on_overview=overviews.append)
    result = search(specs, tmp_path, trials=6)

    trials = trials_of(f"sqlite:///{tmp_path}/study.db")
    assert [trial.params["family"] for trial in trials[:3]] == ["deep", "plain", "wide"]
    assert trials[0].params == {
        "family": "deep",
        "deep.widths[0]": 4,
        "deep.widths[1]": 6,
        "deep.widths[2]": 8,
        "deep.kernel": 1,
    }
    assert result.tally.trials == len({trial.user_attrs["hash"] for trial in trials}) == 6
    assert all(trial.user_attrs["gmacs"] <= LIMIT for trial in trials)

    text = overview_text(overviews[0])
    assert "space: 4,000 combinations of values" in text
    assert re.search(r"family deep: 2,000 combinations, \d+% within the limits, starting net 0\.000 GMACs", text)
    assert "input sizes: 32 px plain, wide; 64 px deep. The cost of a net is computed at its own size" in text

    content = as_dict(result)
    assert content["study"] == f"deep+plain+wide-max-gflops-{LIMIT}"
    assert content["best"]["family"] == content["start"]["family"] == "plain"
    assert list(content["families"]) == ["plain", "deep", "wide"]
    assert lmnet.load_spec(tmp_path / "best.yaml").name.startswith("plain_")
    with (tmp_path / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["family"] for row in rows[:3]] == ["deep", "plain", "wide"]
    assert list(rows[0])[:3] == ["number", "state", "score"]
    assert (rows[0]["deep.kernel"], rows[0]["plain.first"]) == ("1", "")

    for each in (result, read_status(f"sqlite:///{tmp_path}/study.db")):
        assert re.search(
            r"\nfamily +trials +starting net +best net .*\nplain +\d+ +0\.61.*\ndeep +\d.*\nwide +1 +0\.3",
            answer_text(each),
        )
    report = (tmp_path / "report.html").read_text()
    assert "<h2>Families</h2>" in report
    assert "plain.third" in (tmp_path / "diff.txt").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda specs: specs[:2], r"space\.wide\.first=none \(was \[2, 4.*spec\.wide=none"),
        (
            lambda specs: [*specs[:2], parse_spec(WIDE.replace("high: 20", "high: 18"))],
            r"began with: space\.wide\.first=\[2, 4, .*, space\.wide\.third=",
        ),
        (lambda specs: specs[:1], r"these settings differ from those it began with: space\.deep\.kernel=none"),
    ],
)
def test_other_families_are_another_search(specs, tmp_path, change, message):
    search(specs, tmp_path, trials=1, study_name="one")
    with pytest.raises(ValueError, match=message):
        search(change(specs), tmp_path, trials=1, study_name="one")


def test_families_in_another_order_are_the_same_search(specs, tmp_path):
    search(specs, tmp_path, trials=1, study_name="one")
    assert search(specs[::-1], tmp_path, trials=3, study_name="one").tally.trials == 3


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["random", "model"])
def test_batches_are_the_same_with_any_number_of_workers(specs, tmp_path, sampler):
    found = []
    for workers in (1, 2):
        search(specs, tmp_path / str(workers), batch=4, sampler=sampler, trials=9, workers=workers)
        found.append([(one.params, one.value) for one in trials_of(f"sqlite:///{tmp_path}/{workers}/study.db")])
    assert found[0] == found[1]


def test_tpe_is_refused_for_several_families(specs, tmp_path):
    with pytest.raises(ValueError, match="the sampler tpe searches one family. Use model or random, or give one spec."):
        search(specs, tmp_path / "none", sampler="tpe")
    assert not (tmp_path / "none").exists()


def test_a_family_whose_start_misses_a_limit_begins_with_a_net_within_it(specs, tmp_path):
    result = search(specs, tmp_path, max_gflops=0.0001, trials=3)
    assert [result.space.family_of(one.point) for one in result.tally.scored] == [0, 1, 2]
    assert all(one.gmacs <= 0.0001 for one in result.tally.scored)
    assert result.tally.scored[0].point != result.space.starts[0]


def test_a_family_that_cannot_meet_the_limits_is_left_out_and_named(specs, tmp_path):
    overviews = []
    result = search(specs, tmp_path, max_gflops=5e-5, trials=2, on_overview=overviews.append)
    assert {result.space.family_of(one.point) for one in result.tally.scored} == {1, 2}
    line = r"family deep is left out: no net meets max_gflops=5e-05; the lowest that was found in this space is "
    assert re.search(line, overview_text(overviews[0]))
    assert "deep" in as_dict(result)["left_out"]
    assert read_status(f"sqlite:///{tmp_path}/study.db").tally.trials == 2


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_search_of_families_goes_on(tmp_path, workers):
    storage = f"sqlite:///{tmp_path}/study.db"
    crash(storage, tmp_path, 3, random.Random(1), workers, search=run_families)
    assert {trial.params["family"] for trial in trials_of(storage)} == {"deep", "plain", "wide"}


@pytest.fixture
def judged(specs, tmp_path):
    """Return a function that judges six nets of three families, and the nets."""
    pricer = make_pricer(make_space(specs), Limits(max_gflops=0.0004))
    points = [(0, 1, 2, 3, 0), (1, 1, 2, 3), (2, 1, 2, 3), (1, 4, 4, 4), (1, 5, 5, 5), (0, 2, 2, 2, 0)]
    scores = [0.5, 0.4, 0.3, 0.9, 0.8, 0.6]
    assert points[:3] == pricer.space.starts
    nets = [pricer.price(point) for point in points]
    scored = tuple(
        Scored(place, one.point, one.hash, score, one.costs)
        for place, (one, score) in enumerate(zip(nets, scores, strict=True))
    )

    def judge(**options):
        return confirmed_out_of_time(scored, pricer, tmp_path, finalists=2, **options)

    return judge, nets


def test_the_verdict_compares_with_the_best_start_and_each_familys_best(judged):
    judge, nets = judged
    verdict = judge()

    roles = {one["hash"]: (one["role"], one["family"]) for one in verdict["nets"]}
    assert roles[nets[3].hash] == ("best", "plain")
    assert roles[nets[0].hash] == ("start", "deep")  # the start with the highest score
    assert roles[nets[5].hash] == ("family", "deep")
    assert roles[nets[2].hash] == ("family", "wide")
    assert roles[nets[4].hash] == ("finalist", "plain")
    assert [one["role"] for one in verdict["nets"]] == ["best", "start", "largest", "family", "family", "finalist"]
    names = ("best starting net (deep)", "largest net of its family (plain)", "best net of deep", "best net of wide")
    for name in names:
        assert f"The best net (plain) was not compared with the {name}: " in verdict["text"]
    assert role_name("family", "deep") == "the best net of deep"
    assert role_name("finalist") == "another of the best nets"


def test_without_time_the_best_nets_of_the_worse_families_are_left_out_and_named(judged, monkeypatch):
    judge, nets = judged
    monkeypatch.setattr(finalists, "FAMILIES_FIRST", 1)

    verdict = judge(are_all_needed=False)
    assert [one["role"] for one in verdict["nets"]] == ["best", "start", "largest", "family"]
    assert verdict["nets"][-1]["family"] == "deep"
    assert verdict["text"].endswith("There was no time to compare the best nets of wide.")

    verdict = judge(are_all_needed=False, deadline=None)
    assert [one["family"] for one in verdict["nets"] if one["role"] == "family"] == ["deep", "wide"]
    assert "no time" not in verdict["text"]


def test_nets_of_a_smaller_input_are_trained_at_their_own_size(specs):
    from lmnet.search.options import SearchOptions
    from lmnet.search.session import _default_objective, _smallest

    space = make_space(specs)
    assert _smallest(space, 32) is None
    assert _smallest(space, 64) == 32
    objective = _default_objective(space, SearchOptions(size=64), None)
    assert [objective.recipe_of(None, spec).size for spec in specs] == [64, 32, 32]
    assert objective.describe()["sizes"] == "each net's own, if that is smaller"
    alone = _default_objective(make_space(specs[1:2]), SearchOptions(size=64), None)
    assert alone.recipe_of(None, specs[1]).size == 64  # one family, as before
    assert "sizes" not in alone.describe()
    note = family_notes(space, size=64, encoders=None)[0]
    assert "all are trained at 64 px (smaller ones at their own size). --set input.size=[S,S]" in note


def test_where_a_family_varies_the_size_the_note_says_that_each_net_has_its_own(deep):
    sized = parse_spec(PLAIN + "  input.size: {choices: [32, 48]}\n")
    note = family_notes(make_space([deep, sized]), size=64, encoders=None, is_own_size=True)[0]
    assert "computed at its own size, and each net is trained at its own size, because input.size is a knob" in note


def test_pretrained_encoders_are_loaded_where_they_are_found_and_named_where_not(specs, monkeypatch):
    space = make_space([specs[0], load_spec("efficientnet_lite0_lm_s"), load_spec("lraspp_mobilenetv3_small")])

    def load(model, source):
        if model.spec.name.startswith("lraspp"):
            raise ValueError("no weights of tf_mobilenetv3_small_100")

    monkeypatch.setattr("lmnet.search.several.load_encoder", load)
    space, found = with_encoders(space, "auto")

    assert found.loaded == ("efficientnet_lite0_lm_s",)
    assert found.missing == {"lraspp_mobilenetv3_small": "no weights of tf_mobilenetv3_small_100"}
    assert found.without == ("deep",)
    assert family_notes(space, size=32, encoders=found)[1:] == (
        "pretrained encoder: efficientnet_lite0_lm_s",
        "no pretrained encoder for lraspp_mobilenetv3_small, so random weights: no weights of tf_mobilenetv3_small_100",
        "no timm encoder, so random weights: deep",
    )
    space.left_out = {"lraspp_mobilenetv3_small": "its cheapest net is too dear", "deep": "the same"}
    assert family_notes(space, size=32, encoders=found)[-1] == "pretrained encoder: efficientnet_lite0_lm_s"
    with pytest.raises(ValueError, match="=auto: no family has a timm encoder with pretrained weights"):
        with_encoders(make_space(specs), "auto")


def test_a_family_keeps_the_choices_whose_encoder_has_weights(specs, monkeypatch):
    """One of eleven encoders that an installed package lacks does not take the pretrained start from the family."""

    def load(model, source):
        if "mobilenetv3" in str(model.plan.nodes[0].options["model"]):
            raise ValueError("no weights")

    monkeypatch.setattr("lmnet.search.several.load_encoder", load)
    whole = make_space([specs[0], load_spec("lraspp_efficientnet_lite0")])
    space, found = with_encoders(whole, "package")

    assert found.loaded == ("lraspp_efficientnet_lite0",)
    choices = {name: list(values) for name, values in whole.families[1].describe().items()}
    kept = [value for value in choices["model"] if "mobilenetv3" not in value]
    assert 1 < len(kept) < len(choices["model"])
    assert space.families[1].describe() == {**choices, "model": kept}
    assert space.families[0] is whole.families[0]
    assert (
        "lraspp_efficientnet_lite0: no pretrained encoder for model=mobilenetv3_small_050, "
        "model=mobilenetv3_small_100, model=mobilenetv3_large_100, so no net with it is trained"
    ) in family_notes(space, size=32, encoders=found)
    nets = [space.values(space.sample(random.Random(seed), 1))["model"] for seed in range(50)]
    assert set(nets) <= set(kept)


def test_the_zoo_stands_for_all_specs_with_a_search_section():
    names = zoo_families()
    assert {"lmnet_xs", "mkunet_t", "efficientnet_lite0_lm_s"} <= set(names)
    assert expand(ZOO) == expand([ZOO]) == names
    both = expand(["mkunet_t", "mine.yaml", ZOO])
    assert both[:2] == ["mkunet_t", "mine.yaml"]
    assert sorted(both) == sorted([*names, "mine.yaml"])
    with pytest.raises(ValueError, match="lmnet_xs is given twice. Give each family once."):
        expand(["lmnet_xs", "lmnet_xs"])


def test_a_study_is_named_by_its_families(specs):
    assert title(specs[:1]) == "deep"
    assert title(specs) == "deep+plain+wide"
    more = [*specs, parse_spec(PLAIN.replace("name: plain", "name: more"))]
    assert re.fullmatch(r"4_families_[0-9a-f]{6}", title(more))
    assert title(more) == title(more[::-1])


@pytest.fixture
def files(tmp_path, monkeypatch):
    for name, text in (("deep", DEEP), ("plain", PLAIN), ("odd", PLAIN.replace("first", "begin"))):
        (tmp_path / f"{name}.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    return ["--spec", "deep.yaml", "--spec", "plain.yaml"]


def test_the_command_takes_several_specs(files, capsys):
    assert main([*files, "--max-gflops", "0.0003", "--dry-run", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["space"]["points"] == 3000
    assert "family plain: 1,000 combinations" in err
    assert main([*files, "--explain"]) == 0
    out = capsys.readouterr().out
    assert "deep.yaml: each knob from end to end" in out.replace("\n", " ")
    assert "plain.yaml: each knob from end to end" in out.replace("\n", " ")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            ["--max-gflops", "1e-7"],
            "search: no family has a net within the limits, max_gflops=1e-07. deep: no net",
        ),
        (["--set", "first=6"], "--set first: neither the recipe nor the spec has 'first'.*\\(family deep.yaml\\)"),
        (["--spec", "deep.yaml"], "search: deep.yaml is given twice. Give each family once."),
        (["--spec", "no.yaml"], "no.yaml:1:1: there is no such file"),
        (
            ["--spec", "odd.yaml"],
            "search: two families have the name plain. Leave one out, or change the name in",
        ),
    ],
)
def test_families_that_cannot_be_searched_are_one_clear_line(files, capsys, given, message):
    assert main([*files, "--max-gflops", "0.0003", "--dry-run", *given]) == 2
    assert re.search(message, capsys.readouterr().err.strip().splitlines()[-1])


def test_a_variable_is_set_in_every_family(files, capsys):
    assert main([*files, "--max-gflops", "0.0003", "--dry-run", "--set", "num_classes=3"]) == 0
    assert main([*files, "--max-gflops", "0.0003", "--dry-run", "--set", "input.size=[64,64]"]) == 0
    assert "input sizes" not in capsys.readouterr().err.rpartition("family deep")[2]


@pytest.mark.slow
def test_a_search_of_two_families_ends_in_a_verdict_that_names_them(specs, tmp_path):
    result = run(specs[:2], max_gflops=0.0004, trials=4, epochs=1, size=32, workers=1, confirm_seeds=2, out=tmp_path)
    families = {one["family"] for one in result.verdict["nets"]}
    assert families == {"deep", "plain"}
    assert re.search(r"The best net \((deep|plain)\) is .* than ", result.verdict["text"])
    assert optuna.load_study(study_name=None, storage=f"sqlite:///{tmp_path}/study.db").user_attrs
