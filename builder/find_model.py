"""Which files a MODEL is: one answer for every command and for Python, found without torch."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from lmnet.builder.files import BEST, SAVED
from lmnet.builder.problems import Problem, SpecError
from lmnet.builder.zoo import list_models, split_name, zoo_folder, zoo_path, zoo_weights

SPEC_FILE = "spec.yaml"
RUN_FILE = "run.json"
FOUND_SPEC = "best.yaml"
CHECKPOINT = "last.ckpt"
FOLDS_FILE = "folds.json"
"""Marks the folder of a cross-validation, which holds a run folder for each fold."""
EXPORTED = (".onnx", ".pt2")
_WEIGHTS = (".safetensors", ".pth", ".pt", ".ckpt", ".bin")

MODELS = (
    "a run folder, a folder of save_pretrained, the folder of a search, a zoo name (lmnet_xs, lmnet_xs@busi), an "
    "exported file, or a spec with weights"
)
"""What can be a MODEL, for messages."""


@dataclass(frozen=True)
class FoundModel:
    """The files that a MODEL is.

    Args:
        name: as it was given.
        spec: the spec's file; an exported file holds its spec itself, and this is that file.
        weights: the file of its weights; None for a spec and a plain zoo name, see ``with_weights``.
        folder: the folder that was given; None for a name or a file.
        is_chosen: whether weights were asked for: by a folder, ``NAME@DATA`` or a file. A plain zoo name may mean the
            spec alone.
    """

    name: str
    spec: Path
    weights: Path | None = None
    folder: Path | None = None
    is_chosen: bool = False

    @property
    def is_run(self) -> bool:
        """Whether it is a run folder of lmnet-train."""
        return self.folder is not None and (self.folder / RUN_FILE).is_file()

    @property
    def is_exported(self) -> bool:
        """Whether it is a file that a runtime runs, without layers."""
        return self.spec.suffix in EXPORTED


def find_model(model: str | Path, *, weights: str | Path | None = None) -> FoundModel:
    """Return the files that a MODEL is; nothing is read but a header.

    Args:
        model: a run folder, a folder of ``save_pretrained``, the folder of a search (its best net), a zoo name with or
            without ``@DATA``, an exported file (.onnx, .pt2, .safetensors), or a spec's file.
        weights: weights to use instead of its own; see ``weights_file``.

    Raises:
        SpecError: there is no such name or file.
        ValueError: the folder or file is no model, or it has no such weights.
    """
    net, _ = split_name(str(model))
    if weights is not None and net != str(model) and net in list_models():
        raise ValueError(f"{model}: it names weights already. Give {net} with --weights {weights}.")
    found = _found(str(model))
    if weights is None:
        return found
    if found.is_exported:
        raise ValueError(f"{model}: an exported file has its own weights. Leave --weights out.")
    return FoundModel(found.name, found.spec, weights_file(weights), found.folder, is_chosen=True)


def with_weights(found: FoundModel) -> FoundModel:
    """Return a model that has weights; those of a plain zoo name are looked for, and fetched if need be.

    Raises:
        ValueError: it is a spec, or a zoo name without shipped weights.
    """
    if found.weights is not None:
        return found
    if found.spec.resolve().parent == zoo_folder().resolve():
        return replace(found, weights=zoo_weights(found.spec.stem))
    beside = _folder_model(found.spec.resolve().parent) if found.spec.name in (SPEC_FILE, FOUND_SPEC) else None
    advice = (
        f"Give the folder {found.spec.parent}." if beside is not None and beside.weights else "Give --weights FILE."
    )
    raise ValueError(f"{found.name}: it is a spec, which has no weights. {advice}")


def weights_file(weights: str | Path) -> Path:
    """Return the file that ``--weights`` names: the file itself, what its folder holds, or what a zoo name ships.

    Args:
        weights: ``net.safetensors``; a run folder, a folder of ``save_pretrained`` or of a search; ``lmnet_xs`` or
            ``lmnet_xs@busi``.

    Raises:
        ValueError: there is no such file, the folder holds two or none, or the zoo ships no such weights.
    """
    path = Path(weights)
    if path.is_dir():
        return _weights_in(path)
    if path.exists():
        if path.suffix in EXPORTED:
            raise ValueError(f"{path}: an exported file is no file of weights. Give the folder or name it was made of.")
        _check_no_checkpoint(path)
        return path
    net, data = split_name(str(weights))
    if net in list_models():
        return zoo_weights(net, data)
    raise ValueError(
        f"{path}: there is no such file, and the zoo has no net of this name. Check the path, or name one of "
        f"{', '.join(list_models(pretrained=True))}."
    )


def _found(model: str) -> FoundModel:
    path = Path(model)
    if path.is_dir():
        _check_no_folds(path)
        found = _folder_model(path)
        if found is None:
            inside = ", ".join(sorted(each.name for each in path.iterdir())[:5]) or "nothing"
            raise ValueError(f"{path}: the folder is no model; it holds {inside}. A model is {MODELS}.")
        return found
    if path.is_file():
        return _file_model(path)
    net, data = split_name(model)
    if "@" in model and net in list_models():
        return FoundModel(model, zoo_path(net), zoo_weights(net, data), is_chosen=True)
    if path.suffix in (*EXPORTED, *_WEIGHTS):
        raise ValueError(f"{path}: there is no such file. Check the path.")
    spec = zoo_path(net)
    if not spec.exists():
        names = ", ".join(list_models())
        raise SpecError([Problem(str(spec), 1, 1, "", f"there is no such file. Zoo names: {names}.")])
    return FoundModel(model, spec)


def _folder_model(folder: Path) -> FoundModel | None:
    """Return the model that a folder holds, or None."""
    for spec, is_kind in (
        (SPEC_FILE, (folder / RUN_FILE).is_file() or (folder / SAVED).is_file()),
        (FOUND_SPEC, (folder / FOUND_SPEC).is_file()),
    ):
        if is_kind and (folder / spec).is_file():
            return FoundModel(str(folder), folder / spec, _weights_in(folder), folder, is_chosen=True)
    return None


def _check_no_folds(folder: Path) -> None:
    if (folder / FOLDS_FILE).is_file():
        raise ValueError(
            f"{folder}: it holds one net for each fold. lmnet-predict and --teacher take them together; here, give one "
            f"of them, such as {folder / 'fold-1'}."
        )


def _weights_in(folder: Path) -> Path:
    """Return a folder's file of weights.

    Raises:
        ValueError: it holds none, or two.
    """
    _check_no_folds(folder)
    there = [folder / name for name in (SAVED, BEST) if (folder / name).is_file()]
    if len(there) == 2:
        raise ValueError(
            f"{folder}: the folder must hold one file of weights, got {BEST} and {SAVED}. Name one of them."
        )
    if there:
        return there[0]
    if (folder / RUN_FILE).is_file():
        raise ValueError(f"{folder}: the run has no finished epoch yet, so it has no weights. Let it train first.")
    if (folder / FOUND_SPEC).is_file():
        raise ValueError(f"{folder}: the search kept no weights of its best net. Train {folder / FOUND_SPEC}.")
    raise ValueError(f"{folder}: the folder holds no {BEST} or {SAVED}. Give a file, or a folder that has one.")


def _file_model(path: Path) -> FoundModel:
    if path.suffix in EXPORTED:
        return FoundModel(str(path), path, path, is_chosen=True)
    _check_no_checkpoint(path)
    if path.suffix == ".safetensors" and "spec" in file_facts(path):
        return FoundModel(str(path), path, path, is_chosen=True)
    if path.suffix in _WEIGHTS:
        beside = _folder_model(path.resolve().parent)
        advice = f"Give the folder {path.parent}." if beside is not None else f"Give a spec with --weights {path}."
        raise ValueError(f"{path}: it is a file of weights without its spec. {advice}")
    with path.open("rb") as file:
        is_text = b"\0" not in file.read(1024)
    if not is_text:
        raise ValueError(f"{path}: it is no model. A model is {MODELS}.")
    return FoundModel(str(path), path)


def _check_no_checkpoint(path: Path) -> None:
    if path.name == CHECKPOINT and (path.parent / RUN_FILE).is_file():
        raise ValueError(
            f"{path}: it is what the run continues from, not a file of weights. Give the run folder {path.parent}. To "
            "train further, give --weights with that folder and a new --out."
        )


def file_facts(path: Path) -> dict[str, str]:
    """Return the strings in a safetensors file's header, unchecked; none if the header cannot be read."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length)) if length <= 100_000_000 else {}
        facts = header.get("__metadata__", {})
        return {str(key): str(value) for key, value in facts.items()}
    except (OSError, ValueError, RecursionError, AttributeError):
        return {}
