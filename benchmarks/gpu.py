"""One command for whoever has one GPU and ten minutes: speed of attention, of a step and of inference, then a training.

    python benchmarks/gpu.py --data path/to/Kvasir-SEG [--minutes 10] [--out runs/gpu]
    python benchmarks/gpu.py --tiny                      # the same on a CPU in seconds: a smoke test, no figures

Measured at 256 px and batch 16: neighbourhood attention beside torch's flex_attention, inference and a training step of
the net, each beside its floor: the time that the card needs to read each node's inputs and write its outputs once, at
the bandwidth of a large copy on this card. What is left of the time trains the net in bfloat16 with all images on the
card. The same command again goes on from the checkpoint. Results: OUT/report.md and OUT/best.safetensors.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from gpu_training import train_for
from torch import Tensor, nn

from lmnet import create_model
from lmnet.blocks import neighborhood_attention
from lmnet.training import load_data

BYTES = 2
"""Bytes of one number in bfloat16."""


@dataclass(frozen=True)
class Sizes:
    """Image side, batch, measured rounds, and the attention's (side, heads, head size, window)."""

    side: int
    batch: int
    rounds: int
    attention: tuple[tuple[int, int, int, int], ...]


FULL = Sizes(256, 16, 20, ((256, 7, 2, 7), (128, 7, 4, 7), (64, 7, 8, 7), (32, 7, 16, 7)))
TINY = Sizes(32, 2, 2, ((16, 2, 4, 3),))


def median_ms(run: Callable[[], object], device: torch.device, rounds: int) -> float:
    """Return the median time of a call in milliseconds, after three warm-up calls, each waited for."""
    spent = []
    for turn in range(rounds + 3):
        if device.type == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()
        if turn >= 3:
            spent.append(1e3 * (time.perf_counter() - start))
    return statistics.median(spent)


