"""Train nets of the zoo and what a user would take instead by one recipe on one split, and compare them image by image.

    python benchmarks/zoo.py ../shared/data/Kvasir-SEG --split-file split.json --size 128 --epochs 8 --out runs/zoo

Writes benchmarks/zoo.md and zoo.svg. Finished trainings are read from ``--out``; an unfinished one continues. Costs are
multiply-accumulates of torch's counter at the training size, batch 1, of the form that computes masks. Milliseconds are
medians of interleaved passes in one process, one thread. Needs the extras ``integration`` and ``pretrained``.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib
import torch
from matplotlib.figure import Figure
from torch import nn

import lmnet
from lmnet.blocks import build_kernels
from lmnet.blocks.encoder_weights import find_encoder_weights
from lmnet.builder.cross_check import count_with_torch
from lmnet.training import CaseScores, Recipe, compare, evaluate, fit, load_data, load_recipe, summarize
from lmnet.training.data.normalization import IMAGENET_MEAN, IMAGENET_STD
from lmnet.training.export.benchmark import describe_machine, measure_interleaved, one_pass
from lmnet.training.metrics.shown import value_with_interval

OUT = Path(__file__).with_name("zoo.md")
ENCODER = "tf_efficientnet_lite0"
PLOT = OUT.with_suffix(".svg")
METRIC = "dice_foreground_mean"


@dataclass(frozen=True)
class Start:
    """A net before its training.

    Args:
        model: with its first weights.
        mean: of the channels.
        std: of the channels.
    """

    model: nn.Module
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD


def ours(name: str, *, pretrained: bool = False) -> Callable[[], Start]:
    """Return how a zoo net starts."""

    def start() -> Start:
        model = lmnet.create_model(name, pretrained_encoder=pretrained)
        return Start(model, *model.normalization) if pretrained else Start(model)

    return start


def smp_unet_same_encoder() -> Start:
    """SMP's Unet on the same encoder with the same ImageNet weights."""
    import segmentation_models_pytorch as smp

    found = find_encoder_weights(ENCODER, "package")
    model = smp.Unet(f"tu-{ENCODER}", encoder_weights=None, classes=2)
    given = found.overlay["state_dict"]
    wanted = model.encoder.model.state_dict()
    model.encoder.model.load_state_dict({key: given[key] for key in wanted})
    return Start(model, found.mean, found.std)


def smp_unet_mobilenet() -> Start:
    """SMP's Unet on MobileNetV2, from scratch."""
    import segmentation_models_pytorch as smp

    return Start(smp.Unet("mobilenet_v2", encoder_weights=None, classes=2))


def monai_basic_unet() -> Start:
    """MONAI's BasicUNet with its default widths."""
    from monai.networks.nets import BasicUNet

    return Start(BasicUNet(spatial_dims=2, in_channels=3, out_channels=2))


NETS: dict[str, Callable[[], Start]] = {
    "efficientnet_lite0_lm_s": ours("efficientnet_lite0_lm_s", pretrained=True),
    "SMP Unet tu-tf_efficientnet_lite0": smp_unet_same_encoder,
    "lmnet_xs": ours("lmnet_xs"),
    "lmnet_s": ours("lmnet_s"),
    "unet (ours, plain)": ours("unet"),
    "SMP Unet mobilenet_v2": smp_unet_mobilenet,
    "MONAI BasicUNet": monai_basic_unet,
}


@dataclass(frozen=True)
class Row:
    """One trained net.

    Args:
        name: of the net.
        params: of the form that computes masks.
        gmacs: of that form.
        seconds: of training.
        val: best score on val.
        test: scores by image.
    """

    name: str
    params: int
    gmacs: float
    seconds: float
    val: float
    test: CaseScores


def main() -> None:
    """Train what is missing, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("data")
    add("--split-file")
    add("--nets", nargs="+", choices=list(NETS), default=list(NETS)[:2], metavar="NET", help=f"of {', '.join(NETS)}")
    add("--size", type=int, default=128)
    add("--epochs", type=int, default=8)
    add("--seed", type=int, default=0)
    add("--threads", type=int, default=1)
    add("--out", type=Path, default=Path("runs/zoo"))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    build_kernels()  # as lmnet-train does
    recipe = replace(load_recipe("small_machine"), size=args.size, epochs=args.epochs)
    data = load_data(args.data, seed=args.seed, split_file=args.split_file)
    rows = [train(name, data, recipe, args) for name in args.nets]
    speed = latencies(args.nets, args.size)
    draw(rows, speed)
    OUT.write_text(render(rows, speed, args, describe_machine()), encoding="utf-8")
    print(OUT.read_text(encoding="utf-8"))


def train(name: str, data: lmnet.training.DataSets, recipe: Recipe, args: argparse.Namespace) -> Row:
    """Return a net's row, trained now or before."""
    folder = args.out / f"{'_'.join(name.split())}-{args.size}-{args.epochs}-s{args.seed}"
    result = folder / "row.json"
    if not result.exists():
        torch.manual_seed(args.seed)
        start = NETS[name]()
        recipe = replace(recipe, mean=start.mean, std=start.std)
        fitted = fit(start.model, data, recipe, seed=args.seed, out=folder, device="cpu", workers=0)
        scores = evaluate(start.model, data.test, size=args.size, mean=start.mean, std=start.std, device="cpu")
        seconds = sum(epoch["seconds"] for epoch in fitted.history)
        result.write_text(json.dumps({"seconds": seconds, "val": fitted.score, "test": scores.dump()}))
    kept = json.loads(result.read_text())
    model = inference_form(NETS[name](), args.size)
    return Row(
        name,
        params=sum(parameter.numel() for parameter in model.parameters()),
        gmacs=count_with_torch(model, ((3, args.size, args.size),)) / 1e9,
        seconds=kept["seconds"],
        val=kept["val"],
        test=CaseScores.load(kept["test"]),
    )


