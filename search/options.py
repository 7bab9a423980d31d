"""The options of a search, once: arguments of ``lmnet.search.run`` and options of ``lmnet-search``."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmnet.builder.problems import did_you_mean
from lmnet.search.nets.limits import LIMITS, Limits

if TYPE_CHECKING:  # it loads torch
    from lmnet.training.runs.train_run import DataChoice

EPOCHS, SIZE = 6, 64
TRIALS = 40
FINALISTS = 3
TIMEOUT_S = 560.0
SAMPLERS = ("model", "random", "tpe")
NO_PRIOR = "none"
REMOVED_SAMPLERS = ("gp", "nsga2")
REMOVED = {
    "stop_after": "Every net is trained in full, as early scores say too little about the final ones. Leave it out.",
    "devices": "Each net is trained on one GPU. For several GPUs give --workers N: each worker has a GPU of its own.",
}
"""Options of the version before, and what to do instead."""


@dataclass(frozen=True)
class SearchOptions:
    """How to search. The first line of each option here is its help in ``lmnet-search --help``.

    Args:
        data: data to train on: a folder, a .csv or .json list of images and masks, or synthetic (default: synthetic).
            In Python also a ``lmnet.training.runs.train_run.DataChoice``, with the split and what mask values mean.
        trials: total number of trained nets in the study, including earlier runs (default: 40).
        timeout_s: upper limit in seconds for this call (default: 560 without a number of trials, else no limit).
        trial_timeout_s: seconds after which a training run counts as failed.
        epochs: epochs of a training run (default: 6).
        size: side in pixels of the training images (default: 64). The limits do not depend on it.
            If the space varies input.size, each net is trained and scored at its own size, and its cost is counted
            there.
        confirm_epochs: epochs of each training run that confirms the result (default: as many as epochs; 0: none).
            After the search, its best nets, the starting net and the largest net within the limits are trained again
            with other seeds. The result is compared with the others on the test images. With an objective of your own
            there is no confirmation.
        confirm_nets: how many of the top nets are trained again for the verdict (default: 3).
            Their mean over the new seeds, on the validation images, decides which one is the result. With little time
            only the best of them is trained again, unless this number is given.
        confirm_seeds: training runs for each of these nets (default: 3).
        recipe: name or file of the training recipe (default: default).
        changes: change a value of the recipe (lr=1e-3) or a variable of the spec (num_classes=3).
            In Python a dict, for the recipe alone.
        pretrained_encoder: start the timm encoder from ImageNet weights: auto, package, hub or a file.
        sampler: how nets are proposed: model, random or tpe (default: model).
        prior: learn from an earlier search: its results folder, or the URL of a storage (default: none).
            What its trained nets show is added to what the sampler model expects of a net. All studies of a storage
            count. Other families and other data may teach something, too.
        seed: random seed of proposals, data split, initial weights and augmentation (default: 0).
        workers: number of training runs at a time (default: by the machine).
            The default is 1 with an objective of your own or a GPU, else one for each two cores, and 2 on two cores.
            With 1 worker, an objective of your own runs in the calling process. Each worker has its share of the cores,
            and no more threads than OMP_NUM_THREADS allows.
        cluster: train on a Ray cluster: ray, or its address (default: on this machine, without Ray).
            ray is the cluster at RAY_ADDRESS, else a local one; an address is ray://HOST:10001 or HOST:6379.
        cpus_per_trial: CPUs for each training run on the cluster (default: 1).
        gpus_per_trial: GPUs for each training run on the cluster, may be a fraction (default: 0).
        batch: train in batches of this size; the study is then the same with any number of workers (default: 0, off).
        storage: sqlite:///FILE or postgresql://USER@HOST/NAME (default: study.db in the folder of results).
        study_name: name of the study (default: the spec's name and the limits).
        out: folder for the results (default: runs/STUDY).
        device: auto, cpu, cuda or cuda:N (default: auto).
        runtime: runtime in which --max-latency-ms is measured: torch, onnxruntime or openvino (default: torch).
            The last two measure the exported net, on the CPU; each measurement then takes some seconds.
        dry_run: print the size and the costs of the space; train nothing.
        imports: modules of yours that register blocks; every worker imports them first.

    Raises:
        ValueError: a number is not above 0.
    """

    data: str | Path | DataChoice = "synthetic"
    trials: int | None = None
    timeout_s: float | None = None
    trial_timeout_s: float | None = None
    epochs: int | None = None
    size: int | None = None
    confirm_epochs: int | None = None
    confirm_nets: int | None = None
    confirm_seeds: int = 3
    recipe: str | Path = "default"
    changes: Mapping[str, Any] = field(default_factory=dict)
    pretrained_encoder: str | None = None
    sampler: str = "model"
    prior: str | Path = NO_PRIOR
    seed: int = 0
    workers: int | None = None
    cluster: str | None = None
    cpus_per_trial: float = 1.0
    gpus_per_trial: float = 0.0
    batch: int = 0
    storage: str | None = None
    study_name: str | None = None
    out: str | Path | None = None
    device: str = "auto"
    runtime: str = "torch"
    dry_run: bool = False
    imports: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name in (
            "trials",
            "timeout_s",
            "epochs",
            "size",
            "workers",
            "trial_timeout_s",
            "confirm_nets",
            "confirm_seeds",
            "cpus_per_trial",
        ):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"search: {name} must be above 0, got {name}={value}. Leave it out for the default.")
        if self.sampler in REMOVED_SAMPLERS:
            raise ValueError(
                f"search: the sampler {self.sampler} was removed: it found worse nets in more time. Use model, the "
                "default."
            )
        if self.sampler not in SAMPLERS:
            raise ValueError(
                f"search: there is no sampler {self.sampler}. Use {SAMPLERS[0]}, or {SAMPLERS[1]}, {SAMPLERS[2]}."
            )
        if str(self.prior) != NO_PRIOR and self.sampler != SAMPLERS[0]:
            raise ValueError(
                f"search: the sampler {self.sampler} does not learn from earlier searches. Use {SAMPLERS[0]}, or leave "
                "--prior out."
            )
        if self.cluster is None and (self.cpus_per_trial, self.gpus_per_trial) != (1.0, 0.0):
            raise ValueError(
                "search: cpus_per_trial and gpus_per_trial are for a cluster. Give --cluster, or leave them out."
            )
        if self.confirm_epochs is not None and self.confirm_epochs < 0:
            raise ValueError(
                f"search: confirm_epochs must be 0 or more, got confirm_epochs={self.confirm_epochs}. Use 0 for no "
                "confirmation."
            )

    @property
    def budget(self) -> tuple[int, float | None]:
        """The number of trained nets and the seconds of this call, defaults filled in."""
        if self.trials is None:
            return TRIALS, self.timeout_s or TIMEOUT_S
        return self.trials, self.timeout_s

    def is_given(self, key: str) -> bool:
        """Return whether the user chose the number of epochs (``epochs``) or the image size (``size``)."""
        return getattr(self, key) is not None or key in self.changes


def split_options(given: dict[str, Any]) -> tuple[Limits, SearchOptions]:
    """Return the limits and the other options among keyword arguments.

    Raises:
        TypeError: a name is unknown.
    """
    limits = [limit.name for limit in LIMITS]
    others = [field.name for field in fields(SearchOptions)]
    for name in given:
        if name in REMOVED:
            raise ValueError(f"search: {name} was removed. {REMOVED[name]}")
        if name not in (*limits, *others):
            raise TypeError(f"search: there is no option {name}. {did_you_mean(name, [*limits, *others])}")
    bounds = Limits(**{name: value for name, value in given.items() if name in limits})
    options = SearchOptions(**{name: value for name, value in given.items() if name in others})
    if options.runtime != "torch" and not bounds.measured:
        raise ValueError(
            f"search: {options.runtime} is the runtime in which latency is measured. Give --max-latency-ms, or leave "
            "--runtime out."
        )
    return bounds, options


def help_lines() -> dict[str, str]:
    """Return the first line of each option's description."""
    lines: dict[str, str] = {}
    for line in (
        inspect.cleandoc(SearchOptions.__doc__ or "").partition("Args:")[2].partition("Raises:")[0].splitlines()
    ):
        name, colon, text = line.strip().partition(": ")
        if colon and line.startswith("    ") and not line.startswith("     "):
            lines[name] = text.rstrip(".")
    return lines
