"""int8 files for onnxruntime: calibrated on images of a data set, kept only if they score nearly as well.

Source: onnxruntime's static quantization, https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
"""

from __future__ import annotations

import contextlib
import io
import logging
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from lmnet.builder.files import written_aside
from lmnet.builder.graph import GraphModel
from lmnet.builder.weights import Weights
from lmnet.training.data.case_set import CaseSet
from lmnet.training.data.normalization import normalized
from lmnet.training.export.benchmark import measure_interleaved
from lmnet.training.export.formats import export_model
from lmnet.training.export.runtimes import FileNet, check_installed, onnxruntime_net
from lmnet.training.fitting.loaders import scoring_loader
from lmnet.training.runs.opened_model import OpenedModel, opened_with
from lmnet.training.runs.run_folder import RunFolder
from lmnet.training.runs.score_run import Say, cases_of, score_model
from lmnet.training.runs.train_run import DataChoice

IMAGES = 100
"""Most images to calibrate on."""
PERCENTILE = 99.99
"""Values beyond it are clipped, so that a few outliers do not widen a range."""
METRIC = "dice_foreground_mean"


@dataclass(frozen=True)
class QuantizedFile:
    """An int8 file beside the float32 file of the same net.

    Args:
        data: name of the data set.
        calibrated: training images that the ranges were taken from.
        scored: test images that both files were scored on.
        dice: lesion Dice, mean over the test images, of the float32 and the int8 file.
        milliseconds: median of one image in onnxruntime, of the float32 and the int8 file, in turns.
        megabytes: size of the float32 and of the int8 file.
    """

    data: str
    calibrated: int
    scored: int
    dice: tuple[float, float]
    milliseconds: tuple[float, float]
    megabytes: tuple[float, float]

    @property
    def loss(self) -> float:
        """Dice lost."""
        return self.dice[0] - self.dice[1]

    def __str__(self) -> str:
        before, after = self.milliseconds
        return (
            f"int8: Dice {self.dice[1]:.4f}, float32 {self.dice[0]:.4f} ({self.scored} test images of {self.data}; "
            f"calibrated on {self.calibrated} training images); {after:.1f} ms an image, float32 {before:.1f} ms "
            f"({before / after:.2f}x); {self.megabytes[1]:.1f} MB, float32 {self.megabytes[0]:.1f} MB"
        )


def export_int8(
    model: GraphModel,
    weights: Weights | None,
    path: str | Path,
    data: DataChoice,
    *,
    size: int | None = None,
    max_loss: float = 0.01,
    facts: Mapping[str, str] | None = None,
    say: Say = lambda text: None,
) -> QuantizedFile:
    """Write an int8 ONNX file whose convolutions, but the first, compute in 8 bits; the rest stays float32.

    Ranges are taken from training images, scores from test images: those of the run that the weights are from, else of
    the split of seed 0. What values mean is what they meant in training.

    Args:
        model: the net, on the CPU.
        weights: what it holds; None for random ones.
        path: the file, ending in .onnx.
        data: the data set, its split, and what its values mean.
        size: side in pixels of the images; None for the one it was trained at.
        max_loss: most Dice that may be lost.
        facts: kept in the file.
        say: gets a line for each phase, and notes, above all if test images may have been trained on.

    Raises:
        ValueError: the file does not end in .onnx, or more Dice is lost; no file is written then.
        DataError: the data cannot be read.
        ImportError: the packages for ONNX are missing.
    """
    path = Path(path)
    if path.suffix != ".onnx":
        raise ValueError(f"quantize: the file must end in .onnx, got {path.name}. Name it so.")
    check_installed("onnxruntime")
    folder = RunFolder(weights.path.parent) if weights is not None else None
    is_run = folder is not None and folder.file("split").is_file()
    opened = opened_with(model, weights, size=size, run=folder if is_run else None)
    say("reading the images to calibrate on")
    name, train, _ = cases_of(opened, data, side="train")
    with tempfile.TemporaryDirectory() as aside, written_aside(path, suffix=path.suffix) as small:
        whole = Path(aside) / "float32.onnx"
        export_model(model, whole, (opened.size, opened.size), say=say)
        before = FileNet(onnxruntime_net(whole), model.plan.stride)
        images = [before.padded(image) for image in _images(train, opened)]
        say(f"quantising: value ranges of {len(images)} training images")
        _quantize(whole, small, images, {**(facts or {}), "quantized": "int8 convolutions"})
        after = FileNet(onnxruntime_net(small), model.plan.stride)
        say("scoring the float32 and the int8 file on the test images")
        first, _ = score_model(replace(opened, model=before), data, side="test", device="cpu", say=say)
        if not first.has_lesion.any():
            raise ValueError(
                f"quantize: none of the {len(first)} test images has a lesion to score by. Use other data."
            )
        second, _ = score_model(replace(opened, model=after), data, side="test", device="cpu")
        say("timing both files, in turns")
        seconds = measure_interleaved([lambda: before(images[0]), lambda: after(images[0])], repeats=15)
        slow, fast = (1e3 * statistics.median(times) for times in seconds)
        result = QuantizedFile(
            name,
            len(images),
            len(first),
            (first.values()[METRIC], second.values()[METRIC]),
            (slow, fast),
            (whole.stat().st_size / 1e6, small.stat().st_size / 1e6),
        )
        if not result.loss <= max_loss:
            raise ValueError(
                f"quantize: at most {max_loss} Dice may be lost, got {result.loss:.4f}. {result}. No file was written. "
                "Give --max-loss, or export the float32 file."
            )
    return result


def _images(cases: CaseSet, opened: OpenedModel) -> Iterator[Tensor]:
    """Return up to IMAGES images (1, C, S, S) as the net is fed them, evenly from all cases."""
    step = max(1, -(-len(cases) // IMAGES))
    chosen = cases.subset(range(0, len(cases), step)).at(opened.size, opened.in_channels)
    return (normalized(image, opened.mean, opened.std) for image, _, _ in scoring_loader(chosen, batch_size=1))


def _quantize(whole: Path, small: Path, images: Sequence[Tensor], facts: Mapping[str, str]) -> None:
    """Write the int8 file of a float32 file."""
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(quantization.CalibrationDataReader):
        def __len__(self) -> int:
            return len(images)

        def set_range(self, start_index: int, end_index: int) -> None:
            self.left = iter(images[start_index:end_index])

        def get_next(self) -> dict[str, Any] | None:
            image = next(self.left, None)
            return None if image is None else {"image": image.numpy()}

    folded = whole.with_name("folded.onnx")
    with _quiet():
        quant_pre_process(str(whole), str(folded), skip_symbolic_shape=True)
        first = next(node.name for node in onnx.load(folded).graph.node if node.op_type == "Conv")
        quantization.quantize_static(
            str(folded),
            str(small),
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=[first],
            calibrate_method=quantization.CalibrationMethod.Percentile,
            # the maps of one image at a time are in memory: those of all images of lmnet_paper were 22 GB
            extra_options={"CalibPercentile": PERCENTILE, "CalibStridedMinMax": 1},
        )
    file = onnx.load(small)
    onnx.helper.set_model_props(file, dict(facts))
    onnx.save(file, small)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep onnxruntime's advice on quantization from the terminal."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
