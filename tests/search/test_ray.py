"""A search on a Ray cluster of two nodes on this machine."""

import threading
import time

import optuna
import pytest

pytest.importorskip("ray")
pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore")]

from lmnet.search.run_search import run  # noqa: E402
from lmnet.search.train.ray_pool import RayPool  # noqa: E402
from tests.search.objectives import epoch_score, failing_score, killing_score, slow_score, width_score  # noqa: E402


def trials_of(folder):
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{folder}/study.db")
    return [trial for trial in study.trials if trial.state == optuna.trial.TrialState.COMPLETE], study.trials


def table(result):
    return [(one.number, one.hash, one.score, one.epochs) for one in result.tally.scored]


def test_twenty_four_trials_are_twenty_four_nets(cluster, small, tmp_path):
    result = run(small, objective=width_score, max_gflops=0.004, trials=24, cluster="ray", out=tmp_path)

    done, every = trials_of(tmp_path)
    assert result.tally.trials == len(done) == len({trial.user_attrs["hash"] for trial in done}) == 24
    assert not [trial for trial in every if trial.state == optuna.trial.TrialState.RUNNING]


def test_batches_give_what_processes_give(cluster, small, tmp_path):
    options = {"objective": epoch_score, "max_gflops": 0.004, "trials": 10, "epochs": 9, "batch": 4}

    on_ray = run(small, cluster="ray", out=tmp_path / "ray", **options)
    here = run(small, workers=2, out=tmp_path / "here", **options)

    assert table(on_ray) == table(here)
    assert any(one.is_stopped for one in on_ray.tally.scored)  # "stop early" goes to the actor and back


def test_a_training_that_kills_its_process_costs_itself_only(cluster, small, tmp_path):
    result = run(small, objective=killing_score, max_gflops=0.004, trials=5, cluster="ray", out=tmp_path)

    assert result.tally.trials == 5
    assert result.tally.cut_off == 3  # the start, which is given up after three lives


def test_failures_are_named(cluster, small, tmp_path):
    result = run(
        small, objective=failing_score, max_gflops=0.01, trials=6, sampler="random", seed=2, cluster="ray", out=tmp_path
    )

    assert result.tally.trials == 6
    assert set(result.tally.failed) <= {"error", "not a number", "out of memory"}


def test_a_node_without_the_data_is_named_before_anything_is_trained(cluster):
    with pytest.raises(ValueError, match=r"every node must have the data, and .* lacks /no/such/folder"):
        RayPool(width_score, paths=["/no/such/folder"])


def test_an_objective_that_cannot_be_pickled_is_refused(cluster):
    with pytest.raises(ValueError, match="on a cluster an objective must be picklable"):
        RayPool(lambda model, spec: 0.0)


def test_a_node_that_dies_costs_its_trainings_only(cluster, small, tmp_path):
    node = cluster.add_node(num_cpus=2)

    def kill():
        time.sleep(3)
        cluster.remove_node(node, allow_graceful=False)

    killer = threading.Thread(target=kill)
    killer.start()
    result = run(small, objective=slow_score, max_gflops=0.004, trials=16, cluster="ray", out=tmp_path)
    killer.join()

    done, every = trials_of(tmp_path)
    assert result.tally.trials == len({trial.user_attrs["hash"] for trial in done}) == 16
    assert not [trial for trial in every if trial.state == optuna.trial.TrialState.RUNNING]
