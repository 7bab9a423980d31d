"""The one command for a GPU runs on a CPU with --tiny, and goes on from its checkpoint."""

import re
import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_gpu_benchmark_runs_and_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--tiny", "--net", "lmnet_xxs", "--out", str(tmp_path)])
    first_epochs = []
    for _ in range(2):
        runpy.run_path(str(ROOT / "benchmarks" / "gpu.py"), run_name="__main__")
        first_epochs.append(int(re.search(r"^epoch (\d+):", capsys.readouterr().out, re.MULTILINE)[1]))
    report = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "## Attention" in report
    assert first_epochs[0] == 1
    assert first_epochs[1] > 1
    assert (tmp_path / "best.safetensors").exists()
