import pytest
import torch

from lmnet.integrations.onnx import export_onnx


def test_a_single_picture_gives_one_line(tmp_path):
    with pytest.raises(
        ValueError, match=r"export: image must be \(N, C, H, W\) with N of 2 or more, got \(1, 3, 8, 8\)"
    ):
        export_onnx(torch.nn.Identity(), torch.rand(1, 3, 8, 8), tmp_path / "x.onnx")


class Random(torch.nn.Module):
    def forward(self, x):
        return torch.zeros_like(x) if torch.compiler.is_exporting() else x


def test_a_file_that_differs_is_an_error_and_removed(tmp_path):
    with pytest.raises(RuntimeError, match=r"export: the file must equal the model to 0.0001, got 1.00e\+00"):
        export_onnx(Random(), torch.rand(2, 3, 8, 8), tmp_path / "x.onnx")
    assert not list(tmp_path.glob("x.onnx"))
