"""The examples in the docstrings of public names run and give what they show."""

import doctest
import importlib
import inspect

import pytest

from lmnet.blocks import REGISTRY

PACKAGES = ("lmnet", "lmnet.blocks", "lmnet.builder", "lmnet.training", "lmnet.search")
FIRST_MET = [
    "lmnet.cost",
    "lmnet.create_model",
    "lmnet.from_pretrained",
    "lmnet.list_models",
    "lmnet.load_spec",
    "lmnet.open_model",
    "lmnet.optimize_for_inference",
    "lmnet.save_pretrained",
    "lmnet.blocks.ConvNormAct",
    "lmnet.blocks.CrossScaleFusion",
    "lmnet.blocks.Downsample",
    "lmnet.blocks.FusionDecoder",
    "lmnet.blocks.GlobalFeatureTransformer",
    "lmnet.blocks.LocalFeatureTransformer",
    "lmnet.blocks.MultiBranchConv",
    "lmnet.blocks.MultiBranchStage",
    "lmnet.blocks.NeighborhoodAttention2d",
    "lmnet.blocks.PyramidPool",
    "lmnet.blocks.SegmentationHead",
    "lmnet.blocks.TimmEncoder",
    "lmnet.blocks.Upsample",
    "lmnet.blocks.neighborhood_attention",
    "lmnet.blocks.register",
    "lmnet.builder.parse_spec",
    "lmnet.training.CrossEntropyDice",
    "lmnet.training.Recipe",
    "lmnet.training.Schedule",
    "lmnet.training.compare",
    "lmnet.training.evaluate",
    "lmnet.training.fit",
    "lmnet.training.load_data",
    "lmnet.training.summarize",
]
"""What a user meets first: these must have an example."""


def examples():
    """Yield the doctest of each public class and function that shows an example, a name met in two packages once."""
    found = {}
    for package in PACKAGES:
        module = importlib.import_module(package)
        for name in module.__all__:
            value = getattr(module, name)
            doc = getattr(value, "__doc__", None) or ""
            if ">>>" in doc and not inspect.ismodule(value):
                test = doctest.DocTestParser().get_doctest(inspect.cleandoc(doc), {}, f"{package}.{name}", None, 0)
                found.setdefault(id(value), test)
    return list(found.values())


@pytest.mark.parametrize("test", examples(), ids=lambda test: test.name)
def test_example_gives_what_it_shows(test, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(REGISTRY, "_classes", dict(REGISTRY._classes))  # what an example registers goes with it
    monkeypatch.setattr(REGISTRY, "_examples", dict(REGISTRY._examples))
    output = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE, verbose=False)
    runner.run(test, out=output.append)
    assert runner.failures == 0, "".join(output)


@pytest.mark.parametrize("name", FIRST_MET)
def test_name_that_a_user_meets_first_has_an_example(name):
    package, _, short = name.rpartition(".")
    assert ">>>" in (getattr(importlib.import_module(package), short).__doc__ or "")
