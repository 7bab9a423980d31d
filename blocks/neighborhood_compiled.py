"""The compiled neighbourhood attention: builds neighborhood_kernel.cpp on first use, keeps it, and calls it.

The kernel has a plain C interface, so that it needs nothing but a C++ compiler: no Python or torch headers, a build in
seconds instead of a minute, and no rebuild with a new torch. Its threads are those of torch's own OpenMP.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import shutil
import subprocess
import tempfile
from functools import cache
from importlib import resources
from pathlib import Path

import torch
from torch import Tensor

from lmnet.blocks.neighborhood_planar import planar_attention, planar_attention_backward

_FLAGS = ("-std=c++17", "-O3", "-march=native", "-fno-math-errno", "-fopenmp", "-fPIC", "-shared")
_COMPILERS = ("c++", "g++", "clang++")

_is_default = False


def build_attention_kernel() -> bool:
    """Build and load the compiled neighbourhood attention; from then on the backend ``auto`` uses it on CPU.

    Built kernels are kept in ``~/.cache/lmnet``. One that was built before, from the same source, by the same compiler,
    for the same processor, is only loaded.

    Returns:
        Whether the kernel can be used. If not, the reason is logged (once) and attention runs in pure PyTorch.
    """
    global _is_default
    _is_default = load_kernel() is not None
    return _is_default


def is_kernel_default() -> bool:
    """Say whether ``build_attention_kernel`` has succeeded in this process."""
    return _is_default


def can_compute(query: Tensor) -> bool:
    """Say whether the kernel takes this device and type: float32 on CPU, and the half types through it."""
    return query.device.type == "cpu" and query.dtype in (torch.float32, torch.bfloat16, torch.float16)


@cache
def load_kernel() -> ctypes.CDLL | None:
    """Build and load the kernel, once a process; None, and a line in the log, where that fails."""
    try:
        kernel = ctypes.CDLL(str(_build(Path.home() / ".cache" / "lmnet")))
    except (OSError, subprocess.CalledProcessError) as err:
        logging.getLogger("lmnet").warning(
            "neighborhood_attention: no compiled kernel, pure PyTorch is used instead: %s", _reason(err)
        )
        return None
    pointer, integer, real = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float
    kernel.lmnet_attention.argtypes = [pointer] * 8 + [integer, real, integer]
    kernel.lmnet_attention_backward.argtypes = [pointer] * 12 + [integer, real, integer]
    kernel.lmnet_attention.restype = kernel.lmnet_attention_backward.restype = None
    return kernel


def _reason(err: OSError | subprocess.CalledProcessError) -> str:
    if isinstance(err, subprocess.CalledProcessError):
        lines = err.stderr.strip().splitlines() or [f"exit code {err.returncode}"]
        return f"{err.cmd[0]}: {lines[0]}"
    return str(err)


def _build(directory: Path) -> Path:
    """Return the kernel's library in ``directory``, built unless it is there."""
    compiler = next(filter(None, map(shutil.which, _COMPILERS)), None)
    if compiler is None:
        raise FileNotFoundError(f"no C++ compiler found, looked for {', '.join(_COMPILERS)}. Install g++.")
    source = resources.files("lmnet.blocks").joinpath("neighborhood_kernel.cpp").read_text()
    # -### prints the compiler's version, and what -march=native means on this processor.
    target = subprocess.run([compiler, *_FLAGS, "-###", "-x", "c++", "-E", "-"],
                            input="", capture_output=True, text=True, check=True)  # fmt: skip
    name = hashlib.sha256("\n".join([source, compiler, *_FLAGS, target.stderr]).encode()).hexdigest()[:16]
    library = directory / f"neighborhood_kernel_{name}.so"
    if not library.exists():
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory) as folder:  # then renamed: processes may build at once
            built = Path(folder) / library.name
            command = [compiler, *_FLAGS, "-x", "c++", "-", "-o", str(built)]
            subprocess.run(command, input=source, capture_output=True, text=True, check=True)
            os.replace(built, library)
    return library


def compiled_attention(query: Tensor, key: Tensor, value: Tensor, window: int, scale: float) -> Tensor:
    """Return the attention (N, H, W, heads, head size), contiguous, or that of pure PyTorch where no kernel loads."""
    kernel = load_kernel()
    if kernel is None:
        return planar_attention(query, key, value, window, scale)
    maps = [x.detach().float() for x in (query, key, value)]
    out = torch.empty(query.shape)
    kernel.lmnet_attention(*_inputs(maps), out.data_ptr(), *_settings(query, window, scale))
    return out.to(query.dtype)


def compiled_attention_backward(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, window: int, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of query, key and value for the gradient of the attention."""
    kernel = load_kernel()
    if kernel is None:
        return planar_attention_backward(grad, query, key, value, window, scale)
    maps = [x.detach().float() for x in (grad, query, key, value)]
    grads = torch.empty(query.shape), torch.zeros(query.shape), torch.zeros(query.shape)
    addresses = [x.data_ptr() for x in grads]
    kernel.lmnet_attention_backward(*_inputs(maps), *addresses, *_settings(query, window, scale))
    return grads[0].to(query.dtype), grads[1].to(query.dtype), grads[2].to(query.dtype)


def _inputs(maps: list[Tensor]) -> list[object]:
    """Return address and strides of each map in turn."""
    return [part for x in maps for part in (x.data_ptr(), (ctypes.c_int64 * 5)(*x.stride()))]


def _settings(query: Tensor, window: int, scale: float) -> tuple[object, ...]:
    return (ctypes.c_int64 * 5)(*query.shape), window, scale, torch.get_num_threads()
