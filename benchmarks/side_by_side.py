"""Images a second and GFLOP/s beside what a user would pick instead at a like cost, interleaved in one process.

    python benchmarks/side_by_side.py [--nets lmnet_fast unet "MONAI BasicUNet"] [--size 256] [--repeats 9] [--runtimes]

Needs the extra `integration` (segmentation_models_pytorch, MONAI). Nets of others run in eval mode, as they come and
channels last. Their multiply-accumulates are counted by torch, ours by the planner. With --runtimes, a second table:
all nets exported by one function to ONNX files of that size, in onnxruntime and OpenVINO (float32).
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import torch
from inference import run_net
from options import make_parser, median_ms, read_options, where_measured
from torch.utils.flop_counter import FlopCounterMode

from lmnet import create_model, load_spec, optimize_for_inference
from lmnet.blocks import build_attention_kernel
from lmnet.builder.models import deploy
from lmnet.builder.planner import plan_spec
from lmnet.integrations.onnx import export_onnx
from lmnet.training.export.runtimes import onnxruntime_net, openvino_net

OURS = ("lmnet_fast", "lmnet_s", "efficientnet_lite0_lm", "lmnet_paper", "lmnet_release", "unet")
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


def planned_macs(name, image):
    """Return the planner's count for a net of the zoo, re-parameterised."""
    return plan_spec(load_spec(name), input_size=tuple(image.shape[2:])).deploy_macs


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
            count = planned_macs(name, image)
            for backend in ("torch", "compiled") if "lmnet" in name else ("torch",):
                macs[f"{name}, optimised, {backend}"] = count
                calls[f"{name}, optimised, {backend}"] = partial(run_net, net, backend, image)
    return calls, macs


def make_exported(names, image, threads, folder):
    """Return each exported net's call and its multiply-accumulates, by name and runtime."""
    calls, macs = {}, {}
    for number, name in enumerate(names):
        is_ours = name not in OTHERS
        net = deploy(create_model(name).eval()).requires_grad_(False) if is_ours else make_other(name)
        count = planned_macs(name, image) if is_ours else count_macs(net, image)
        path = Path(folder) / f"{number}.onnx"
        export_onnx(net, image.repeat(2, 1, 1, 1), path)
        for runtime, load in (("onnxruntime", onnxruntime_net), ("OpenVINO", openvino_net)):
            calls[f"{name}, {runtime}"] = partial(load(path, threads=threads), image)
            macs[f"{name}, {runtime}"] = count
    return calls, macs


def print_table(title, calls, macs, args):
    """Time the calls in turns and print a Markdown table."""
    times = median_ms(calls, repeats=args.repeats, clock=args.clock)
    print(f"\n{title}, batch 1, {args.size}x{args.size}\n")
    print("| net | GMACs | ms | images/s | GFLOP/s |\n|---|---|---|---|---|")
    for name, ms in times.items():
        print(f"| {name} | {macs[name] / 1e9:.2f} | {ms:.1f} | {1e3 / ms:.1f} | {2 * macs[name] / ms / 1e6:.0f} |")


def main() -> None:
    """Read the options and print Markdown tables."""
    parser = make_parser(__doc__, repeats=9)
    parser.add_argument("--nets", nargs="+", default=[*OURS, *OTHERS], help="names of the zoo, or of others' nets")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--runtimes", action="store_true", help="exported files too")
    args = read_options(parser)
    if not build_attention_kernel():
        parser.error("the compiled attention does not build here; install g++")
    print(where_measured(args))
    image = torch.randn(1, 3, args.size, args.size)
    print_table("PyTorch", *make_calls(args.nets, image), args)
    if args.runtimes:
        with tempfile.TemporaryDirectory() as folder:
            print_table("Exported", *make_exported(args.nets, image, args.threads, folder), args)


if __name__ == "__main__":
    main()
