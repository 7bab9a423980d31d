"""What earlier trainings teach, and what a search makes of it."""

import math
import re
import shutil

import numpy as np
import optuna
import pytest

from lmnet.builder.spec import parse_spec
from lmnet.search.cli import main
from lmnet.search.nets.description import COLUMNS
from lmnet.search.nets.families import make_pricer, make_space
from lmnet.search.nets.limits import Limits
from lmnet.search.nets.pricing import finish
from lmnet.search.propose.prior import Lesson, fit_prior, given_costs
from lmnet.search.propose.sampler import make_sampler
from lmnet.search.propose.surrogate import fit_surrogate
from lmnet.search.results.progress import overview_text
from lmnet.search.run_search import run
from lmnet.search.study.earlier import read_lessons
from lmnet.search.study.storage import open_storage
from tests.search.families import DEEP, PLAIN

RNG = np.random.default_rng(0)
LIMIT = 0.0003


def fine_score(model, spec):
    """Score by where the net is wide: fine maps are good, coarse ones are bad. Costs say little of it."""
    return fine_score_of(model.plan)


def fine_score_of(plan):
    first, last = (plan.nodes[place].cost.out_shapes[0][0] for place in (0, 2))
    return math.log(first) - 1.5 * math.log(last)


def facts_of(folder):
    """Return what a study keeps beside its trials, and the names of what its trials keep."""
    with open_storage(f"sqlite:///{folder}/study.db") as storage:
        study = optuna.load_study(study_name=optuna.get_all_study_names(storage)[0], storage=storage)
        return study.user_attrs, {name for trial in study.trials for name in trial.user_attrs}


def lesson(count, *, scale=1.0, offset=0.0, noise=0.1):
    """Return a lesson in which the second column helps and the first, the costs, does not."""
    x = RNG.normal(size=(count, len(COLUMNS)))
    return Lesson(x, offset + scale * (x[:, 1] + noise * RNG.normal(size=count)), "made up")


@pytest.fixture(scope="module")
def studied(tmp_path_factory):
    """A finished search of one family, and a storage with its study."""
    folder = tmp_path_factory.mktemp("deep")
    options = {"max_gflops": LIMIT, "trials": 12, "sampler": "random", "out": folder, "study_name": "deep"}
    run(parse_spec(DEEP), objective=fine_score, **options)
    return folder, f"sqlite:///{folder}/study.db"


@pytest.fixture
def plain_file(tmp_path):
    (tmp_path / "plain.yaml").write_text(PLAIN)
    return str(tmp_path / "plain.yaml")


def test_lessons_on_other_scales_are_learned_from_together():
    prior = fit_prior([lesson(80), lesson(80, scale=100, offset=-7)])

    assert prior.nets == 160
    assert prior.correlation > 0.6
    assert int(np.argmax(np.abs(prior.weights))) == 1
    assert prior.weights[1] > 0


def test_scores_without_a_rule_teach_next_to_nothing():
    x = RNG.normal(size=(30, len(COLUMNS)))
    prior = fit_prior([Lesson(x, RNG.normal(size=30)), Lesson(x, RNG.normal(size=30))])

    assert prior.expected(x).std() < 0.2


def test_a_column_that_never_changes_shows_nothing():
    x = lesson(30).descriptions
    x[:, 5] = 3.0
    prior = fit_prior([Lesson(x, x[:, 1])])

    assert prior.weights[5] == 0
    assert np.isfinite(prior.weights).all()


def test_too_few_nets_are_refused():
    with pytest.raises(ValueError, match=r"prior: it takes 8 nets with scores that differ to learn something, got 5"):
        fit_prior([lesson(5), lesson(3)])
    with pytest.raises(ValueError, match=r"scores that differ to learn something, got 20\. Leave --prior out"):
        fit_prior([Lesson(lesson(20).descriptions, np.ones(20))])


def test_what_costs_tell_is_taken_away():
    costs = RNG.normal(size=200)

    assert abs(given_costs(costs + 0.1 * RNG.normal(size=200), costs + 0.1 * RNG.normal(size=200), costs)) < 0.2
    assert given_costs(costs, costs, np.zeros(200)) == pytest.approx(1)
    assert math.isnan(given_costs(np.zeros(200), costs, costs))


def surrogate(hints, scores, count=40):
    costs, knobs = np.exp(RNG.normal(size=(count, 2))), RNG.random((count, 3))
    options = {} if hints is None else {"hints": hints, "reference_hints": hints}
    return costs, knobs, fit_surrogate(costs, knobs, np.asarray(scores, float), reference=costs, **options)


def test_before_any_score_the_prior_decides_between_nets_of_one_cost():
    costs, knobs, hints = np.ones((3, 2)), np.full((3, 3), 0.5), np.array([0.0, 1.0, -1.0])
    model = fit_surrogate(costs[:0], knobs[:0], np.zeros(0), reference=costs, hints=hints[:0], reference_hints=hints)

    assert np.argsort(-model.mean(costs, knobs, hints=hints)).tolist() == [1, 0, 2]


