"""Exported files as models: what runs them, and what stands in their metadata."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from lmnet.builder.planner import plan_spec
from lmnet.builder.spec import parse_spec
from lmnet.training.export.formats import FACTS_FILE
from lmnet.training.export.runtimes import FileNet, onnxruntime_session, run_of


def open_exported(path: Path) -> tuple[nn.Module, str, dict[str, str]]:
    """Return what runs an exported .onnx or .pt2 file, the net's name, and the facts in the file.

    Raises:
        ValueError: the file cannot be read, or was not written by lmnet.
        ImportError: onnxruntime is missing.
    """
    try:
        run, facts = _onnx(path) if path.suffix == ".onnx" else _pt2(path)
    except ImportError:
        raise
    except Exception as err:  # noqa: BLE001 - a damaged file raises anything
        line = textwrap.shorten((str(err).strip() or type(err).__name__).splitlines()[0], 200, placeholder=" ...")
        raise ValueError(f"{path}: it is no whole {path.suffix} file ({line}). Export it again.") from err
    if "spec" not in facts:
        raise ValueError(
            f"{path}: it does not say how images are prepared for it. Export it with lmnet-build --export."
        )
    spec = parse_spec(facts["spec"], str(path))
    stride = int(facts["stride"]) if facts.get("stride", "").isdecimal() else plan_spec(spec).stride
    given = {"in_channels": str(spec.layout.input.channels), "size": str(min(spec.layout.input.size)), **facts}
    return FileNet(run, stride, path), spec.name, given


def _onnx(path: Path) -> tuple[Callable[[Tensor], Tensor], dict[str, str]]:
    session = onnxruntime_session(path)
    return run_of(session), dict(session.get_modelmeta().custom_metadata_map)


def _pt2(path: Path) -> tuple[Callable[[Tensor], Tensor], dict[str, str]]:
    extra = {FACTS_FILE: ""}
    program = torch.export.load(path, extra_files=extra)
    facts = json.loads(extra[FACTS_FILE] or "{}")
    module = program.module()
    return lambda image: module(image), {str(key): str(value) for key, value in facts.items()}
