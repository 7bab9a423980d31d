"""``lmnet-predict``: masks, probability maps and overlays for pictures."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from lmnet.builder.command_line import DONE, run_command

_EPILOG = """\
MODEL is a run folder, a zoo name with shipped weights, or a spec with --weights FILE.
For each picture: NAME_mask.png, NAME_probability.png and NAME_overlay.png, at the picture's own size.
Example: lmnet-predict lmnet_xs photo.jpg --out masks
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = argparse.ArgumentParser(
        prog="lmnet-predict",
        description="Segment pictures: JPEG, PNG, TIFF or BMP, single files and folders.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", metavar="MODEL", help="run folder, zoo name or spec")
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="picture or folder of pictures")
    parser.add_argument("--out", metavar="FOLDER", default="predictions", help="(default: %(default)s)")
    parser.add_argument("--weights", metavar="FILE", help="weights (.safetensors) for a spec")
    parser.add_argument("--size", type=int, help="side in pixels to feed the model (default: as it was trained)")
    parser.add_argument("--batch-size", type=int, default=8, help="pictures at once (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=0, help="processes that read pictures (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    runtimes = ("torch", "onnxruntime", "openvino")
    parser.add_argument("--runtime", choices=runtimes, default=runtimes[0], help="what computes (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON list")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.batch_size < 1 or args.workers < 0:
        parser.error(f"--batch-size must be at least 1 and --workers at least 0, got {args.batch_size}, {args.workers}")
    if args.runtime != "torch" and args.device not in ("auto", "cpu"):
        parser.error(f"--runtime {args.runtime} computes on the CPU, got --device {args.device}. Leave --device out.")
    return run_command("lmnet-predict", lambda: _predict(args), debug=args.debug)


def _predict(args: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.progress import track

    from lmnet.builder.graph import GraphModel
    from lmnet.builder.runtimes import runtime_net
    from lmnet.training.opened_model import open_model
    from lmnet.training.prediction import check_pictures, find_pictures, predict

    found = find_pictures([Path(image) for image in args.images])
    paths = [path for path, _ in found]
    check_pictures(paths)
    opened = open_model(args.model, weights=args.weights, size=args.size)
    predictions = predict(
        runtime_net(cast(GraphModel, opened.model), args.runtime),
        paths,
        batch_size=args.batch_size,
        workers=args.workers,
        device=args.device if args.runtime == "torch" else "cpu",
        **opened.settings(),
    )
    rows = []
    watched = track(
        zip(predictions, found, strict=True),
        total=len(found),
        description="predicting",
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    )
    for prediction, (path, name) in watched:
        mask, probability, overlay = prediction.save(Path(args.out), name)
        rows.append(
            {
                "image": str(path),
                "mask": str(mask),
                "probability": str(probability),
                "overlay": str(overlay),
                "lesion_share": float((prediction.mask > 0).mean()),
            }
        )
    if args.json:
        print(json.dumps(rows))
    else:
        for row in rows:
            print(f"{row['mask']}  {row['lesion_share']:.1%} lesion")
    return DONE


if __name__ == "__main__":
    sys.exit(main())
