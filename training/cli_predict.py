"""``lmnet-predict``: masks, probability maps and overlays for images."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lmnet.builder.command_line import Parser, add_import_option, import_modules, run_command
from lmnet.training.data_arguments import add_intensity_option, check_model_exists, check_paths

if TYPE_CHECKING:  # torch is imported late, so that --help is quick
    pass

_EPILOG = """\
MODEL is a run folder, the folder of a search or of save_pretrained, a zoo name with shipped weights (lmnet_xs,
lmnet_xs@busi), an exported file (net.onnx), or a spec with --weights FILE.
For each image: NAME_mask.png, NAME_probability.png and NAME_overlay.png, at the image's own size; for each NIfTI file
NAME_mask.nii.gz with its affine. Masks of two classes are 0 and 255; of more, class numbers with a palette of colours.
areas.csv has the pixels of each class in each image.
Example: lmnet-predict lmnet_xs photo.jpg --out masks
"""


def build_parser() -> Parser:
    """Return the parser."""
    parser = Parser(
        prog="lmnet-predict",
        description="Segment images: files and folders, in the formats that Pillow reads, NIfTI and DICOM.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", metavar="MODEL", help="run folder, zoo name, exported file or spec; see below")
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="image or folder of images")
    parser.add_argument("--out", metavar="FOLDER", default="predictions", help="for the results (default: %(default)s)")
    parser.add_argument("--weights", help="a .safetensors file, a run folder or a zoo name, for a spec")
    parser.add_argument("--random-weights", action="store_true", help="an untrained net, for trying")
    parser.add_argument("--size", type=int, help="side in pixels that images are resized to (default: as in training)")
    parser.add_argument("--batch-size", type=int, default=8, help="images at once (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=0, help="processes that resize images (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    runtimes = ("torch", "onnxruntime", "openvino")
    parser.add_argument(
        "--runtime", choices=runtimes, default=runtimes[0], help="what runs the net (default: %(default)s)"
    )
    add = parser.add_argument
    add(
        "--threshold",
        type=float,
        metavar="P",
        help="lesion from this probability on (default: where it is the most probable class)",
    )
    add("--classes", metavar="NAME,...", help="classes to keep; others become background (default: all)")
    add("--flips", action="store_true", help="average over the image and its three mirror images; four times the work")
    add("--tile", type=int, default=0, metavar="PIXELS", help="cut large images into overlapping tiles of this side")
    add("--probabilities", action="store_true", help="also write NAME_probability_CLASS.png for each class")
    add_intensity_option(parser)
    add_import_option(parser)
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
    if args.random_weights and args.weights is not None:
        parser.error("--random-weights and --weights exclude each other. Leave one of them out")
    return run_command("lmnet-predict", lambda: _predict(args), debug=args.debug)


def _predict(args: argparse.Namespace) -> int:
    check_model_exists(args.model, weights=args.weights, needs_weights=not args.random_weights)
    check_paths("", *args.images)
    import_modules(args.imports)
    from lmnet.training.ensemble import is_folds

    if args.runtime != "torch" and is_folds(args.model):
        raise ValueError(
            f"--runtime: the nets of a cross-validation run in torch together, got {args.runtime}. Leave it out, or "
            "give one fold."
        )
