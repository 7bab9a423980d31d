"""A search on a Ray cluster of two nodes on this machine."""

import functools
import os
import random
import threading
import time

import optuna
import pytest

pytest.importorskip("ray")
pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore")]

from lmnet.search.run_search import run  # noqa: E402
from lmnet.search.train.messages import Job  # noqa: E402
from lmnet.search.train.ray_pool import RayPool  # noqa: E402
from tests.search.families import family_score, run_families  # noqa: E402
from tests.search.killing import TRIALS, check_complete, crash, trials_of  # noqa: E402
from tests.search.objectives import epoch_score, logged_score, width_score  # noqa: E402
from tests.search.run_search import run_search  # noqa: E402

NODE_KILLS = DRIVER_KILLS = int(os.environ.get("LMNET_KILLS", "2"))


def table(result):
    return [(one.number, one.hash, one.score, one.epochs) for one in result.tally.scored]


def test_twenty_four_trials_are_twenty_four_nets(cluster, small, tmp_path):
    result = run(small, objective=width_score, max_gflops=0.004, trials=24, cluster="ray", out=tmp_path)

    every = trials_of(f"sqlite:///{tmp_path}/study.db")
    done = [trial for trial in every if trial.state == optuna.trial.TrialState.COMPLETE]
    assert result.tally.trials == len(done) == len({trial.user_attrs["hash"] for trial in done}) == 24
    assert not [trial for trial in every if trial.state == optuna.trial.TrialState.RUNNING]


def test_batches_give_what_processes_give(cluster, small, tmp_path):
    options = {"objective": epoch_score, "max_gflops": 0.004, "trials": 10, "epochs": 9, "batch": 4}

    on_ray = run(small, cluster="ray", out=tmp_path / "ray", **options)
    here = run(small, workers=2, out=tmp_path / "here", **options)

    assert table(on_ray) == table(here)


def test_batches_of_several_families_give_what_processes_give(cluster, deep, plain, wide, tmp_path):
    options = {"objective": family_score, "max_gflops": 0.0004, "trials": 9, "batch": 4}

    on_ray = run([deep, plain, wide], cluster="ray", out=tmp_path / "ray", **options)
    here = run([deep, plain, wide], workers=2, out=tmp_path / "here", **options)

    assert table(on_ray) == table(here)
    assert {on_ray.space.family_of(one.point) for one in on_ray.tally.scored} == {0, 1, 2}


def test_a_node_without_the_data_is_named_before_anything_is_trained(cluster):
    with pytest.raises(ValueError, match=r"the node .* does not have /no/such/folder"):
        RayPool(width_score, paths=["/no/such/folder"])


def test_an_objective_that_cannot_be_pickled_is_refused(cluster):
    with pytest.raises(ValueError, match="cannot be pickled .*, and a cluster needs that"):
        RayPool(functools.partial(width_score, lock=threading.Lock()))


def test_an_error_while_a_worker_begins_is_named(cluster, small):
    pool = RayPool(width_score, imports=["no_such_module"])
    pool.submit(0, Job(small, 0))
    ended = []
    while not ended:
        ended = pool.poll(1.0, lambda slot, epoch, score: False)
    pool.close()

    assert ended[0][1].reason == "worker died"
    assert "no_such_module" in ended[0][1].error


def test_nodes_that_die_cost_their_trainings_only(cluster, small, tmp_path):
    rng, place = random.Random(0), tmp_path / "trained.log"
    over = threading.Event()

    def kill():
        for _ in range(NODE_KILLS):
            node = cluster.add_node(num_cpus=1)
            size = place.stat().st_size if place.exists() else 0
            while not over.is_set() and (place.stat().st_size if place.exists() else 0) <= size + 200:
                time.sleep(0.05)
            time.sleep(rng.uniform(0, 1.5))
            cluster.remove_node(node, allow_graceful=False)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        run(
            small,
            objective=functools.partial(logged_score, place=str(place), seconds=0.5),
            max_gflops=0.004,
            trials=TRIALS,
            cluster="ray",
            study_name="crash",
            out=tmp_path,
        )
    finally:
        over.set()
        killer.join()

    check_complete(f"sqlite:///{tmp_path}/study.db", tmp_path)


@pytest.mark.parametrize("search", [run_search, run_families], ids=["one family", "three families"])
def test_a_driver_that_is_killed_is_continued_by_the_same_command(cluster, tmp_path, search):
    options = {"cluster": cluster.address, "search": search}
    crash(f"sqlite:///{tmp_path}/study.db", tmp_path, DRIVER_KILLS, random.Random(0), **options)
