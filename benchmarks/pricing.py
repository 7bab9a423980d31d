"""How fast candidates are priced, and whether the price is right.

Samples lmnet_paper's search space at random, prices each sample once to warm the planner, then times pricing on one
core. For 20 samples the built net is counted by ptflops, with the agreement of the two numbers.

    python benchmarks/pricing.py [--samples 2000] [--built 20] [--seed 0]
"""

import argparse
import platform
import random
import statistics
import time

import torch

from lmnet.builder.cross_check import count_with_ptflops, count_with_torch
from lmnet.builder.layout import RangeSpec
from lmnet.builder.models import build_model
from lmnet.builder.planner import Planner
from lmnet.builder.spec import load_spec


def draw(knob: RangeSpec, value: object, generator: random.Random) -> object:
    """Return a random value of one variable."""
    if knob.each is not None:
        inner = knob.each if isinstance(knob.each, RangeSpec) else RangeSpec(choices=knob.each)
        assert isinstance(value, list)
        return [draw(inner, item, generator) for item in value]
    if knob.choices is not None:
        return generator.choice(knob.choices)
    assert knob.low is not None
    assert knob.high is not None
    step = knob.step or 1
    return knob.low + step * generator.randrange(int((knob.high - knob.low) / step) + 1)


def main() -> None:
    """Print the two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--built", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    generator = random.Random(args.seed)
    spec = load_spec("lmnet_paper")
    planner = Planner(spec)
    samples = [
        {name: draw(knob, spec.layout.vars[name], generator) for name, knob in spec.layout.search.items()}
        for _ in range(args.samples)
    ]

    start = time.perf_counter()
    plans = [planner.plan(sample) for sample in samples]
    cold = time.perf_counter() - start
    rates = []
    for _ in range(5):
        start = time.perf_counter()
        for sample in samples:
            planner.plan(sample)
        rates.append(args.samples / (time.perf_counter() - start))
    print(f"machine: {platform.processor() or platform.machine()}, one core; Python {platform.python_version()},")
    print(f"torch {torch.__version__}; lmnet_paper's space, {args.samples} samples, seed {args.seed}")
    print(f"first pass (every new node priced once): {cold:.1f} s, {args.samples / cold:.0f} a second")
    print(f"warm: {statistics.median(rates):.0f} a second (5 passes: {min(rates):.0f} to {max(rates):.0f})")

    built = []
    for plan in plans[: args.built]:
        model = build_model(spec.override(plan.variables | {"num_heads": spec.layout.vars["num_heads"]})).eval()
        shape = (plan.input_shape,)
        built.append((plan.macs, count_with_torch(model, shape), count_with_ptflops(model, shape, "aten")))
    print(f"\n{'lmnet':>16} {'torch / 2':>16} {'ptflops (aten)':>16}   torch / lmnet   ptflops / lmnet")
    for ours, by_torch, by_ptflops in built:
        shown = "no answer" if by_ptflops is None else f"{by_ptflops:,}"
        ratio = "" if by_ptflops is None else f"{by_ptflops / ours:.4f}"
        print(f"{ours:>16,} {by_torch:>16,} {shown:>16}   {by_torch / ours:>13.6f}   {ratio:>15}")
    ratios = [by_ptflops / ours for ours, _, by_ptflops in built if by_ptflops]
    if ratios:
        print(f"ptflops / lmnet: {min(ratios):.4f} to {max(ratios):.4f}; it misses attention products and adds biases")


if __name__ == "__main__":
    main()
