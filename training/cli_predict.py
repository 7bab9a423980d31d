"""``lmnet-predict``: masks, probability maps and overlays for images."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmnet.builder.command_line import DONE, Parser, add_import_option, import_modules, run_command, say
from lmnet.training.data_arguments import (
    add_class_names_option,
    add_intensity_option,
    check_model_exists,
    check_paths,
    value_options,
)

if TYPE_CHECKING:  # torch is imported late, so that --help is quick
    from lmnet.training.prediction.predict import MaskRules, Prediction
    from lmnet.training.prediction.prediction_files import Target

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
    parser.add_argument(
        "--out", metavar="FOLDER", default="predictions", help="folder for the results (default: %(default)s)"
    )
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
        help="least probability of a lesion pixel (default: the most probable class wins)",
    )
    add("--classes", metavar="NAME,...", help="classes to keep; others become background (default: all)")
    add("--flips", action="store_true", help="average over the image and its three mirror images; four times the work")
    add("--tile", type=int, default=0, metavar="PIXELS", help="cut large images into overlapping tiles of this side")
    add("--probabilities", action="store_true", help="also write NAME_probability_CLASS.png for each class")
    add_class_names_option(parser)
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
    from lmnet.builder.graph import GraphModel
    from lmnet.builder.models import create_model
    from lmnet.training.export.runtimes import runtime_net
    from lmnet.training.runs.run_folder import is_folds

    if args.runtime != "torch" and is_folds(args.model):
        raise ValueError(
            f"--runtime: the nets of a cross-validation run in torch together, got {args.runtime}. Leave it out, or "
            "give one fold."
        )
    from lmnet.training.prediction.inference import resolve_device
    from lmnet.training.prediction.predict import predict
    from lmnet.training.prediction.prediction_files import find_images
    from lmnet.training.runs.opened_model import open_model, opened_with, with_class_names

    resolve_device(args.device)  # before anything is read
    rules = _rules(args)
    out = Path(args.out)
    targets, notes = find_images([Path(image) for image in args.images], out)
    for note in notes:
        say(f"note: {note}")
    if args.random_weights:
        opened = opened_with(create_model(args.model), None, size=args.size)
    else:
        opened = open_model(args.model, weights=args.weights, size=args.size)
    for note in opened.notes:
        say(f"note: {note}")
    meaning = with_class_names(opened, args.class_names)
    predictions = predict(
        runtime_net(opened.model, args.runtime, say=say) if isinstance(opened.model, GraphModel) else opened.model,
        [target.file for target in targets],
        batch_size=args.batch_size,
        workers=args.workers,
        device=args.device if args.runtime == "torch" else "cpu",
        meaning=meaning,
        options=value_options(args),
        rules=rules,
        **opened.settings(),
    )
    _print(_save(predictions, targets, out, each_class=args.probabilities), as_json=args.json)
    return DONE


def _rules(args: argparse.Namespace) -> MaskRules:
    from lmnet.training.prediction.predict import MaskRules

    kept = tuple(name.strip() for name in args.classes.split(",")) if args.classes else ()
    return MaskRules(threshold=args.threshold, classes=kept, flips=args.flips, tile=args.tile)


def _save(
    predictions: Iterator[Prediction], targets: Sequence[Target], out: Path, *, each_class: bool
) -> list[dict[str, Any]]:
    """Write each prediction as it comes, then the volumes and areas.csv; return a row for each image."""
    from rich.console import Console
    from rich.progress import track

    from lmnet.training.data.medical_files import is_nifti
    from lmnet.training.prediction.prediction_files import Area, save_areas, save_volumes

    rows, areas, volumes = [], list[Area](), dict[Path, tuple[Path, str, list[Any]]]()
    watched = track(
        zip(predictions, targets, strict=True),
        total=len(targets),
        description="predicting",
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    )
    for prediction, target in watched:
        size = prediction.mask.size
        areas += [Area(target.name, name, pixels, pixels / size) for name, pixels in prediction.areas.items()]
        if is_nifti(prediction.path):  # its mask is NIfTI too
            name = target.name.rpartition("_")[0] if prediction.index is not None else target.name
            volumes.setdefault(prediction.path, (prediction.path, name, []))[2].append(prediction.mask)
            continue
        mask, probability, drawn = prediction.save(out, target.name, each_class=each_class)[:3]
        shares = {name: pixels / size for name, pixels in prediction.areas.items()}
        row = {"image": str(prediction.path), "mask": str(mask), "probability": str(probability), "overlay": str(drawn)}
        rows.append({**row, "lesion_share": sum(shares.values()), "class_shares": shares})
    for (source, _, masks), path in zip(volumes.values(), save_volumes(list(volumes.values()), out), strict=True):
        share = sum(float((mask > 0).mean()) for mask in masks) / len(masks)
        rows.append({"image": str(source), "mask": str(path), "lesion_share": share, "slices": len(masks)})
    save_areas(areas, out)
    return rows


def _print(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(rows))
        return
    for row in rows:
        shares = row.get("class_shares", {"lesion": row["lesion_share"]})
        drawn = f"  {row['overlay']}" if "overlay" in row else ""
        print(f"{row['mask']}{drawn}  {', '.join(f'{share:.1%} {name}' for name, share in shares.items())}")


if __name__ == "__main__":
    sys.exit(main())
