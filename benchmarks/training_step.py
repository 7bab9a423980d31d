"""A training step of a net against NCHW with the gather path: time and memory.

    python benchmarks/training_step.py [--net lmnet_release] [--batch 2] [--size 224] [--repeats 5] [--threads 2]
        [--clock cpu]

A step is forward, cross entropy, backward and AdamW. Ratios are of medians, the forms called in turns in one process.
Peak memory is what one step adds in a fresh process, weights, gradients and AdamW's state not counted.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from options import make_parser, median_ms, read_options, where_measured

from lmnet import create_model
from lmnet.blocks import attention_backend, build_kernels
from lmnet.blocks.branches_compiled import branch_kernel
from lmnet.training.export.benchmark import peak_in_process

NET = "lmnet_release"
BASELINE = "NCHW, gather"
KERNELS = "channels last, compiled attention and branches (lmnet-train)"
FORMS = {
    BASELINE: (torch.contiguous_format, "gather", False),
    "NCHW, pure PyTorch": (torch.contiguous_format, "torch", False),
    "channels last, pure PyTorch": (torch.channels_last, "torch", False),
    "channels last, compiled attention": (torch.channels_last, "compiled", False),
    KERNELS: (torch.channels_last, "compiled", True),
}


def run_step(net, optimizer, backend, branches, image, mask):
    """One step."""
    with attention_backend(backend), branch_kernel(branches):
        loss = F.cross_entropy(net(image), mask)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def make_step(form, batch, size, net=NET):
    """Return a step of a form on a random batch, and one on a small batch."""
    torch.manual_seed(0)
    layout, backend, branches = FORMS[form]
    model = create_model(net).to(memory_format=layout).train()
    optimizer = torch.optim.AdamW(model.parameters())
    image = torch.randn(batch, 3, size, size).contiguous(memory_format=layout)
    mask = torch.randint(0, 2, (batch, size, size))
    run = partial(run_step, model, optimizer, backend, branches)
    return partial(run, image[:, :, :64, :64], mask[:, :64, :64]), partial(run, image, mask)


def ratios(batch: int, size: int, repeats: int, clock: str) -> dict[str, float]:
    """Return how many times faster than the baseline each form is."""
    times = median_ms({form: make_step(form, batch, size)[1] for form in FORMS}, repeats=repeats, clock=clock)
    return {form: times[BASELINE] / value for form, value in times.items() if form != BASELINE}


def main() -> None:
    """Read the options and print a Markdown table."""
    parser = make_parser(__doc__, repeats=5)
    parser.add_argument("--net", default=NET)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--size", type=int, default=224)
    args = read_options(parser)
    if not build_kernels():
        parser.error("the compiled kernels do not build here; install g++")
    print(where_measured(args))
    steps = {form: make_step(form, args.batch, args.size, args.net)[1] for form in FORMS}
    times = median_ms(steps, repeats=args.repeats, clock=args.clock)
    steps.clear()
    print(f"\n{args.net}, batch {args.batch}, {args.size}x{args.size}\n")
    print("| form | ms | faster | peak MB |\n|---|---|---|---|")
    for form, ms in times.items():
        peak = peak_in_process(make_step, form, args.batch, args.size, args.net) / 1e6
        print(f"| {form} | {ms:.0f} | {times[BASELINE] / ms:.2f}x | {peak:.0f} |", flush=True)


if __name__ == "__main__":
    main()
