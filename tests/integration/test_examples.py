import re
import runpy
from pathlib import Path

import pytest

pytest.importorskip("segmentation_models_pytorch", reason="needs the extra integration")
pytest.importorskip("monai", reason="needs the extra integration")

pytestmark = pytest.mark.integration

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))
EXAMPLES = [path for path in EXAMPLES if path.stem != "onnx_without_lmnet"]  # tests/training/test_onnx_files.py runs it


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_it_trains_reparameterises_and_exports(example, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(example), run_name="__main__")
    last = capsys.readouterr().out.splitlines()[-1]
    loss, difference, error = re.fullmatch(
        r"loss (\S+), re-parameterised differs by (\S+), \S+ by (\S+)", last
    ).groups()
    assert 0 < float(loss) < 10
    assert float(difference) <= 1e-5
    assert float(error) <= 1e-4
    assert (tmp_path / f"{example.stem}.onnx").stat().st_size > 1000
