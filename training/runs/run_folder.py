"""A run's folder: what was asked for, so that the same command continues and another one is refused."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from lmnet.builder.files import clear_leftovers, write_durably
from lmnet.builder.find_model import FOLDS_FILE
from lmnet.builder.process_identity import OWNER
from lmnet.training.data.load import DataSets
from lmnet.training.data.splits import SIDES, Split
from lmnet.training.fitting.recipe import Recipe

MANIFEST = "run.json"
FORMAT = "lmnet-run/1"
FILES = {
    "spec": "spec.yaml",
    "recipe": "recipe.yaml",
    "split": "split.json",
    "data": "data.json",
    "metrics": "metrics.json",
    "scores": "scores.json",
    "report": "report.html",
    "curves": "curves.png",
}
_PACKAGES = ("lmnet", "torch", "torchvision", "lightning", "torchmetrics", "timm", "numpy", "scipy", "pillow")


@dataclass(frozen=True)
class Request:
    """What makes two runs the same run.

    Args:
        model: name of the spec.
        spec_hash: hash of the resolved graph.
        recipe: with size, epochs and all overrides in it.
        data: path of the data set, or "synthetic".
        fingerprint: hash of the data set's content and split.
        seed: random seed of the run.
        start: "random", or name and digest of the file of weights that the run starts from.
        teacher: what the run learns from besides the masks; empty for none.
        weights: the file of weights that the run starts from.
    """

    model: str
    spec_hash: str
    recipe: Recipe
    data: str
    fingerprint: str
    seed: int
    start: str = "random"
    teacher: str = ""
    weights: Path | None = None

    def earlier_start(self) -> str:
        """Return what earlier versions wrote for ``start``: with a digest of the whole file, not of its tensors."""
        if self.weights is None:
            return self.start
        digest = hashlib.sha256(self.weights.read_bytes()).hexdigest()[:16]
        first, _, _ = self.start.rpartition(f"{self.weights.name} ")
        return f"{first}{self.weights.name} {digest}"

    def facts(self) -> dict[str, Any]:
        """Return what is compared, as JSON has it."""
        facts: dict[str, Any] = json.loads(json.dumps({**asdict(self), "recipe": self.recipe.facts(), "weights": ""}))
        facts.pop("data")  # the same images may be reached by another path
        facts.pop("weights")
        if not self.teacher:
            facts.pop("teacher")  # as in the runs of before
        return facts


class RunFolder:
    """A folder that one run writes to.

    Args:
        path: the folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def file(self, kind: str) -> Path:
        """Return the path of one of ``FILES``."""
        return self.path / FILES[kind]

    @property
    def is_run(self) -> bool:
        """Whether a run was begun here."""
        return (self.path / MANIFEST).is_file()

    @property
    def is_finished(self) -> bool:
        """Whether the run's metrics are there."""
        return self.is_run and self.file("metrics").is_file()

    def manifest(self) -> dict[str, Any]:
        """Return what ``begin`` wrote.

        Raises:
            ValueError: the folder is no run folder.
        """
        try:
            content = json.loads((self.path / MANIFEST).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(
                f"{self.path}: a run folder must have a readable {MANIFEST}, got error={str(error)!r}. Give the folder "
                "that lmnet-train printed."
            ) from error
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ValueError(f"{self.path}: {MANIFEST} must have format={FORMAT!r}, got another. Train again.")
        return content

    def recipe(self) -> Recipe:
        """Return the run's recipe, its size and overrides included."""
        return Recipe().override(self.manifest()["recipe"], where=str(self.path / MANIFEST))

    def split(self) -> Split:
        """Return the run's split."""
        content = json.loads(self.file("split").read_text(encoding="utf-8"))
        return Split(*(tuple(content[side]) for side in SIDES))

    def check(self, request: Request) -> None:
        """Check, without writing, that a request may be trained here.

        Raises:
            ValueError: the folder holds another run, or other files.
        """
        if self.is_run:
            if not self.is_extended_by(request):
                self._check_same(request)
        elif self.path.exists() and (not self.path.is_dir() or any(each.name != OWNER for each in self.path.iterdir())):
            raise ValueError(
                f"{self.path}: a run must have a new folder or its own, got one with other files. Use another --out."
            )

    def is_extended_by(self, request: Request) -> bool:
        """Whether a request is the run that was begun here, but for more epochs."""
        changed = self.changes(request)
        return changed.keys() == {"recipe.epochs"} and int(changed["recipe.epochs"][0]) < request.recipe.epochs

    def begin(self, request: Request, *, spec: str, data: DataSets, split: Mapping[str, Any] | None = None) -> bool:
        """Write down what was asked for, or check that it is what was asked for before.

        A run that is asked for with more epochs continues with a warm restart.

        Returns:
            True if the run is begun, False if it continues.

        Raises:
            ValueError: the folder holds another run, or other files; nothing is written then.
        """
        clear_leftovers(self.path)
        self.check(request)
        if self.is_run:
            if self.is_extended_by(request):
                self._extend(request)
            return False
        self.path.mkdir(parents=True, exist_ok=True)
        write_durably(self.file("spec"), spec.encode())
        write_durably(self.file("recipe"), request.recipe.dump().encode())
        write_durably(self.file("split"), data.split.dump().encode())
        write_durably(self.file("data"), (data.cases.meaning.dump() + "\n").encode())
        content = {
            "format": FORMAT,
            **request.facts(),
            "data": request.data,
            "data_name": data.name,
            **({"split": dict(split)} if split is not None else {}),
            "images": {side: len(data.side(side)) for side in SIDES},
            "notes": list(data.notes),
            "versions": versions(),
        }
        write_durably(self.path / MANIFEST, (json.dumps(content, indent=1) + "\n").encode())
        return True

    def changes(self, request: Request) -> dict[str, tuple[Any, Any]]:
        """Return what differs between the run that was begun here and a request: (before, now) by key."""
        before, now = _flat(self.manifest()), _flat(request.facts())
        gone = (key for key in before if key not in now and (key.startswith("recipe.") or key == "teacher"))
        keys = [*now, *gone]
        changed = {key: (before.get(key), now.get(key)) for key in keys if before.get(key) != now.get(key)}
        if "start" in changed and before.get("start") == request.earlier_start():
            changed.pop("start")
        name = request.teacher.rpartition(" ")[0]
        if "teacher" in changed and before.get("teacher") == f"{name} {_NO_TENSORS}":
            changed.pop("teacher")
        return changed

    def _extend(self, request: Request) -> None:
        """Write down that the run is trained for more epochs; its old metrics go first, as they mark its end."""
        content = self.manifest()
        before = int(content["recipe"]["epochs"])
        self.file("metrics").unlink(missing_ok=True)
        content["recipe"]["epochs"] = request.recipe.epochs
        content["restarts"] = [*content.get("restarts", []), before]
        content["notes"] = [
            *content["notes"],
            f"trained to epoch {before}, then on to {request.recipe.epochs} from where it was; the learning rate rises "
            "again and falls anew (a warm restart).",
        ]
        write_durably(self.file("recipe"), request.recipe.dump().encode())
        write_durably(self.path / MANIFEST, (json.dumps(content, indent=1) + "\n").encode())

    def restart(self, request: Request) -> int:
        """Return the epoch after which a run is trained further, with a warm restart; 0 for none.

        The same in all processes that train one net, before and after the first of them has written it down.
        """
        if not self.is_run:
            return 0
        content = self.manifest()
        before = int(content["recipe"]["epochs"])
        return before if before < request.recipe.epochs else int((content.get("restarts") or [0])[-1])

    def _check_same(self, request: Request) -> None:
        changed = self.changes(request)
        if changed:
            differs = [_difference(key, *values) for key, values in changed.items()]
            raise ValueError(
                f"{self.path}: another run has this folder: {', '.join(dict.fromkeys(differs))}. Leave --out out for a "
                "folder of its own, or name another one."
            )


_NO_TENSORS = "e3b0c44298fc1c14"
"""What earlier versions wrote for every exported file as a teacher: the hash of nothing."""
_IN_WORDS = {
    "model": "another net",
    "spec_hash": "another net, by its variables or its nodes",
    "fingerprint": "other images, masks or another split",
    "teacher": "another teacher",
}


def _difference(key: str, before: Any, now: Any) -> str:
    """Return a difference between two runs in words."""
    if key in _IN_WORDS:
        return _IN_WORDS[key]
    if key == "start":
        return f"it started from {str(before).partition(' ')[0]}, not from {str(now).partition(' ')[0]}"
    return f"{key.removeprefix('recipe.')} was {before}, not {now}"


def versions() -> dict[str, str]:
    """Return the versions of Python, the machine and the packages that a score depends on."""
    found = {"python": platform.python_version(), "machine": platform.machine(), "system": platform.system()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def _flat(content: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, dict):
            flat |= {f"{key}.{inner}": entry for inner, entry in value.items()}
        else:
            flat[key] = value
    return flat


def fold_folder(folder: Path, fold: int) -> Path:
    """Return the run folder of one fold, counted from 1."""
    return folder / f"fold-{fold}"


def is_folds(model: str | Path) -> bool:
    """Return whether a MODEL is the folder of a cross-validation."""
    return (Path(model) / FOLDS_FILE).is_file()
