"""What the search itself costs: trials a second with an objective that does nothing, prices and memory.

Nodes that a machine has not met are counted once and remembered on disk. Prices are measured with an empty memory and
again once their nodes are known; the study after them meets both kinds.

python benchmarks/search_overhead.py --spec lmnet_xxs --trials 1000
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
import time
from pathlib import Path

from lmnet.builder.spec import load_spec
from lmnet.search.limits import Limits
from lmnet.search.pricing import Pricer
from lmnet.search.run_search import run
from lmnet.search.space import Space


def resident_mib():
    """Return the memory of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--spec", default="lmnet_xxs")
    parser.add_argument("--max-gflops", type=float, default=0.3)
    parser.add_argument("--trials", type=int, default=1000)
    args = parser.parse_args()
    os.environ["LMNET_CACHE"] = tempfile.mkdtemp()
    space, limits = Space(load_spec(args.spec)), Limits(max_gflops=args.max_gflops)
    rng = random.Random(0)
    points = [space.sample(rng) for _ in range(600)]
    rounds = {
        "first 300 prices, nodes unknown": points[:300],
        "next 300 prices": points[300:],
        "the first 300 again, nodes known": points[:300],
    }
    for name, some in rounds.items():
        pricer = Pricer(space, limits)
        start, cpu = time.perf_counter(), time.process_time()
        for point in some:
            pricer.price(point)
        wall, cpu = time.perf_counter() - start, time.process_time() - cpu
        print(f"{name}: {wall / 0.3:.2f} ms wall, {cpu / 0.3:.2f} ms CPU each", flush=True)
    times, cpus, memory = [], [], {}

    def objective(model, spec):
        times.append(time.perf_counter())
        cpus.append(time.process_time())
        if len(times) % 50 == 0:
            memory[len(times)] = round(resident_mib(), 1)
        return random.Random(len(times)).random()

    with tempfile.TemporaryDirectory() as folder:
        options = {"max_gflops": args.max_gflops, "trials": args.trials, "sampler": "random", "out": folder}
        result = run(args.spec, objective=objective, **options)
    wall, cpu = times[-1] - times[0], cpus[-1] - cpus[0]
    print(f"{args.spec}: {result.tally.trials} trials, {result.tally.infeasible} infeasible proposals")
    print(f"{(len(times) - 1) / wall:.1f} trials a second of wall time, {(len(times) - 1) / cpu:.1f} of CPU time")
    print("resident MiB by trial:", memory)


if __name__ == "__main__":
    main()
