"""Runs as real processes: killed in the middle of an epoch and begun again; two processes as one."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

KILLS = int(os.environ.get("LMNET_KILLS", "6"))
THREADS = {**os.environ, "OMP_NUM_THREADS": "1"}


def command(spec: str, data: object, out: Path, *more: str) -> list[str]:
    options = ["--size", "64", "--epochs", "3", "--batch-size", "2", "--device", "cpu", "--workers", "0"]
    program = [sys.executable, "-m", "lmnet.training.cli_train"]
    return [*program, spec, "--data", str(data), "--out", str(out), *options, *more]


def test_a_run_killed_in_the_middle_of_an_epoch_ends_as_if_it_had_not_been(tiny_spec, tmp_path, write_folder):
    data = write_folder(tmp_path / "data", 60)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    unbroken = subprocess.Popen(
        command(tiny_spec, data, whole), env=THREADS, stderr=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    )
    killed = subprocess.Popen(
        command(tiny_spec, data, cut), env=THREADS, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    assert killed.stderr is not None
    for line in killed.stderr:
        if line.startswith(b"epoch 1:"):
            time.sleep(0.05)  # into epoch 2
            killed.send_signal(signal.SIGKILL)
            break
    killed.stderr.close()
    killed.wait(timeout=60)
    assert (cut / "last.ckpt").exists()
    assert not (cut / "metrics.json").exists()

    resumed = subprocess.run(command(tiny_spec, data, cut), env=THREADS, capture_output=True, text=True, check=True)

    printed, _ = unbroken.communicate(timeout=120)
    assert unbroken.returncode == 0
    assert "going on in" in resumed.stderr
    assert "epoch 1:" not in resumed.stderr
    assert (cut / "metrics.json").read_bytes() == (whole / "metrics.json").read_bytes()
    assert (cut / "scores.json").read_bytes() == (whole / "scores.json").read_bytes()
    assert resumed.stdout.splitlines()[:-1] == printed.splitlines()[:-1]


@pytest.mark.slow
def test_a_run_killed_at_random_moments_loses_nothing(tiny_spec, tmp_path, write_folder):
    """Killed so often and at any moment, the import of torch among them, the run ends as one that was never killed."""
    data, rng = write_folder(tmp_path / "data", 60), random.Random(0)
    options = ["--epochs", "30"]
    whole = tmp_path / "whole"
    subprocess.run(command(tiny_spec, data, whole, *options), env=THREADS, check=True, capture_output=True)
    kills = 0
    while kills < KILLS:
        cut = tmp_path / f"cut{kills}"
        while not (cut / "metrics.json").exists():
            process = subprocess.Popen(
                command(tiny_spec, data, cut, *options),
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
