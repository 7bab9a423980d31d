"""The command that the crash tests start, kill and start again.

python run_search.py STORAGE OUT TRIALS WORKERS [RAY_ADDRESS]
"""

import functools
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from lmnet.builder.spec import parse_spec
from lmnet.search.run_search import run
from tests.search.conftest import SMALL
from tests.search.objectives import logged_score

if __name__ == "__main__":
    storage, out, trials, workers, *address = sys.argv[1:]
    result = run(
        parse_spec(SMALL),
        objective=functools.partial(logged_score, place=str(Path(out).parent / "trained.log")),
        max_gflops=0.01,
        trials=int(trials),
        workers=int(workers),
        cluster=address[0] if address else None,
        sampler="random",
        storage=storage,
        study_name="crash",
        out=out,
    )
    print(result.tally.trials)