def inference_form(start: Start, size: int) -> nn.Module:
    """Return a net as one computes masks with it: ours optimised, others in eval mode, all channels last."""
    if hasattr(start.model, "spec"):
        return lmnet.optimize_for_inference(start.model, input_shape=(3, size, size))
    return start.model.eval().to(memory_format=torch.channels_last)


def latencies(names: list[str], size: int) -> dict[str, tuple[float, float, float]]:
    """Return each net's quartiles in milliseconds, batch 1, interleaved."""
    image = torch.randn(1, 3, size, size).contiguous(memory_format=torch.channels_last)
    nets = [inference_form(NETS[name](), size) for name in names]
    measured = measure_interleaved([one_pass(net, image) for net in nets], repeats=40)
    quartiles = [statistics.quantiles(times, n=4) for times in measured]
    return {name: tuple(1000 * value for value in values) for name, values in zip(names, quartiles, strict=True)}


def draw(rows: list[Row], speed: dict[str, tuple[float, float, float]]) -> None:
    """Draw test Dice with its interval against GMACs and against milliseconds: circles are nets of the zoo."""
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, label in zip(panels, ("GMACs", "milliseconds (batch 1, one thread)"), strict=True):
        for row in rows:
            at = row.gmacs if label == "GMACs" else speed[row.name][1]
            summary = summarize(row.test)
            dice, (low, high) = summary[METRIC], summary[f"{METRIC}_interval"]
            mark = "o" if row.name in lmnet.list_models() else "s"
            axes.errorbar(at, dice, [[dice - low], [high - dice]], fmt=mark, capsize=3, label=row.name)
        axes.set(xlabel=label, xlim=(0, None))
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("test lesion Dice, Kvasir-SEG")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper", fontsize=8, frameon=False)
    with matplotlib.rc_context({"svg.hashsalt": "lmnet"}):
        figure.savefig(PLOT, metadata={"Date": None, "Creator": None})


def render(
    rows: list[Row], speed: dict[str, tuple[float, float, float]], args: argparse.Namespace, machine: str
) -> str:
    """Return the page."""
    first = rows[0]
    lines = [
        "# Nets of the zoo beside what a user would take instead",
        "",
        f"Written by `python benchmarks/zoo.py`: recipe `small_machine` at {args.size} px for {args.epochs} epochs, "
        f"seed {args.seed}, one training run each, scored on the same {len(first.test)} test images. {machine}; torch "
        f"{torch.__version__}. Parameters, GMACs and milliseconds (batch 1, {args.threads} thread, interleaved, median "
        "and quartiles) are of the form that computes masks. Training shared the machine with other work, so its "
        "minutes say little. The last column is the difference of test Dice to the first row, "
        "image by image, with its 95 % interval by bootstrap and Wilcoxon's p.",
        "",
        "| net | parameters | GMACs | ms | training, min | val Dice | test Dice | minus the first row |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        low, middle, high = speed[row.name]
        compared = compare(first.test, row.test)
        gain = compared.of(METRIC)
        beside = f"{gain.difference:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}], p {compared.p_value:.2g}"
        lines.append(
            f"| {row.name} | {row.params / 1e6:.2f} M | {row.gmacs:.3f} ({row.gmacs / first.gmacs:.2f}x) "
            f"| {middle:.1f} ({low:.1f} to {high:.1f}) | {row.seconds / 60:.0f} | {row.val:.3f} "
            f"| {value_with_interval(summarize(row.test), METRIC)} | {'-' if row is first else beside} |"
        )
    lines += ["", f"![Test Dice against GMACs, and against milliseconds]({PLOT.name})"]
    missing = [name for name in NETS if name not in [row.name for row in rows]]
    return "\n".join([*lines, "", f"Not run: {', '.join(missing) or 'none'}.", ""])


if __name__ == "__main__":
    main()
