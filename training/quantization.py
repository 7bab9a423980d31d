"""int8 files for onnxruntime: calibrated on images of a data set, kept only where they score nearly as well.

Source: onnxruntime's static quantization, https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
"""

from __future__ import annotations

import contextlib
import io
import logging
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from lmnet.builder.benchmark import measure_interleaved
from lmnet.builder.export import export_model
from lmnet.builder.files import written_aside
from lmnet.builder.graph import GraphModel
from lmnet.builder.picture import IMAGENET_MEAN, IMAGENET_STD, normalized
from lmnet.builder.runtimes import FileNet, check_installed, onnxruntime_net
from lmnet.training.data.case_set import CaseSet
from lmnet.training.data.load import load_data
from lmnet.training.evaluation import evaluate
from lmnet.training.inference import probe_classes
from lmnet.training.loaders import scoring_loader
from lmnet.training.metrics.store import CaseScores

IMAGES = 100
"""Most images to calibrate on."""
PERCENTILE = 99.99
"""Values beyond it are clipped: measured on efficientnet_lite0_lm_s, whole ranges lose five times as much Dice."""
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
        megabytes: of the float32 and the int8 file.
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
    path: str | Path,
    size: int,
    data: str,
    *,
    max_loss: float = 0.01,
    facts: Mapping[str, str] | None = None,
) -> QuantizedFile:
    """Write an int8 ONNX file whose convolutions, but the first, compute in 8 bits; the rest stays float32.

    Args:
        model: the net with its trained weights, on the CPU.
        path: the file, ending in .onnx.
        size: side in pixels of the images.
        data: a data set, see ``load_data``; split of seed 0: ranges from train, scores on test.
        max_loss: most Dice that may be lost.
        facts: kept in the file.

    Raises:
        ValueError: the file does not end in .onnx, or more Dice is lost; no file is written then.
        DataError: the data cannot be read.
        ImportError: the packages for ONNX are missing.
    """
    path = Path(path)
    if path.suffix != ".onnx":
        raise ValueError(f"quantize: the file must end in .onnx, got {path.name}. Name it so.")
    check_installed("onnxruntime")
    channels = model.plan.input_shape[0]
    mean, std = model.normalization or (IMAGENET_MEAN, IMAGENET_STD)
    sets = load_data(data, seed=0, num_classes=probe_classes(model, size=size, in_channels=channels))
    with tempfile.TemporaryDirectory() as folder, written_aside(path, suffix=path.suffix) as small:
        whole = Path(folder) / "float32.onnx"
        export_model(model, whole, (size, size))
        nets = [FileNet(onnxruntime_net(whole), model.plan.stride)]
        images = [nets[0].padded(normalized(image, mean, std)) for image in _images(sets.train, size, channels)]
        _quantize(whole, small, images, {**(facts or {}), "quantized": "int8 convolutions"})
        nets.append(FileNet(onnxruntime_net(small), model.plan.stride))
        scores = [
            evaluate(net, sets.test, size=size, in_channels=channels, mean=mean, std=std, device="cpu") for net in nets
        ]
        seconds = measure_interleaved([lambda net=net: net(images[0]) for net in nets], repeats=15)  # type: ignore[misc]
        before, after = (1e3 * statistics.median(times) for times in seconds)
        result = QuantizedFile(
            sets.name,
            len(images),
            len(scores[0]),
            _both(scores),
            (before, after),
            (whole.stat().st_size / 1e6, small.stat().st_size / 1e6),
        )
        if not result.loss <= max_loss:
            raise ValueError(
                f"quantize: at most {max_loss} Dice may be lost, got {result.loss:.4f}. {result}. No file was written. "
                "Give --max-loss, or export the float32 file."
            )
    return result


def _both(scores: Sequence[CaseScores]) -> tuple[float, float]:
    before, after = (score.values()[METRIC] for score in scores)
    return before, after


def _images(cases: CaseSet, size: int, channels: int) -> Iterator[Tensor]:
    """Return up to IMAGES images (1, C, S, S) uint8, evenly from all cases."""
    step = max(1, -(-len(cases) // IMAGES))
    chosen = cases.subset(range(0, len(cases), step))
    return (image for image, _, _ in scoring_loader(chosen.at(size, channels), batch_size=1))


def _quantize(whole: Path, small: Path, images: Sequence[Tensor], facts: Mapping[str, str]) -> None:
    """Write the int8 file of a float32 file."""
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter(images)

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
            extra_options={"CalibPercentile": PERCENTILE},
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
