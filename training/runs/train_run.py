"""A whole training run in a folder: spec, data, recipe in; checkpoints, scores and report out."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from lmnet.builder.files import write_durably
from lmnet.builder.find_model import find_model, weights_file
from lmnet.builder.graph import GraphModel
from lmnet.builder.models import build_model, encoder_tensors, load_encoder, load_weights
from lmnet.builder.optimize import optimize_for_inference
from lmnet.builder.planner import plan_spec
from lmnet.builder.process_identity import owned
from lmnet.builder.spec import spec_of
from lmnet.training.data.load import DataSets, load_data
from lmnet.training.data.meaning import DataMeaning, DataOptions
from lmnet.training.export.benchmark import describe_machine, measure_interleaved
from lmnet.training.export.runtimes import FileNet
from lmnet.training.fitting.deep_training import check_deep_training
from lmnet.training.fitting.distillation import Teacher
from lmnet.training.fitting.evaluation import evaluate
from lmnet.training.fitting.fit import FitResult, check_machine, fit
from lmnet.training.fitting.keeper import EpochReport
from lmnet.training.fitting.loggers import Log, open_loggers
from lmnet.training.fitting.losses import check_class_weights
from lmnet.training.fitting.recipe import Recipe, load_recipe
from lmnet.training.fitting.schedule import Schedule
from lmnet.training.fitting.state import TrainState
from lmnet.training.metrics.intervals import summarize
from lmnet.training.metrics.store import CaseScores
from lmnet.training.runs.curves import draw_curves
from lmnet.training.runs.opened_model import model_facts, open_model
from lmnet.training.runs.remarks import remarks_before
from lmnet.training.runs.report import write_report
from lmnet.training.runs.run_folder import Request, RunFolder
from lmnet.training.runs.run_name import find_folder

PASSES = 9
"""Forward passes that the report's time of an image is the median of."""


@dataclass(frozen=True)
class TrainedRun:
    """The result of a run.

    Args:
        folder: the run's folder.
        metrics: what metrics.json holds: model, data, epoch, then val and test with every metric.
        was_finished: the run was done before and nothing was trained.
        is_main: False in all but the first of several processes that train the net.
    """

    folder: RunFolder
    metrics: dict[str, Any] = field(default_factory=dict)
    was_finished: bool = False
    is_main: bool = True


@dataclass(frozen=True)
class DataChoice:
    """Which data and how it is split; see ``load_data``.

    Args:
        path: folder or "synthetic".
        scheme: holdout or authors.
        fold: which of the authors' folds is val.
        by_group: whether patients stay whole.
        split_file: instead of a scheme.
        options: what the user says about the files' values.
    """

    path: str = "synthetic"
    scheme: str = "holdout"
    fold: int = 0
    by_group: bool = True
    split_file: str | None = None
    options: DataOptions = DataOptions()

    def split_options(self) -> dict[str, Any]:
        """Return the options that choose the split, by their name on the command line."""
        by = "patient" if self.by_group else "image"
        return {"split_scheme": self.scheme, "fold": self.fold, "split_by": by}

    def load(self, *, seed: int, num_classes: int, known: DataMeaning | None = None) -> DataSets:
        """Load the data; ``known`` is what its values meant when the model was trained."""
        return load_data(
            self.path,
            seed=seed,
            scheme=self.scheme,
            fold=self.fold,
            by_group=self.by_group,
            split_file=self.split_file,
            num_classes=num_classes,
            options=self.options,
            known=known,
        )


