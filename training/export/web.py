"""A folder of static files that runs nets in the browser; images stay on the device."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from lmnet.blocks.cache_folder import cache_folder
from lmnet.builder.files import write_durably
from lmnet.builder.graph import GraphModel
from lmnet.training.data.intensities import Intensities
from lmnet.training.data.meaning import DataMeaning
from lmnet.training.export.formats import Say, export_model

TEMPLATES = Path(__file__).with_name("web")
STATIC = ("page.css", "page.js", "resize.js", "segment.js")
NETS = "nets.json"
RUNTIME_VERSION = "1.23.2"
RUNTIME_FILES = {
    "ort.wasm.min.js": "c6bc9f8e1d0ecc3983a57910e6a30b2230a512bcd2e0207cd64306459c3de7b4",
    "ort-wasm-simd-threaded.mjs": "90a557d15c02bac4504d95b67f431d8594635ed2a0a62a7f2cd83d090ff91d3e",
    "ort-wasm-simd-threaded.wasm": "45eaee27761ad883742a8d4b8fce1538d60ce43b51adf1726fafccc59b8c1a15",
}
"""Files of onnxruntime-web (MIT licence) that the page needs → their SHA-256."""
NPM_TIMEOUT_S = 300


def is_page(target: str) -> bool:
    """Return whether ``--export`` names a folder, not a file: it ends in / or is one."""
    return target.endswith("/") or Path(target).is_dir()


def write_page(
    model: GraphModel,
    folder: str | Path,
    *,
    name: str,
    facts: Mapping[str, str],
    runtime: str | None = None,
    say: Say = lambda text: None,
) -> Path:
    """Write a net into a page, or add it to the nets of a page that was written before.

    Args:
        model: the net, on the CPU.
        folder: made if it does not exist.
        name: what the page calls the net, and its file.
        facts: what stands in the file, see ``export_facts``.
        runtime: onnxruntime-web: a folder that holds its files, or the https:// address of one, from which the page
            then loads them; None to fetch it with npm and keep it in the cache.
        say: gets a line for each phase.

    Returns:
        the net's file.

    Raises:
        ValueError: the folder holds other things, the net takes images that a browser has not, or the runtime's files
            cannot be had.
        ImportError: the packages for ONNX are missing.
    """
    folder = Path(folder)
    nets = _nets_of(folder)
    channels = int(facts["in_channels"])
    if channels not in (1, 3):
        raise ValueError(
            f"page: the net takes {channels} channels, and a browser's images have three. Export net.onnx."
        )
    if "data" in facts and DataMeaning.load(facts["data"], where=name).intensities != Intensities():
        raise ValueError(
            "page: the net was trained on images whose values were scaled to 8 bits, and a browser cannot read such "
            "files. Export net.onnx."
        )
    folder.mkdir(parents=True, exist_ok=True)
    place = _put_runtime(folder, runtime, say)
    path = folder / f"{name}.onnx"
    size = int(facts["size"])
    export_model(model, path, (size, size), facts=facts, say=say)
    nets = [net for net in nets if net["file"] != path.name]
    nets.append(_entry(name, path, facts))
    write_durably(folder / NETS, json.dumps(nets, indent=1).encode())
    for each in STATIC:
        write_durably(folder / each, (TEMPLATES / each).read_bytes())
    write_durably(folder / "index.html", _index(nets, place).encode())
    return path


def _entry(name: str, path: Path, facts: Mapping[str, str]) -> dict[str, Any]:
    """Return what the page must know of a net."""
    names, colors = json.loads(facts["class_names"]), json.loads(facts["class_colors"])
    return {
        "name": name,
        "file": path.name,
        "size": int(facts["size"]),
        "stride": int(facts["stride"]),
        "in_channels": int(facts["in_channels"]),
        "mean": json.loads(facts["mean"]),
        "std": json.loads(facts["std"]),
        "classes": [{"name": each, "color": color} for each, color in zip(names, colors, strict=True)],
        "licence": facts.get("licence", ""),
        "megabytes": path.stat().st_size / 1e6,
    }


def _nets_of(folder: Path) -> list[dict[str, Any]]:
    """Return the nets of a page that was written before; none of a new or empty folder.

    Raises:
        ValueError: it is a file, or a folder of other things.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return []
    try:
        nets: list[dict[str, Any]] = json.loads((folder / NETS).read_text(encoding="utf-8"))
        return [net for net in nets if (folder / net["file"]).is_file()]
    except (OSError, ValueError, TypeError, KeyError) as err:
        raise ValueError(f"page: {folder} holds other things than a page of lmnet. Name a new folder.") from err


def _index(nets: list[dict[str, Any]], runtime: str) -> str:
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)
    address = urlsplit(runtime)
    host = f" {address.scheme}://{address.netloc}" if address.netloc else ""
    title = f"lmnet: {', '.join(net['name'] for net in nets)}"
    return environment.get_template("index.html").render(title=title, runtime=runtime, host=host)


def _put_runtime(folder: Path, runtime: str | None, say: Say) -> str:
    """Copy onnxruntime-web's files into the page; return where the page finds them.

    Raises:
        ValueError: a file is missing or another one than the page was tested with.
    """
    if runtime is not None and runtime.startswith("https://"):
        return f"{runtime.rstrip('/')}/"
    source = Path(runtime) if runtime is not None else _from_npm(say)
    for file, digest in RUNTIME_FILES.items():
        if not (source / file).is_file():
            raise ValueError(
                f"--web-runtime: {source} has no {file}. Give the folder dist/ of onnxruntime-web {RUNTIME_VERSION}."
            )
        content = (source / file).read_bytes()
        if sha256(content).hexdigest() != digest:
            raise ValueError(
                f"--web-runtime: {source / file} is not that of onnxruntime-web {RUNTIME_VERSION}. Give that version."
            )
        write_durably(folder / file, content)
    return "./"


def _from_npm(say: Say) -> Path:
    """Return the folder of onnxruntime-web's files in the cache; npm fetches them the first time.

    Raises:
        ValueError: npm is not there or fails.
    """
    cache = cache_folder() or Path(tempfile.gettempdir()) / "lmnet"
    kept = cache / f"onnxruntime-web-{RUNTIME_VERSION}"
    if all((kept / file).is_file() for file in RUNTIME_FILES):
        return kept
    package = f"onnxruntime-web@{RUNTIME_VERSION}"
    advice = (
        f"Give its files: --web-runtime FOLDER (dist/ of {package}), or let the page load them from a host: "
        f"--web-runtime https://cdn.jsdelivr.net/npm/{package}/dist/"
    )
    npm = shutil.which("npm")
    if npm is None:
        raise ValueError(f"page: it needs {package}, and there is no npm here to fetch it. {advice}")
    say(f"fetching {package} with npm (26 MB, kept in {cache})")
    with tempfile.TemporaryDirectory() as aside:
        command = [npm, "pack", "--silent", package]
        try:
            subprocess.run(command, cwd=aside, check=True, capture_output=True, timeout=NPM_TIMEOUT_S)
            shutil.unpack_archive(next(Path(aside).glob("*.tgz")), aside, filter="data")
        except (OSError, subprocess.SubprocessError, StopIteration, shutil.ReadError) as err:
            raise ValueError(f"page: npm could not fetch {package} ({type(err).__name__}). {advice}") from err
        kept.mkdir(parents=True, exist_ok=True)
        for file in RUNTIME_FILES:
            write_durably(kept / file, (Path(aside) / "package" / "dist" / file).read_bytes())
    return kept
