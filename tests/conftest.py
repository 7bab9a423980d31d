"""What all tests share."""

import atexit
import gc
import os
import shutil
import tempfile
from pathlib import Path

import torch

from tests.warm import warm_up

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)  # the workers share the cores: with more threads each waits for the others

# costs are measured afresh in every run, never taken from the user's store
if "LMNET_CACHE" not in os.environ:
    os.environ["LMNET_CACHE"] = folder = tempfile.mkdtemp(prefix="lmnet-costs-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for library in (Path.home() / ".cache" / "lmnet").glob("*.so"):  # kernels need not be compiled again: names hold
        shutil.copy(library, folder)  # a hash of source, compiler and processor

if "PYTEST_XDIST_WORKER" in os.environ:
    warm_up()  # its processes see the environment of this moment


def pytest_collection_finish():
    """Spare all that was imported from the garbage collector: a search collects after each training."""
    gc.freeze()
