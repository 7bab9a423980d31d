"""Inference of a net against its training form, NCHW, with the gather path: time, memory and error.

    python benchmarks/inference.py [--nets lmnet_release] [--batch 1 4] [--size 224] [--repeats 9] [--threads 2]
        [--runtimes] [--clock cpu]

Prints a Markdown table for each net and batch size. Ratios are of medians; every form is called in turns in one
process. Peak memory is what one pass adds in a fresh process. An error is the largest difference from the baseline over
its largest value, at the size and at one that is 64 lower. With --runtimes, exported files too: the .pt2 file in torch,
the ONNX file in onnxruntime and OpenVINO (the extras `export` and `openvino`).
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import torch
from options import make_parser, median_ms, read_options, where_measured

from lmnet import create_model, optimize_for_inference
from lmnet.blocks import attention_backend, build_attention_kernel
from lmnet.training.export.benchmark import peak_in_process
from lmnet.training.export.formats import export_model
from lmnet.training.export.runtimes import onnxruntime_net, openvino_net

BASELINE = "training form, NCHW, gather"
FORMS = {
    BASELINE: (False, "gather"),
    "optimised, pure PyTorch": (True, "torch"),
    "optimised, compiled": (True, "compiled"),
}


def run_net(net, backend, image):
    """One pass."""
    with torch.inference_mode(), attention_backend(backend):
        return net(image)


def make_forms(spec):
    """Return each form's function of an image."""
    torch.manual_seed(0)
    net = create_model(spec).eval()
    nets = {False: net, True: optimize_for_inference(net)}
    return net, {name: partial(run_net, nets[fast], backend) for name, (fast, backend) in FORMS.items()}


def make_peak(spec, form, batch, size):
    """Return the warm-up and the pass whose peak is measured."""
    run = make_forms(spec)[1][form]
    image = torch.randn(batch, 3, size, size)
    return partial(run, image[:1, :, :64, :64]), partial(run, image)


def make_runtimes(net, folder: Path, size: int, threads: int) -> dict[str, Callable]:
    """Return functions of an image that run the exported net."""
    path, program = folder / "net.onnx", folder / "net.pt2"
    for file in (path, program):
        export_model(net, file, (size, size))
    return {
        "exported, torch": partial(run_net, torch.export.load(program).module(), "auto"),
        "onnxruntime, float32": onnxruntime_net(path, threads=threads),
        "onnxruntime, float32, shape fixed": fixed_onnxruntime(path, threads),
        "OpenVINO, float32": openvino_net(path, precision="f32", threads=threads),
        "OpenVINO, bfloat16": openvino_net(path, precision="bf16", threads=threads),
    }


def fixed_onnxruntime(path: Path, threads: int) -> Callable:
    """Return a function of an image that runs the file in onnxruntime, told the image's shape beforehand."""
    import onnxruntime

    @cache
    def session(shape):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        for name, size in zip(onnxruntime_names(path), shape, strict=True):
            if isinstance(name, str):
                options.add_free_dimension_override_by_name(name, size)
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    return lambda image: torch.from_numpy(session(image.shape).run(None, {"image": image.contiguous().numpy()})[0])


def onnxruntime_names(path: Path) -> list[str | int]:
    """Return what the file calls the sides of its image, numbers where they are fixed."""
    import onnxruntime

    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).get_inputs()[0].shape


def ratios(batch: int, size: int, args) -> dict[str, float]:
    """Return how many times faster than the baseline each form of lmnet_release is; the runtimes where installed."""
    image = torch.randn(batch, 3, size, size)
    net, runs = make_forms("lmnet_release")
    with tempfile.TemporaryDirectory() as folder:
        if importlib.util.find_spec("openvino") and importlib.util.find_spec("onnxruntime"):
            runs |= make_runtimes(net, Path(folder), size, args.threads)
        calls = {name: partial(run, image) for name, run in runs.items()}
        times = median_ms(calls, repeats=args.repeats, clock=args.clock)
    return {name: times[BASELINE] / value for name, value in times.items() if name != BASELINE}


def print_table(spec: str, runs: dict[str, Callable], batch: int, args) -> None:
    """Print times, ratios, peaks and errors at one batch size."""
    image = torch.randn(batch, 3, args.size, args.size, generator=torch.Generator().manual_seed(0))
    times = median_ms({n: partial(run, image) for n, run in runs.items()}, repeats=args.repeats, clock=args.clock)
    images = [image, image[:, :, 64:]]
    expected = [runs[BASELINE](each) for each in images]
    print(f"\n{spec}, batch {batch}, {args.size}x{args.size}\n")
    print("| form | ms | faster | peak MB | relative error |\n|---|---|---|---|---|")
    for name, run in runs.items():
        peak = f"{peak_in_process(make_peak, spec, name, batch, args.size) / 1e6:.0f}" if name in FORMS else "-"
        pairs = ((run(each), wanted) for each, wanted in zip(images, expected, strict=True))
        error = max(float((out - wanted).abs().max() / wanted.abs().max()) for out, wanted in pairs)
        print(
            f"| {name} | {times[name]:.1f} | {times[BASELINE] / times[name]:.2f}x | {peak} | {error:.1e} |", flush=True
        )


def main() -> None:
    """Read the options and print."""
    parser = make_parser(__doc__, repeats=9)
    parser.add_argument("--nets", nargs="+", default=["lmnet_release"])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--runtimes", action="store_true", help="onnxruntime and OpenVINO too")
    args = read_options(parser)
    if not build_attention_kernel():
        parser.error("the compiled attention does not build here; install g++")
    print(where_measured(args))
    for spec in args.nets:
        net, runs = make_forms(spec)
        with tempfile.TemporaryDirectory() as folder:
            if args.runtimes:
                runs |= make_runtimes(net, Path(folder), args.size, args.threads)
            for batch in args.batch:
                print_table(spec, runs, batch, args)


if __name__ == "__main__":
    main()