def train_run(
    spec: str,
    choice: DataChoice,
    *,
    recipe: str | Recipe = "default",
    changes: Mapping[str, Any] | None = None,
    variables: Mapping[str, Any] | None = None,
    weights: str | None = None,
    pretrained_encoder: str | None = None,
    teacher: str | None = None,
    seed: int = 0,
    out: str | None = None,
    device: str = "auto",
    devices: int = 1,
    nodes: int = 1,
    workers: int | None = None,
    progress: bool = False,
    say: Callable[[str], None] = lambda text: None,
    callbacks: Sequence[Callable[[EpochReport], bool | None]] = (),
    loggers: Sequence[str] = (),
) -> TrainedRun:
    """Train a spec, score its best epoch on val and test, and write the report. The same call again continues the run.

    Args:
        spec: zoo name or path.
        choice: the data.
        recipe: name, file or recipe.
        changes: values of the recipe to change.
        variables: values of the spec's variables to change.
        weights: file, run folder or zoo name to start from, instead of random weights; the recipe's mean and std become
            those of the weights unless ``changes`` names them.
        pretrained_encoder: load ImageNet weights into the timm encoder: auto, package, hub or a file; the recipe's mean
            and std become the encoder's unless ``changes`` names them.
        teacher: run folder or zoo name of a net to learn from besides the masks.
        seed: random seed of weights, split, order, augmentation and dropout.
        out: folder; None for the one in runs/ in which this run was begun, else a new one, see ``find_folder``.
        device: auto, cpu, cuda or cuda:N.
        devices: processes on this machine.
        nodes: machines.
        workers: data-loading processes; None: chosen for this machine.
        progress: show a progress bar on stderr.
        say: called with each message for people.
        callbacks: see ``fit``.
        loggers: where each epoch's row goes too: wandb, mlflow.

    Raises:
        ValueError: anything wrong with spec, recipe, data or folder; nothing is written then.
        TrainingDiverged: the loss became infinite or not a number.
        SaveError: the disk is full; the last good checkpoint is kept.
    """
    chosen = (recipe if isinstance(recipe, Recipe) else load_recipe(recipe)).override(changes or {}, where="--set")
    check_machine(chosen, device, devices=devices, nodes=nodes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, weights = _built(spec, dict(variables or {}), weights)
    start, pretrained = _start(model, weights, pretrained_encoder, say)
    chosen = _with_normalization(chosen, model, changes or {})
    name, in_channels, num_classes = model_facts(model)
    check_class_weights(chosen, num_classes)
    check_deep_training(chosen, model)
    guide = open_teacher(teacher, in_channels=in_channels, num_classes=num_classes) if teacher is not None else None
    data = choice.load(seed=seed, num_classes=num_classes)
    for note in data.notes:
        say(f"note: {note}")
    data.train.at(chosen.size, in_channels)  # images of other channels are refused before anything is written
    request = Request(
        name,
        model.hash,
        chosen,
        choice.path,
        data.fingerprint,
        seed,
        start,
        guide.name if guide is not None else "",
        weights=weights_file(weights) if weights is not None else None,
    )
    folder = RunFolder(out) if out is not None else find_folder(request, layout=data.name)
    folder.check(request)
    with contextlib.ExitStack() as stack:
        if _is_first_process():
            stack.enter_context(owned(folder.path, doing="trains"))
            if not folder.begin(request, spec=model.spec.dump(), data=data, split=choice.split_options()):
                if folder.is_finished:
                    say(f"{folder.path} is finished already.")
                    return TrainedRun(folder, read_metrics(folder), was_finished=True)
                say(f"continuing in {folder.path}")
        for line in _opening(data, model, chosen, start, guide):
            say(line)
        result = fit(
            model,
            data,
            chosen,
            schedule=Schedule(chosen.epochs, start=folder.restart(request)),
            teacher=guide,
            pretrained=pretrained,
            seed=seed,
            out=folder.path,
            callbacks=[*callbacks, *_loggers(loggers, folder, request)],
            device=device,
            devices=devices,
            nodes=nodes,
            workers=workers,
            in_channels=in_channels,
            progress=progress,
        )
        if not result.is_main:
            return TrainedRun(folder, is_main=False)
        say(f"best epoch {result.best_epoch} of {result.epoch}; scoring it on val and test")
        return _scored(folder, model, data, result, recipe=chosen, device=device)


def _loggers(names: Sequence[str], folder: RunFolder, request: Request) -> list[Log]:
    """Return the callbacks that log; only the first process has some."""
    return open_loggers(names, folder.path, request.facts()) if names and _is_first_process() else []


def _opening(data: DataSets, model: GraphModel, recipe: Recipe, start: str, guide: Teacher | None) -> Iterator[str]:
    """Yield the messages before training."""
    name, in_channels, num_classes = model_facts(model)
    sides = ", ".join(f"{side} {len(data.side(side))}" for side in ("train", "val", "test"))
    yield f"{name} on {data.name} ({sides}), {recipe.epochs} epochs at {recipe.size} px, weights: {start}"
    yield from remarks_before(data, size=recipe.size, in_channels=in_channels, num_classes=num_classes)
    if guide is not None:
        yield f"learning from {guide.name}, which sees images at {guide.size} px"


def _scored(
    folder: RunFolder, model: GraphModel, data: DataSets, result: FitResult, *, recipe: Recipe, device: str
) -> TrainedRun:
    """Score the best epoch on val and test, and write results and report."""
    in_channels = model.plan.input_shape[0]
    settings: dict[str, Any] = {"size": recipe.size, "in_channels": in_channels, "mean": recipe.mean, "std": recipe.std}
    scores = {side: evaluate(model, data.side(side), device=device, **settings) for side in ("val", "test")}
    metrics = {
        "model": model.spec.name,
        "data": data.name,
        "size": recipe.size,
        "epoch": result.best_epoch,
        **{side: summarize(each) for side, each in scores.items()},
    }
    _write_results(folder, data, metrics, scores, result.state)
    write_report(folder, model, data, scores["test"], metrics, cost=_cost(model, recipe.size), **settings)
    write_durably(folder.file("metrics"), (json.dumps(metrics, indent=1) + "\n").encode())  # last: it marks the end
    return TrainedRun(folder, metrics)


def _with_normalization(recipe: Recipe, model: GraphModel, changes: Mapping[str, Any]) -> Recipe:
    """Return the recipe with the mean and deviation of the weights, unless they were given."""
    if model.normalization is None:
        return recipe
    usual = dict(zip(("mean", "std"), map(list, model.normalization), strict=True))
    return recipe.override({key: value for key, value in usual.items() if key not in changes})


def _built(spec: str, variables: dict[str, Any], weights: str | None) -> tuple[GraphModel, str | None]:
    """Return the net of a MODEL with random weights, and which weights to start from: ``weights``, or its own.

    A plain zoo name is a spec; ``NAME@DATA`` and folders are a spec with its weights.
    """
    found = find_model(spec, weights=weights)
    own = str(found.weights) if found.is_chosen else None
    return build_model(spec_of(found).override(variables)), own


def _start(
    model: GraphModel, weights: str | None, encoder: str | None, say: Callable[[str], None]
) -> tuple[str, frozenset[str]]:
    """Load the weights that were asked for; return what they are and which tensors they filled, the head's left out."""
    start, given = [], set[str]()
    if encoder is not None:
        found = load_encoder(model, encoder)
        start.append(found.source)
        given |= found.tensors or encoder_tensors(model)
    if weights is not None:
        loaded = load_weights(model, weights, adapt=True)
        for note in loaded.notes:
            say(f"note: {note}.")
        start.append(f"{loaded.path.name} {loaded.digest[:16]}")
        given |= model.state_dict().keys()
    heads = tuple(f"{node.partition('.')[0]}." for node in model.spec.layout.outputs.values())
    return ", ".join(start) or "random", frozenset(key for key in given if not key.startswith(heads))


def _cost(model: GraphModel, size: int) -> str:
    """Return parameters, multiply-accumulates and time of one image, in the form that computes masks."""
    plan = plan_spec(model.spec, input_size=(size, size))
    known = f"{plan.deploy_params:,} parameters, {plan.deploy_macs / 1e9:.3f} GMACs at {size}x{size}, re-parameterised"
    try:
        fast = optimize_for_inference(model, input_shape=plan.input_shape)
    except (RuntimeError, ValueError) as err:  # a trained net has its report all the same
        return f"{known}; not timed: {err}"
    image = torch.zeros(1, *plan.input_shape)
    with torch.inference_mode():
        (seconds,) = measure_interleaved([lambda: fast(image)], repeats=PASSES)
    return f"{known}; {1000 * sorted(seconds)[PASSES // 2]:.1f} ms, median of {PASSES} passes ({describe_machine()})"


def open_teacher(model: str, *, in_channels: int | None = None, num_classes: int | None = None) -> Teacher:
    """Return a MODEL as a teacher.

    Args:
        model: see ``open_model``.
        in_channels: channels of the net that learns; None to leave it unchecked.
        num_classes: classes of the net that learns.

    Raises:
        ValueError: no such model or weights, or it has other channels or classes than the net that learns.
    """
    opened = open_model(model)
    for what, theirs, ours, key in (
        ("channels", opened.in_channels, in_channels, "input.channels"),
        ("classes", opened.num_classes, num_classes, "num_classes"),
    ):
        if ours not in (None, theirs):
            raise ValueError(
                f"--teacher {model}: it has {theirs} {what} and the net that learns {ours}. Give --set {key}={theirs}, "
                f"or a teacher with {ours} {what}."
            )
    name = f"{opened.name} {_content_hash(opened.model)[:16]}"
    return Teacher(opened.model, opened.size, opened.mean, opened.std, name)


def _content_hash(model: nn.Module) -> str:
    """Return a hash of a model's tensors; of the file, if an exported file has them inside."""
    digest = hashlib.sha256()
    for module in model.modules():
        if isinstance(module, FileNet) and module.path is not None:
            digest.update(module.path.read_bytes())
    for tensor in model.state_dict().values():
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def read_metrics(folder: RunFolder) -> dict[str, Any]:
    """Return a finished run's metrics."""
    content: dict[str, Any] = json.loads(folder.file("metrics").read_text(encoding="utf-8"))
    return content


def _write_results(
    folder: RunFolder, data: DataSets, metrics: dict[str, Any], scores: dict[str, CaseScores], state: TrainState
) -> None:
    stores = {side: {"fingerprint": data.side(side).fingerprint, **each.dump()} for side, each in scores.items()}
    write_durably(folder.file("scores"), json.dumps(stores).encode())
    write_durably(folder.file("curves"), draw_curves(state.history))


def _is_first_process() -> bool:
    return all(int(os.environ.get(key, "0")) == 0 for key in ("LOCAL_RANK", "NODE_RANK", "GROUP_RANK"))
