"""Programs of the package as processes of their own that start at once: a server imports the package and forks them.

One server serves all tests of a pytest process. A test of what an interpreter imports or of its start needs
``subprocess`` instead.
"""

import os
import shutil
import sys
import tempfile
import time
import weakref
from multiprocessing import forkserver
from pathlib import Path

import torch

from lmnet.builder.processes import fresh_processes

CONTEXT = fresh_processes("lmnet.search.run_search", "lmnet.training.cli_train")


def warm_up():
    """Begin to import the package in the server, and wait for nothing."""
    forkserver.ensure_running()


class Program:
    """A function in a process and a session of its own, one thread for torch, what it prints kept in files.

    Args:
        function: of an importable module; an int that it returns is the exit status.
        arguments: of the function.
    """

    def __init__(self, function, *arguments):
        folder = Path(tempfile.mkdtemp(prefix="lmnet-program-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self._out, self._err = folder / "out", folder / "err"
        self._process = CONTEXT.Process(target=_run, args=(function, arguments, str(self._out), str(self._err)))
        self._process.start()

    @property
    def pid(self):
        return self._process.pid

    @property
    def out(self):
        """What it has printed on stdout."""
        return self._out.read_text() if self._out.exists() else ""

    @property
    def err(self):
        """What it has printed on stderr."""
        return self._err.read_text() if self._err.exists() else ""

    def is_running(self):
        return self._process.is_alive()

    def kill(self):
        self._process.kill()
        self._process.join()

    def wait_for(self, is_so, within_s=120.0):
        """Wait until something is so; the program must not end before."""
        end = time.monotonic() + within_s
        while not is_so():
            assert self.is_running(), self.err
            assert time.monotonic() < end, self.err
            time.sleep(0.01)

    def wait(self, within_s=300.0):
        """Wait for the end; return the exit status."""
        self._process.join(within_s)
        assert not self._process.is_alive(), self.err
        return self._process.exitcode


def _run(function, arguments, out, err):
    os.setsid()
    for path, place in ((out, 1), (err, 2)):
        os.dup2(os.open(path, os.O_CREAT | os.O_WRONLY), place)
    torch.set_num_threads(1)
    sys.exit(function(*arguments))
