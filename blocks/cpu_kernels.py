"""C++ files of this folder as libraries: built on first use, kept, and loaded.

The first training step of a process on a CPU builds what it uses (``can_build``), in anybody's training loop.

They have a plain C interface, so that they need nothing but a C++ compiler: no Python or torch headers, a build in
seconds instead of a minute, and no rebuild with a new torch. Their threads are those of torch's own OpenMP.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import logging
import multiprocessing
import os
import shutil
import subprocess
import tempfile
from functools import cache
from importlib import resources
from pathlib import Path

from lmnet.blocks.cache_folder import cache_folder

_FLAGS = ("-std=c++17", "-O3", "-march=native", "-fno-math-errno", "-fopenmp", "-fPIC", "-shared")
_COMPILERS = ("c++", "g++", "clang++")

SWITCH = "LMNET_KERNELS"
"""The environment variable that leaves the kernels out where it is 0."""


def can_build() -> bool:
    """Return whether kernels are wanted and there is a compiler; without one, a line in the log says so once."""
    if os.environ.get(SWITCH) == "0":
        return False
    if find_compiler() is None:
        _report_missing_compiler()
        return False
    return True


@cache
def _report_missing_compiler() -> None:
    if multiprocessing.parent_process() is None:  # once, not in each worker of a search
        logging.getLogger("lmnet").warning(
            "note: there is no C++ compiler (%s), so training on a CPU runs without compiled kernels and is slower. "
            "Install g++, or set %s=0 to silence this line.",
            ", ".join(_COMPILERS),
            SWITCH,
        )


def find_compiler() -> str | None:
    """Return the path of a C++ compiler, or None."""
    return next(filter(None, map(shutil.which, _COMPILERS)), None)


def load_library(source: str, block: str) -> ctypes.CDLL | None:
    """Build and load a C++ file; None, and a line in the log that names the block, where that fails.

    Libraries are kept in the cache folder, see ``cache_folder``. One that was built before, from the same source, by
    the same compiler, for the same processor, is only loaded. Without a cache folder, or with one that cannot be used,
    each process builds its own.
    """
    kept = cache_folder()
    if kept is not None:
        # read-only, full, or a disk from which no code may be loaded; a compiler's error comes again below
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            return ctypes.CDLL(str(_build(source, kept)))
    try:
        with tempfile.TemporaryDirectory() as folder:  # a loaded library needs its file no more
            return ctypes.CDLL(str(_build(source, Path(folder))))
    except (OSError, subprocess.CalledProcessError) as err:
        logging.getLogger("lmnet").warning(
            "%s: no compiled kernel, pure PyTorch is used instead: %s", block, _reason(err)
        )
        return None


def _reason(err: OSError | subprocess.CalledProcessError) -> str:
    if isinstance(err, subprocess.CalledProcessError):
        lines = err.stderr.strip().splitlines() or [f"exit code {err.returncode}"]
        return f"{err.cmd[0]}: {lines[0]}"
    return str(err)


def _build(source: str, directory: Path) -> Path:
    """Return the library in ``directory``, built unless it is there."""
    compiler = find_compiler()
    if compiler is None:
        raise FileNotFoundError(f"no C++ compiler found, looked for {', '.join(_COMPILERS)}. Install g++.")
    text = resources.files("lmnet.blocks").joinpath(source).read_text()
    # -### prints the compiler's version, and what -march=native means on this processor.
    target = subprocess.run([compiler, *_FLAGS, "-###", "-x", "c++", "-E", "-"],
                            input="", capture_output=True, text=True, check=True)  # fmt: skip
    name = hashlib.sha256("\n".join([text, compiler, *_FLAGS, target.stderr]).encode()).hexdigest()[:16]
    library = directory / f"{source.removesuffix('.cpp')}_{name}.so"
    if not library.exists():
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory) as folder:  # then renamed: processes may build at once
            built = Path(folder) / library.name
            command = [compiler, *_FLAGS, "-x", "c++", "-", "-o", str(built)]
            subprocess.run(command, input=text, capture_output=True, text=True, check=True)
            os.replace(built, library)
    return library
