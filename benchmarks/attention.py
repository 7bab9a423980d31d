"""Time and memory of neighbourhood attention by backend, against the gather path, in one process, interleaved.

Run from the repository's root: python benchmarks/attention.py [--rounds 9] [--threads 2] [--backends torch compiled]
Prints a Markdown table: ms forward / forward + backward (medians), and how many times faster than gather. Memory is the
resident peak of a fresh process during forward + backward above what it held with q, k and v: the output, its gradient
and the gradients of q, k and v count.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import torch

from lmnet.blocks import build_attention_kernel, neighborhood_attention

# side, heads, head size, window
SHAPES = [(224, 7, 2, 7), (224, 12, 1, 3), (112, 7, 4, 7), (56, 7, 8, 7), (28, 7, 16, 7)]


def maps_of(side, heads, size):
    """Query, key and value as a qkv layer gives them: views of one tensor."""
    qkv = torch.randn(1, side, side, 3, heads, size, requires_grad=True)
    return qkv, qkv.unbind(3)


def forward(maps, window, backend):
    """One pass without gradients."""
    with torch.no_grad():
        neighborhood_attention(*maps, window, backend=backend)


def forward_backward(leaves, window, backend):
    """One pass, and the gradients of all three maps."""
    out = neighborhood_attention(*leaves, window, backend=backend)
    torch.autograd.grad(out, leaves, torch.ones_like(out))


def timed_ms(run):
    """Wall time of one call."""
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) * 1e3


def times_of(shape, backends, rounds):
    """Median ms of forward and of forward + backward, by backend."""
    side, heads, size, window = shape
    leaves = [x.detach().requires_grad_() for x in maps_of(side, heads, size)[1]]
    runs = {
        (backend, kind): partial(kind, leaves, window, backend)
        for backend in backends
        for kind in (forward, forward_backward)
    }
    found = {name: [] for name in runs}
    for turn in range(rounds + 1):
        for name, run in runs.items():
            spent = timed_ms(run)
            if turn:  # the first round warms up
                found[name].append(spent)
    median = {name: statistics.median(spent) for name, spent in found.items()}
    return {backend: (median[backend, forward], median[backend, forward_backward]) for backend in backends}


def resident_mb(field):
    """A figure of this process in MB."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def print_peak(backend, side, heads, size, window):
    """Print the MB above q, k and v; runs in a process of its own."""
    small = [x.detach().requires_grad_() for x in maps_of(9, heads, size)[1]]
    forward_backward(small, window, backend)
    leaves = [x.detach().requires_grad_() for x in maps_of(side, heads, size)[1]]
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before = resident_mb("VmRSS")
    forward_backward(leaves, window, backend)
    print(round(resident_mb("VmHWM") - before, 1))


def peak_of(backend, shape, threads):
    """The MB above q, k and v in a process of its own."""
    command = [sys.executable, __file__, "--threads", str(threads), "--peak", backend, *map(str, shape)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def print_table(backends, rounds, threads):
    """Print the machine and the table."""
    cpu = next((x for x in Path("/proc/cpuinfo").read_text().splitlines() if x.startswith("model name")), "?: ?")
    print(f"{cpu.split(': ')[1]}, {os.cpu_count()} cores, {threads} threads, load {os.getloadavg()[0]:.1f}; ", end="")
    print(f"torch {torch.__version__}, Python {platform.python_version()}; batch 1, float32, {rounds} rounds\n")
    print("| map, heads h, head size d, window k | backend | forward ms | forward + backward ms | faster | peak MB |")
    print("|---|---|---|---|---|---|")
    for shape in SHAPES:
        times = times_of(shape, backends, rounds)
        side, heads, size, window = shape
        for backend, (one, both) in times.items():
            ratio = f"{times['gather'][0] / one:.1f}x / {times['gather'][1] / both:.1f}x"
            peak = peak_of(backend, shape, threads)
            print(
                f"| {side}, h{heads}, d{size}, k{window} | {backend} | {one:.1f} | {both:.1f} | {ratio} | {peak:.0f} |"
            )


def main():
    """Read the options and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--backends", nargs="+", default=["torch", "compiled"])
    parser.add_argument("--peak", nargs=5, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.peak:
        backend, *shape = args.peak
        print_peak(backend, *map(int, shape))
        return
    if "compiled" in args.backends and not build_attention_kernel():
        sys.exit("the kernel does not build here: leave out the backend compiled")
    print_table([*args.backends, "gather"], args.rounds, args.threads)


if __name__ == "__main__":
    main()
