"""Searches with cheap objectives: limits, budget, resumption, failures, results."""

import json
import re
import time
from dataclasses import replace

import optuna
import pytest

import lmnet
from lmnet.builder import files
from lmnet.builder.models import build_model
from lmnet.builder.spec import parse_spec
from lmnet.commands.build import main as builder_main
from lmnet.search import run_search
from lmnet.search.cli import main
from lmnet.search.nets.survey import survey
from lmnet.search.results.counts import Scored, Tally
from lmnet.search.results.folder import _drop_weights, _write_best_weights, write_folder
from lmnet.search.results.summary import as_dict
from lmnet.search.run_search import run
from lmnet.search.study.storage import open_storage
from tests.search.killing import trials_of
from tests.search.objectives import endless, epoch_score, failing_score, slow_score, width_score

LIMIT = 0.004


def search(small, folder, **changes):
    options = {"objective": width_score, "max_gflops": LIMIT, "trials": 8, "out": folder} | changes
    return run(small, **options)


def trained(folder):
    return [
        trial for trial in trials_of(f"sqlite:///{folder}/study.db") if trial.state == optuna.trial.TrialState.COMPLETE
    ]


@pytest.mark.parametrize("sampler", ["model", "tpe", "random"])
def test_no_trained_net_exceeds_a_limit(small, tmp_path, sampler):
    seen = []

    def objective(model, spec):
        seen.append((model.plan.deploy_macs / 1e9, model.hash))
        return width_score(model, spec)

    trials = 11
    result = search(small, tmp_path, objective=objective, sampler=sampler, trials=trials, min_gflops=0.002)
    assert len(seen) == result.tally.trials == trials
    assert all(0.002 <= gmacs <= LIMIT for gmacs, _ in seen)
    assert len({hash_ for _, hash_ in seen}) == trials


@pytest.mark.parametrize("sampler", ["model", "random"])
def test_no_infeasible_trial_is_written(small, tmp_path, sampler):
    result = search(small, tmp_path, sampler=sampler, seed=1)
    trials = trials_of(f"sqlite:///{tmp_path}/study.db")
    assert result.tally.infeasible == 0
    assert all(value <= 0 for trial in trials for value in trial.constraints.values())
    assert max(trial.value for trial in trials) == result.tally.best.score


def test_the_start_is_the_first_trial_where_it_is_feasible(small, tmp_path):
    search(small, tmp_path, trials=2)
    assert trained(tmp_path)[0].params["width"] == 8


def test_trials_are_a_total_and_a_resumed_study_proposes_new_nets(small, tmp_path):
    search(small, tmp_path, trials=6)
    before = {trial.user_attrs["hash"] for trial in trained(tmp_path)}
    assert search(small, tmp_path, trials=6).tally.trials == 6
    result = search(small, tmp_path, trials=12)
    after = [trial.user_attrs["hash"] for trial in trained(tmp_path)]
    assert result.tally.trials == len(after) == len(set(after)) == 12
    assert before < set(after)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_gflops": 0.005}, r"limits\.max_gflops=0\.005 \(was 0\.004\)\. Use --study-name"),
        ({"seed": 3}, r"these settings differ from those it began with: seed=3 \(was 0\)"),
        ({"objective": slow_score}, r"objective\.function=tests\.search\.objectives\.slow_score \(was "),
    ],
)
def test_a_changed_search_is_refused_by_name(small, tmp_path, changes, message):
    search(small, tmp_path, trials=2, study_name="one")
    with pytest.raises(ValueError, match=message):
        search(small, tmp_path, **({"trials": 2, "study_name": "one"} | changes))


def test_a_changed_space_is_refused_by_name(small, tmp_path):
    search(small, tmp_path, trials=2, study_name="one")
    text = small.dump().replace("high: 32", "high: 30")
    with pytest.raises(ValueError, match=r"study one: .* began with: space\.width=\[4, 6.* \(was \[4, 6"):
        search(parse_spec(text), tmp_path, trials=2, study_name="one")


def test_a_study_of_another_program_is_refused(small, tmp_path):
    with open_storage(f"sqlite:///{tmp_path}/study.db") as opened:
        study = optuna.create_study(study_name="other", storage=opened)
        study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    with pytest.raises(ValueError, match=r"other: its trials are from another program\. Use another --study-name"):
        search(small, tmp_path, study_name="other")


