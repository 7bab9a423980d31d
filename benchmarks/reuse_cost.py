"""What each example's change costs: parameters, MACs and CPU time before and after, written into docs/reuse.md.

Time is a ratio: the two nets run in turns, each ratio is of one turn, the table shows the median and the quartiles, so
that other work on the machine falls on both. Both are in eval mode and re-parameterised.

    python benchmarks/reuse_cost.py --size 128 --rounds 15
"""

from __future__ import annotations

import argparse
import platform
import runpy
import statistics
import time
from pathlib import Path

import segmentation_models_pytorch as smp
import timm
import torch
from timm.utils import reparameterize_model

from lmnet.builder.cost import CostCounter, count_params

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reuse.md"
BEGIN, END = "<!-- cost: benchmarks/reuse_cost.py writes these lines -->\n", "<!-- /cost -->\n"
ROWS = {
    "plain_unet": "a U-Net of three levels: multi-branch stem, fused skips, LFTs, GFT",
    "timm_features": "timm mobilenetv3_small_100 -> LM-Net's encoder",
    "smp_lmnet_encoder": "SMP Unet, mobilenet_v2 -> LM-Net's encoder",
    "smp_lmnet_decoder": "SMP mobilenet_v2, Unet's decoder -> LM-Net's",
    "smp_wrap_skips": "SMP Unet on mobilenet_v2 + LFTs, GFT",
    "monai_unet": "MONAI UNet + LFTs, GFT",
}


def cost(model, size):
    """Return (parameters, MACs) at batch 1."""
    model = model.to("meta")
    counter = CostCounter()
    with torch.no_grad(), counter:
        model(torch.empty(1, 3, size, size, device="meta"))
    return count_params(model), counter.macs


def seconds(model, image):
    """Return how long one forward pass takes."""
    start = time.perf_counter()
    model(image)
    return time.perf_counter() - start


def ratios(before, after, size, rounds):
    """Return time after / time before of each turn, and the median time before in milliseconds."""
    image = torch.rand(1, 3, size, size)
    with torch.inference_mode():
        for model in (before, after, before, after):
            model(image)
        turns = [(seconds(before, image), seconds(after, image)) for _ in range(rounds)]
    return [b / a for a, b in turns], 1000 * statistics.median(a for a, _ in turns)


def row(name, args):
    """Return one row of the table."""
    example = runpy.run_path(str(ROOT / "examples" / f"{name}.py"))
    torch.manual_seed(0)
    before, after = (reparameterize_model(example[key]().eval()) for key in ("before", "after"))
    values, before_ms = ratios(before, after, args.size, args.rounds)
    low, middle, high = statistics.quantiles(values, n=4)
    (params0, macs0), (params1, macs1) = cost(before, args.size), cost(after, args.size)
    cells = [
        f"`{name}.py`: {ROWS[name]}",
        f"{params0 / 1e6:.2f} -> {params1 / 1e6:.2f}",
        f"{macs0 / 1e9:.3f} -> {macs1 / 1e9:.3f}",
        f"{before_ms:.0f}",
        f"{middle:.2f} ({low:.2f} to {high:.2f})",
    ]
    return f"| {' | '.join(cells)} |"


def main():
    """Measure all rows and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    torch.set_num_threads(1)
    lines = [
        f"{args.size} px, batch 1, float32, one thread of a {platform.machine()} CPU, re-parameterised; torch "
        f"{torch.__version__}, timm {timm.__version__}, SMP {smp.__version__}; {args.rounds} interleaved turns, median "
        "ratio and quartiles.",
        "",
        "| example | parameters (M) | GMACs | before (ms) | time after / before |",
        "|---|---|---|---|---|",
    ]
    for name in ROWS:
        lines.append(row(name, args))
        print(lines[-1], flush=True)
    page = PAGE.read_text()
    PAGE.write_text(page[: page.index(BEGIN) + len(BEGIN)] + "\n".join(lines) + "\n" + page[page.index(END) :])


if __name__ == "__main__":
    main()
