"""What all tests share."""

import os
import tempfile

import torch

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)  # the workers share the cores: with more threads each waits for the others

# costs are measured afresh in every run, never taken from the user's store
os.environ.setdefault("LMNET_CACHE", tempfile.mkdtemp(prefix="lmnet-costs-"))
