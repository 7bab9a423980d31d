"""``--logger``: each epoch's row goes to Weights & Biases or MLflow too, by Lightning's own loggers.

``log.csv`` is always written, and TensorBoard's files if its package is installed (``training/fitting/keeper.py``).
"""

from __future__ import annotations

import importlib.util
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the command line reads the names before torch is imported
    from lmnet.training.fitting.keeper import EpochReport

LOGGERS = ("csv", "tensorboard", "wandb", "mlflow")
PROJECT = "lmnet"

Log = Callable[["EpochReport"], None]


def check_loggers(names: Sequence[str]) -> None:
    """Check quickly, before training, that the packages of loggers are installed.

    Raises:
        ValueError: an unknown name.
        ImportError: a package is missing.
    """
    for name in names:
        if name not in LOGGERS:
            raise ValueError(f"--logger: there is no logger {name!r}. Use one of {', '.join(LOGGERS)}.")
        if name != "csv" and importlib.util.find_spec(name) is None:
            raise ImportError(f"--logger {name}: the package {name} is not installed. pip install {name}.")


def open_loggers(names: Sequence[str], folder: Path, facts: Mapping[str, Any]) -> list[Log]:
    """Return callbacks for ``fit`` that send each epoch's row to loggers.

    Where they send to is what those packages' own settings say: WANDB_MODE, WANDB_PROJECT, MLFLOW_TRACKING_URI, ...
    Without MLFLOW_TRACKING_URI, MLflow writes into the run folder.

    Args:
        names: some of ``LOGGERS``.
        folder: the run's folder; its name is the run's name, after that of its cross-validation if it is a fold.
        facts: what the run is: net, data, recipe.
    """
    check_loggers(names)
    return [_log_to(_open(name, folder), facts) for name in dict.fromkeys(names) if name in ("wandb", "mlflow")]


def _log_to(logger: Any, facts: Mapping[str, Any]) -> Log:
    logger.log_hyperparams(dict(facts))

    def log(report: EpochReport) -> None:
        row = {key: value for key, value in report.row.items() if math.isfinite(value)}
        logger.log_metrics({**row, "best_score": report.best_score}, step=report.epoch)
        logger.save()

    return log


def _open(name: str, folder: Path) -> Any:
    from lightning.pytorch import loggers

    run = f"{folder.parent.name}-{folder.name}" if folder.name.startswith("fold-") else folder.name
    if name == "wandb":
        project = os.environ.get("WANDB_PROJECT", PROJECT)
        again = re.sub(r"[^A-Za-z0-9_-]", "-", run)[-100:]  # a run that continues is the same run there
        return loggers.WandbLogger(name=run, project=project, save_dir=str(folder), id=again, resume="allow")
    place = os.environ.get("MLFLOW_TRACKING_URI") or f"file:{folder.resolve() / 'mlruns'}"
    return loggers.MLFlowLogger(experiment_name=PROJECT, run_name=run, tracking_uri=place)
