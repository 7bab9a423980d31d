"""The search that the crash tests start, kill and start again."""

import functools
from pathlib import Path

from lmnet.builder.spec import parse_spec
from lmnet.search.run_search import run
from tests.search.conftest import SMALL
from tests.search.objectives import logged_score


def run_search(storage, out, trials, workers, cluster):
    result = run(
        parse_spec(SMALL),
        objective=functools.partial(logged_score, place=str(Path(out).parent / "trained.log")),
        max_gflops=0.01,
        trials=trials,
        workers=workers,
        cluster=cluster,
        sampler="random",
        storage=storage,
        study_name="crash",
        out=out,
    )
    print(result.tally.trials)