def test_scores_decide_how_much_the_prior_counts():
    hints = RNG.normal(size=40)

    assert surrogate(hints, hints)[2].gain > 0.8
    assert abs(surrogate(hints, RNG.normal(size=40))[2].gain) < 0.5
    assert surrogate(hints, -hints)[2].gain < -0.5


def test_costs_stay_the_surrogates_own_matter():
    costs, knobs = np.exp(RNG.normal(size=(60, 2))), RNG.random((60, 3))
    hints = -3 * np.log(costs[:, 0])  # a prior that knows of nothing but costs, and the wrong way round

    model = fit_surrogate(costs[:0], knobs[:0], np.zeros(0), reference=costs, hints=hints[:0], reference_hints=hints)

    assert model.mean(costs, knobs, hints=hints) == pytest.approx(
        fit_surrogate(costs[:0], knobs[:0], np.zeros(0), reference=costs).mean(costs, knobs), abs=1e-6
    )


def first_choices(pricer, prior, seed, count=6):
    """Return the nets that a search of one worker chooses before any score."""
    sampler, chosen = make_sampler("model", pricer, seed=seed, session=0, prior=prior), []
    for _ in range(count):
        chosen.append(finish(sampler.choose(lambda: ([], {one.hash for one in chosen}))))
    return [pricer.planner.plan(pricer.space.values(one.point)) for one in chosen]


def test_first_choices_are_better_with_what_another_familys_study_teaches(studied):
    """With the prior they are good nets, without it some of the largest."""
    prior = fit_prior(read_lessons(studied[0], own_url="", own_name=""))
    pricer = make_pricer(make_space([parse_spec(PLAIN)]), Limits(max_gflops=LIMIT))
    taught, plain = (
        [np.mean([fine_score_of(net) for net in first_choices(pricer, each, seed)]) for seed in range(3)]
        for each in (prior, None)
    )

    assert np.mean(taught) > np.mean(plain) + 0.5
    assert min(taught) > max(plain)


def test_a_search_says_what_it_learned_and_keeps_its_format(studied, tmp_path):
    overviews = []
    options = {"objective": fine_score, "max_gflops": LIMIT, "on_overview": overviews.append}
    run(parse_spec(PLAIN), trials=1, out=tmp_path, **options)
    before = facts_of(tmp_path)
    result = run(parse_spec(PLAIN), trials=3, out=tmp_path, prior=studied[0], **options)

    assert result.tally.trials == 3  # a study may go on with another prior, or without
    assert facts_of(tmp_path) == before
    assert "prior" not in overview_text(overviews[0])
    line = overview_text(overviews[1]).splitlines()[-1]
    assert re.search(
        r"prior: 12 trained nets of deep; rank correlation with the scores of nets that were left out, at equal GMACs",
        line,
    )


def test_all_studies_of_a_storage_teach_but_the_one_that_learns(studied):
    folder, url = studied

    assert [(each.name, len(each.scores)) for each in read_lessons(url, own_url="", own_name="")] == [("deep", 12)]
    assert read_lessons(url, own_url=url, own_name="other")[0].name == "deep"
    for given in (url, folder):
        with pytest.raises(ValueError, match=r"prior: sqlite:\S+ has no study of lmnet-search beside this one"):
            read_lessons(given, own_url=url, own_name="deep")


def test_a_prior_that_cannot_be_had_is_refused(tmp_path, plain_file, capsys):
    command = ["--spec", plain_file, "--max-gflops", str(LIMIT), "--dry-run"]
    messages = {
        f"{tmp_path}/none": r"prior: \S+ must be none, the results folder of an earlier search with its study\.db, or",
        f"sqlite:///{tmp_path}/none.db": r"prior: the file must exist, got sqlite:",
    }
    for given, message in messages.items():
        assert main([*command, "--prior", given]) == 2
        assert re.search(message, capsys.readouterr().err)
    assert main([*command, "--prior", "runs/x", "--sampler", "random"]) == 2
    assert "the sampler random does not learn from earlier searches. Use model, or" in capsys.readouterr().err


def test_a_dry_run_says_what_was_learned(studied, plain_file, capsys):
    command = ["--spec", plain_file, "--max-gflops", str(LIMIT), "--dry-run"]

    assert main([*command, "--prior", str(studied[0])]) == 0
    assert "prior: 12 trained nets of deep" in capsys.readouterr().err


def test_a_study_with_blocks_that_are_not_there_is_named(studied, tmp_path):
    shutil.copytree(studied[0], tmp_path / "copy")
    with open_storage(f"sqlite:///{tmp_path}/copy/study.db") as storage:
        study = optuna.load_study(study_name="deep", storage=storage)
        study.set_user_attr("lmnet:spec", study.user_attrs["lmnet:spec"].replace("block: downsample", "block: of_mine"))

    with pytest.raises(ValueError, match=r"prior: the nets of study deep cannot be built .*of_mine.* Give --import"):
        read_lessons(tmp_path / "copy", own_url="", own_name="")