def test_every_net_is_trained_in_full(small, tmp_path):
    result = search(small, tmp_path, objective=epoch_score, epochs=9, trials=6)
    assert {one.epochs for one in result.tally.scored} == {9}


def test_failures_are_contained_and_named(small, tmp_path):
    result = search(small, tmp_path, objective=failing_score, sampler="random", trials=12, seed=2, max_gflops=0.01)
    assert result.tally.trials == 12
    assert set(result.tally.failed) == {"out of memory", "not a number", "error"}
    rows = json.loads((tmp_path / "trials.json").read_text())
    memory = next(row for row in rows if row["reason"] == "out of memory")
    assert memory["error"].startswith("RuntimeError: CUDA out of memory")
    assert memory["peak_mib"] > 50
    assert any(row["error"] == "KeyError: 'lost'" for row in rows)


def test_a_training_that_takes_too_long_is_a_failure(small, tmp_path, monkeypatch):
    monkeypatch.setattr("lmnet.search.train.loop.FAILURES_TO_GIVE_UP", 3)
    with pytest.raises(RuntimeError, match="3 training runs in a row failed, the last with: time-out .*Correct"):
        search(small, tmp_path, objective=endless, trials=2, trial_timeout_s=0.3)
    assert trained(tmp_path) == []


def test_the_time_limit_ends_the_search_and_what_was_cut_off_is_done_again(small, tmp_path):
    search(small, tmp_path, dry_run=True)  # the costs of nodes that are new to this machine count as time, too
    result = search(small, tmp_path, objective=slow_score, trials=50, timeout_s=3.0)
    assert 1 <= result.tally.trials <= 9
    assert result.tally.cut_off <= 1  # 0 where the time was up while a candidate was looked for
    again = search(small, tmp_path, objective=slow_score, trials=result.tally.trials + 1)
    hashes = [trial.user_attrs["hash"] for trial in trained(tmp_path)]
    assert again.tally.trials == len(set(hashes)) == result.tally.trials + 1


def test_the_time_limit_counts_from_the_start(small, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "lmnet.search.session.survey", lambda *args, **options: time.sleep(0.5) or survey(*args, **options)
    )
    result = search(small, tmp_path, objective=slow_score, trials=50, timeout_s=0.5)
    assert result.tally.trials == 0
    assert search(small, tmp_path, objective=slow_score, trials=1).tally.trials == 1


def test_a_space_that_is_used_up_ends_the_search(small, tmp_path):
    text = small.dump().split("search:")[0] + "search:\n  width: {low: 4, high: 10, step: 2}\n"
    result = search(parse_spec(text), tmp_path, trials=20, max_gflops=1)
    assert result.is_used_up
    assert result.tally.trials == 4


def test_results_are_specs_that_build_with_the_same_hash(small, tmp_path):
    result = search(small, tmp_path, trials=10)
    found = lmnet.load_spec(tmp_path / "best.yaml")
    assert build_model(found).hash == result.tally.best.hash
    plan = build_model(found).plan
    assert found.layout.expect.params == plan.deploy_params
    assert found.layout.expect.gmacs == plan.deploy_macs / 1e9
    assert builder_main([str(tmp_path / "best.yaml"), "--validate"]) == 0
    fronts = sorted((tmp_path / "front").glob("*.yaml"))
    assert [build_model(lmnet.load_spec(file)).hash for file in fronts] == [one.hash for one in result.tally.front]
    heading, *rows = (tmp_path / "diff.txt").read_text().splitlines()
    assert heading.split() == ["starting", "net", "best", "net"]
    assert rows[-1].split()[0] == "score"
    assert len((tmp_path / "trials.csv").read_text().splitlines()) == 1 + len(
        json.loads((tmp_path / "trials.json").read_text())
    )
    content = as_dict(result)
    assert {"study", "trials", "failed", "infeasible_proposals", "best", "front"} <= content.keys()
    assert {"hash", "score", "gmacs", "params", "spec"} <= content["best"].keys()


