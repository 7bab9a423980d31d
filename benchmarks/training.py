"""Does data loading keep the model busy? Images per second and the share of time that steps wait for data.

    python benchmarks/training.py [SPEC] [--size 128] [--epochs 2] [--workers 0 1] [--recipe default paper]

Steps wait from the end of one step to the start of the next, so that what Lightning does in between counts as waiting.
The first epoch of each line warms up and is not printed.
"""

from __future__ import annotations

import argparse
import os
import platform

import torch

from lmnet import create_model
from lmnet.training import fit, load_data, load_recipe


def main() -> None:
    """Print one line for each recipe and number of workers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("spec", nargs="?", default="lmnet_xs")
    parser.add_argument("--data", default="synthetic")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--recipe", nargs="+", default=["default", "paper"])
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()

    data = load_data(args.data)
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    print(
        f"{args.spec} on {data.name} ({len(data.train)} images) at {args.size} px, torch {torch.__version__}, "
        f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, load before {load}"
    )
    print(f"{'recipe':<10}{'workers':>8}{'images/s':>10}{'waiting':>9}")
    for name in args.recipe:
        recipe = load_recipe(name)
        for workers in args.workers:
            result = fit(
                create_model(args.spec),
                data,
                recipe,
                size=args.size,
                epochs=args.epochs,
                workers=workers,
                device=args.device,
            )
            rows = result.history[1:] or result.history
            seconds = sum(row["seconds"] for row in rows)
            images = sum(row["images_per_second"] * row["seconds"] for row in rows)
            waited = sum(row["waiting_share"] * row["seconds"] for row in rows)
            print(f"{name:<10}{workers:>8}{images / seconds:>10.1f}{waited / seconds:>9.1%}", flush=True)


if __name__ == "__main__":
    main()