def bandwidth(device: torch.device, rounds: int, mib: int) -> float:
    """Return bytes per second of a large copy on the device, reads and writes counted."""
    source = torch.randn(mib * 2**18, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / (median_ms(lambda: target.copy_(source), device, rounds) / 1e3)


def flex_neighborhood(side: int, window: int) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Return torch's flex_attention over the same windows, compiled, for tokens (N, heads, side * side, head size)."""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    def is_near(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        def start(position: Tensor) -> Tensor:
            return (position - window // 2).clamp(0, side - window)

        row, column = start(query // side), start(query % side)
        return (
            (key // side >= row)
            & (key // side < row + window)
            & (key % side >= column)
            & (key % side < column + window)
        )

    mask = create_block_mask(is_near, None, None, side * side, side * side, device="cuda")
    compiled = torch.compile(flex_attention)
    return lambda query, key, value: compiled(query, key, value, block_mask=mask)


def attention_rows(sizes: Sizes, device: torch.device, rate: float) -> list[str]:
    """Return the table of attention: ours, flex_attention and the floor, forward and with gradients."""
    rows = ["| map, heads h, head size d, window k | ours ms | flex_attention ms | floor ms |", "|---|---|---|---|"]
    for side, heads, size, window in sizes.attention:
        shape = (sizes.batch, side, side, heads, size)
        leaves = [torch.randn(shape, device=device, dtype=torch.bfloat16, requires_grad=True) for _ in range(3)]
        ours = _both(lambda q, k, v, w=window: neighborhood_attention(q, k, v, w), leaves, device, sizes.rounds)
        floor = [1e3 * count * leaves[0].nbytes / rate for count in (4, 12)]  # q, k, v, out; with gradients 12 maps
        rows.append(
            f"| {side}, h{heads}, d{size}, k{window} | {ours} | {_flex(sizes, leaves, window, device)} "
            f"| {floor[0]:.3f} / {floor[1]:.3f} |"
        )
    return [*rows, "", "Forward / forward and backward, bfloat16."]


def _both(attend: Callable[..., Tensor], leaves: list[Tensor], device: torch.device, rounds: int) -> str:
    def backward() -> object:
        out = attend(*leaves)
        return torch.autograd.grad(out, leaves, torch.ones_like(out))

    with torch.no_grad():
        forward_ms = median_ms(lambda: attend(*leaves), device, rounds)
    return f"{forward_ms:.2f} / {median_ms(backward, device, rounds):.2f}"


def _flex(sizes: Sizes, leaves: list[Tensor], window: int, device: torch.device) -> str:
    side, size = leaves[0].shape[1], leaves[0].shape[4]
    if device.type != "cuda":
        return "not run"
    pad = max(0, 16 - size)  # flex_attention's kernels need heads of 16 or more: pad with zeros
    as_tokens = [
        F.pad(x.detach(), (0, pad)).flatten(1, 2).transpose(1, 2).contiguous().requires_grad_() for x in leaves
    ]
    try:
        attend = flex_neighborhood(side, window)
        return _both(attend, as_tokens, device, sizes.rounds) + (f" (heads padded to {size + pad})" if pad else "")
    except (RuntimeError, torch._dynamo.exc.TorchDynamoException) as err:
        return f"failed: {str(err).splitlines()[0][:80]}"


def map_bytes(model: nn.Module, side: int, batch: int) -> int:
    """Return the bytes of every node's inputs and outputs, each read or written once, in bfloat16."""
    from lmnet.builder import plan_spec

    plan = plan_spec(model.spec, input_size=(side, side))
    numbers = sum(
        channels * height * width
        for node in plan.nodes
        for shapes in (node.in_shapes, node.out_shapes)
        for channels, height, width in shapes
    )
    return BYTES * batch * numbers


def net_rows(name: str, sizes: Sizes, device: torch.device, rate: float) -> list[str]:
    """Return the table of inference and of a training step, in float32 and bfloat16, eager and compiled."""
    model = create_model(name).to(device, memory_format=torch.channels_last)
    image = torch.randn(sizes.batch, 3, sizes.side, sizes.side, device=device).to(memory_format=torch.channels_last)
    mask = torch.randint(0, 2, (sizes.batch, sizes.side, sizes.side), device=device)
    optimizer = torch.optim.AdamW(model.parameters())
    floor = 1e3 * map_bytes(model, sizes.side, sizes.batch) / rate
    rows = [
        f"| {name}, batch {sizes.batch}, {sizes.side} px | ms | images/s | floor ms (bfloat16) |",
        "|---|---|---|---|",
    ]
    forms: list[tuple[str, nn.Module]] = [("eager", model)]
    if device.type == "cuda":
        forms.append(("compiled", torch.compile(model)))  # type: ignore[arg-type]

    for form, net in forms:
        for dtype in (torch.float32, torch.bfloat16):

            def infer(net: nn.Module = net, dtype: torch.dtype = dtype) -> object:
                model.eval()
                with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=dtype is torch.bfloat16):
                    return net(image)

            def step(net: nn.Module = net, dtype: torch.dtype = dtype) -> None:
                model.train()
                optimizer.zero_grad(set_to_none=True)
                with torch.autocast(device.type, dtype, enabled=dtype is torch.bfloat16):
                    loss = F.cross_entropy(net(image).float(), mask)
                loss.backward()
                optimizer.step()

            for what, run, times in (("inference", infer, 1), ("training step", step, 3)):
                try:
                    ms = median_ms(run, device, sizes.rounds)
                except RuntimeError as err:  # out of memory, or a net that does not compile here
                    rows.append(f"| {what}, {form}, {dtype} | failed: {str(err).splitlines()[0][:80]} | | |")
                    continue
                rows.append(
                    f"| {what}, {form}, {str(dtype).removeprefix('torch.')} | {ms:.1f} | {1e3 * sizes.batch / ms:.0f} "
                    f"| {times * floor:.1f} |"
                )
    return [*rows, "", "The floor of a training step counts three passes over the maps."]


def describe(device: torch.device, rate: float) -> str:
    """Return card, versions and measured bandwidth in one line."""
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "CPU"
    return (
        f"{card}; torch {torch.__version__}, CUDA {torch.version.cuda}, Python {platform.python_version()}; "
        f"a large copy moves {rate / 1e9:.0f} GB/s."
    )


def main() -> None:
    """Measure, train, write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", default="lmnet_paper")
    parser.add_argument("--data", default="synthetic")
    parser.add_argument("--minutes", type=float, default=10.0, help="time for all of it (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tiny", action="store_true", help="small sizes, on the CPU: a smoke test")
    args = parser.parse_args()
    began = time.monotonic()
    if not args.tiny and not torch.cuda.is_available():
        parser.error("no CUDA device is here. Give --tiny for a smoke test on the CPU")
    sizes, device = (TINY, torch.device("cpu")) if args.tiny else (FULL, torch.device("cuda"))
    torch.manual_seed(args.seed)
    rate = bandwidth(device, sizes.rounds, mib=4 if args.tiny else 1024)
    lines = [f"# {args.net} on one GPU", "", describe(device, rate), ""]
    print(lines[2], flush=True)
    for title, part in (
        ("Attention", lambda: attention_rows(sizes, device, rate)),
        ("Net", lambda: net_rows(args.net, sizes, device, rate)),
    ):
        rows = part()
        lines += [f"## {title}", "", *rows, ""]
        print("\n".join(rows), flush=True)
    data = load_data(args.data, seed=args.seed)
    if args.tiny:
        data.train, data.val = data.train.subset(range(8)), data.val.subset(range(4))
    seconds = 1.0 if args.tiny else max(30.0, 60 * args.minutes - (time.monotonic() - began) - 10)
    trained = train_for(
        args.net, data, seconds=seconds, side=sizes.side, batch=sizes.batch, out=args.out, seed=args.seed, device=device
    )
    lines += ["## Training", "", *trained]
    (args.out / "report.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(trained))
    print(args.out / "report.md")


if __name__ == "__main__":
    main()
