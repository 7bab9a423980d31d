"""Images a second and GFLOP/s beside what a user would pick instead at a like cost, interleaved in one process.

    python benchmarks/side_by_side.py [--nets lmnet_fast unet "MONAI BasicUNet"] [--size 256] [--repeats 9]

Needs the extra `integration` (segmentation_models_pytorch, MONAI). Nets of others run in eval mode, as they come and
channels last. Their multiply-accumulates are counted by torch, ours by the planner.
"""

from __future__ import annotations

from functools import partial

import torch
from inference import run_net
from interleaved import make_parser, median_ms, read_options, where_measured
from torch.utils.flop_counter import FlopCounterMode

from lmnet import create_model, load_spec, optimize_for_inference
from lmnet.blocks import build_attention_kernel
from lmnet.builder.planner import plan_spec

OURS = ("lmnet_fast", "lmnet_paper", "lmnet_release", "unet")
OTHERS = ("SMP Unet mobilenet_v2", "SMP Unet mobilenetv4", "MONAI BasicUNet")


def make_other(name):
    """Return another package's net with random weights and two classes."""
    if name.startswith("MONAI"):
        from monai.networks.nets import BasicUNet

        return BasicUNet(spatial_dims=2, in_channels=3, out_channels=2).eval()
    import segmentation_models_pytorch as smp

    encoder = {"mobilenet_v2": "mobilenet_v2", "mobilenetv4": "tu-mobilenetv4_conv_small"}[name.split()[-1]]
    return smp.Unet(encoder, encoder_weights=None, classes=2).eval()


def count_macs(net, image):
    """Return torch's count of multiply-accumulates."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        net(image)
    return counter.get_total_flops() // 2


def make_calls(names, image):
    """Return each net's call and its multiply-accumulates, by name and form."""
    calls, macs = {}, {}
    for name in names:
        if name in OTHERS:
            net = make_other(name)
            count = count_macs(net, image)
            for form in ("NCHW", "channels last"):
                macs[f"{name}, {form}"] = count
                calls[f"{name}, {form}"] = partial(run_net, net, "torch", image)
                net = make_other(name).to(memory_format=torch.channels_last)
        else:
            net = optimize_for_inference(create_model(name))
            count = plan_spec(load_spec(name), input_size=tuple(image.shape[2:])).deploy_macs
            for backend in ("torch", "compiled") if "lmnet" in name else ("torch",):
                macs[f"{name}, optimised, {backend}"] = count
                calls[f"{name}, optimised, {backend}"] = partial(run_net, net, backend, image)
    return calls, macs


def main() -> None:
    """Read the options and print a Markdown table."""
    parser = make_parser(__doc__, repeats=9)
    parser.add_argument("--nets", nargs="+", default=[*OURS, *OTHERS], help="names of the zoo, or of others' nets")
    parser.add_argument("--size", type=int, default=256)
    args = read_options(parser)
    if not build_attention_kernel():
        parser.error("the compiled attention does not build here; install g++")
    print(where_measured(args))
    calls, macs = make_calls(args.nets, torch.randn(1, 3, args.size, args.size))
    times = median_ms(calls, repeats=args.repeats, clock=args.clock)
    print(f"\nbatch 1, {args.size}x{args.size}\n")
    print("| net | GMACs | ms | images/s | GFLOP/s |\n|---|---|---|---|---|")
    for name, ms in times.items():
        print(f"| {name} | {macs[name] / 1e9:.2f} | {ms:.1f} | {1e3 / ms:.1f} | {2 * macs[name] / ms / 1e6:.0f} |")


if __name__ == "__main__":
    main()
