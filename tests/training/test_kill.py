"""Runs as real processes: killed in the middle of an epoch and begun again; two processes as one."""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lmnet.training.cli_train import main
from tests.warm import Program

KILLS = int(os.environ.get("LMNET_KILLS", "6"))
THREADS = {**os.environ, "OMP_NUM_THREADS": "1"}


def command(spec: str, data: object, out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "lmnet.training.cli_train", *options(spec, data, out), *more]


def options(spec: str, data: object, out: Path) -> list[str]:
    few = ["--size", "64", "--epochs", "3", "--batch-size", "2", "--device", "cpu", "--workers", "0"]
    return [spec, "--data", str(data), "--out", str(out), *few]


def test_a_run_killed_in_the_middle_of_an_epoch_ends_as_if_it_had_not_been(tiny_spec, tmp_path, write_folder):
    data = write_folder(tmp_path / "data", 60)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    unbroken = Program(main, options(tiny_spec, data, whole))
    killed = Program(main, options(tiny_spec, data, cut))
    killed.wait_for(lambda: "epoch 1:" in killed.err)
    time.sleep(0.05)  # into epoch 2
    killed.kill()
    assert (cut / "last.ckpt").exists()
    assert not (cut / "metrics.json").exists()

    resumed = Program(main, options(tiny_spec, data, cut))

    assert [resumed.wait(), unbroken.wait()] == [0, 0], resumed.err + unbroken.err
    assert "continuing in" in resumed.err
    assert "epoch 1:" not in resumed.err
    assert (cut / "metrics.json").read_bytes() == (whole / "metrics.json").read_bytes()
    assert (cut / "scores.json").read_bytes() == (whole / "scores.json").read_bytes()
    assert resumed.out.splitlines()[:-1] == unbroken.out.splitlines()[:-1]


@pytest.mark.slow
def test_a_run_killed_at_random_moments_loses_nothing(tiny_spec, tmp_path, write_folder):
    """Killed so often and at any moment, the import of torch among them, the run ends as one that was never killed."""
    data, rng = write_folder(tmp_path / "data", 60), random.Random(0)
    more = ["--epochs", "30"]
    whole = tmp_path / "whole"
    subprocess.run(command(tiny_spec, data, whole, *more), env=THREADS, check=True, capture_output=True)
    kills = 0
    while kills < KILLS:
        cut = tmp_path / f"cut{kills}"
        while not (cut / "metrics.json").exists():
            process = subprocess.Popen(
                command(tiny_spec, data, cut, *more),
                env=THREADS,
                stderr=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
            try:
                process.wait(timeout=rng.uniform(4, 14) if kills < KILLS else 300)
                assert process.returncode == 0
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                kills += 1
        assert (cut / "metrics.json").read_bytes() == (whole / "metrics.json").read_bytes()
        assert (cut / "scores.json").read_bytes() == (whole / "scores.json").read_bytes()
        assert {path.name for path in cut.iterdir()} == {path.name for path in whole.iterdir()}  # no stray file


@pytest.mark.slow
def test_two_processes_on_a_cpu_give_a_finished_run(tiny_spec, tmp_path, write_folder):
    data = write_folder(tmp_path / "data", 60)
    done = subprocess.run(
        command(tiny_spec, data, tmp_path / "run", "--devices", "2", "--json"),
        env=THREADS,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["test"]["images"] == 6
    assert done.stderr.count("epoch 3:") == 1
    assert (tmp_path / "run" / "report.html").exists()
