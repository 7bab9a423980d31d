"""``--logger``: the rows of the epochs reach Lightning's loggers, and a missing package is one line before training."""

import importlib.util
from pathlib import Path

import lightning.pytorch.loggers
import pytest

from lmnet.training.cli_train import main
from lmnet.training.fitting import loggers
from lmnet.training.fitting.loggers import check_loggers, open_loggers

TINY = str(Path(__file__).with_name("tiny.yaml"))
WORDS = [TINY, "--data", "synthetic", "--size", "16", "--workers", "0", "--device", "cpu", "--threads", "1"]


class Recorder:
    """Stands for a logger of Lightning."""

    made = []

    def __init__(self, **options):
        self.options, self.params, self.rows, self.saved = options, None, [], 0
        self.made.append(self)

    def log_hyperparams(self, params):
        self.params = params

    def log_metrics(self, row, step):
        self.rows.append((step, row))

    def save(self):
        self.saved += 1


@pytest.fixture
def recorded(monkeypatch):
    for name in ("WANDB_PROJECT", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Recorder, "made", [])
    monkeypatch.setattr(loggers, "check_loggers", lambda names: None)
    monkeypatch.setattr("lmnet.training.cli_train.check_loggers", lambda names: None)
    monkeypatch.setattr(lightning.pytorch.loggers, "WandbLogger", Recorder)
    monkeypatch.setattr(lightning.pytorch.loggers, "MLFlowLogger", Recorder)
    return Recorder.made


def test_each_epoch_reaches_the_logger(recorded, tmp_path):
    out = tmp_path / "my run"
    assert main([*WORDS, "--epochs", "2", "--out", str(out), "--logger", "wandb"]) == 0
    (logger,) = recorded
    assert [step for step, _ in logger.rows] == [1, 2]
    assert {"train_loss", "val_dice_foreground_mean", "best_score", "lr"} <= logger.rows[0][1].keys()
    assert logger.params["recipe"]["epochs"] == 2
    assert logger.options["name"] == "my run"
    assert logger.options["id"] == "my-run"
    assert logger.saved == 2


def test_places_come_from_the_packages_own_settings(recorded, tmp_path, monkeypatch):
    open_loggers(["mlflow", "mlflow", "csv", "tensorboard"], tmp_path / "cv" / "fold-1", {})
    (logger,) = recorded
    assert logger.options["tracking_uri"] == f"file:{tmp_path / 'cv' / 'fold-1' / 'mlruns'}"
    assert logger.options["run_name"] == "cv-fold-1"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host")
    monkeypatch.setenv("WANDB_PROJECT", "polyps")
    open_loggers(["mlflow", "wandb"], tmp_path, {})
    assert recorded[1].options["tracking_uri"] == "http://host"
    assert recorded[2].options["project"] == "polyps"


@pytest.mark.parametrize("name", ["wandb", "mlflow", "tensorboard"])
def test_a_missing_package_is_one_line_and_nothing_is_begun(name, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name, package=None: None)
    assert main([*WORDS, "--out", str(tmp_path / "run"), "--logger", name]) == 2
    assert f"--logger {name}: the package {name} is not installed. pip install {name}." in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_an_unknown_logger_is_refused():
    with pytest.raises(ValueError, match=r"there is no logger 'neptune'\. Use one of csv, tensorboard"):
        check_loggers(["neptune"])


def test_training_needs_no_tensorboard(tmp_path, monkeypatch):
    find = importlib.util.find_spec
    without = lambda name, package=None: None if name == "tensorboard" else find(name, package)  # noqa: E731
    monkeypatch.setattr("importlib.util.find_spec", without)
    assert main([*WORDS, "--epochs", "1", "--out", str(tmp_path / "run")]) == 0
    assert (tmp_path / "run" / "log.csv").exists()
    assert not (tmp_path / "run" / "tensorboard").exists()