def test_two_searches_may_write_one_folder_at_the_same_time(small, tmp_path, monkeypatch):
    """Whenever the first flushes a file, the second writes all of its results."""
    inside = []

    def write_by_two(*arguments):
        def flush_after_the_other(path):
            if not inside:
                inside.append(path)
                write_folder(*arguments)
                inside.clear()
            flush(path)

        flush = files._flush
        with monkeypatch.context() as patched:
            patched.setattr(files, "_flush", flush_after_the_other)
            write_folder(*arguments)

    search(small, tmp_path, trials=4)
    (tmp_path / "front" / "00_older.yaml").write_text("")
    monkeypatch.setattr(run_search, "write_folder", write_by_two)
    monkeypatch.setattr("lmnet.search.results.folder.report_html", lambda *all: "<html>")  # its charts take long
    result = search(small, tmp_path, trials=5)
    names = [file.stem for file in sorted((tmp_path / "front").iterdir())]
    assert names == [f"{place:02d}_{one.hash}" for place, one in enumerate(result.tally.front)]


def test_the_weights_beside_the_best_spec_are_its_own_or_none(small, tmp_path):
    costs = {"gmacs": 1.0, "params": 10}
    one, two = (Scored(i, (i,), name, 0.5 - i / 10, costs) for i, name in enumerate(("high", "chosen")))
    (tmp_path / "weights").mkdir()
    for name in ("high", "chosen", "other"):
        (tmp_path / "weights" / f"{name}.safetensors").write_text(name)
    first = Tally(2, {}, 0, 0, 0, (one, two))

    _write_best_weights(tmp_path, first)
    assert (tmp_path / "best.safetensors").read_text() == "high"
    chosen = replace(first, chosen="chosen")  # by further trainings; it is not on the front
    _drop_weights(tmp_path, chosen, finalists=())
    _write_best_weights(tmp_path, chosen)
    assert (tmp_path / "best.safetensors").read_text() == "chosen"
    assert sorted(file.stem for file in (tmp_path / "weights").iterdir()) == ["chosen", "high"]

    (tmp_path / "weights" / "chosen.safetensors").unlink()
    _write_best_weights(tmp_path, chosen)
    assert not (tmp_path / "best.safetensors").exists()


def test_the_results_so_far_are_written_while_the_search_runs(small, tmp_path, monkeypatch):
    monkeypatch.setattr(run_search, "WRITE_S", 0.0)
    seen = []

    def objective(model, spec):
        if (tmp_path / "search.json").exists():
            seen.append(json.loads((tmp_path / "search.json").read_text())["trials"])
        return width_score(model, spec)

    search(small, tmp_path, objective=objective, trials=6)
    assert seen[-1] >= 4
    assert seen == sorted(seen)


def test_a_count_that_is_not_above_0_is_refused(small, tmp_path):
    with pytest.raises(ValueError, match="search: trials must be above 0, got trials=0"):
        search(small, tmp_path, trials=0)


def test_an_unknown_sampler_is_refused(small, tmp_path):
    with pytest.raises(ValueError, match=r"search: there is no sampler bogus\. Use model, or random, tpe\."):
        search(small, tmp_path, sampler="bogus")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"stop_after": 0.75}, r"search: stop_after was removed\. Every net is trained in full"),
        ({"sampler": "gp"}, r"search: the sampler gp was removed.* Use model, the default\."),
        ({"sampler": "nsga2"}, r"search: the sampler nsga2 was removed"),
    ],
)
def test_what_was_removed_is_refused_by_name(small, tmp_path, capsys, option, message):
    with pytest.raises(ValueError, match=message):
        search(small, tmp_path, **option)
    ((name, value),) = option.items()
    flag = "--" + name.replace("_", "-")
    assert main(["--max-gflops", "1", flag, str(value)]) == 2
    assert re.search(message.replace("search: stop_after", "lmnet-search: --stop-after"), capsys.readouterr().err)


def test_a_storage_that_is_none_is_refused(small, tmp_path):
    with pytest.raises(ValueError, match=r"storage: .* cannot be opened .*\. Give sqlite:///FILE or postgresql"):
        search(small, tmp_path, storage="nonsense")


def test_an_objective_for_workers_must_be_picklable(small, tmp_path):
    with pytest.raises(ValueError, match="<function .* cannot be pickled .*, and several workers need that"):
        search(small, tmp_path, objective=lambda model, spec: 1.0, workers=2)
