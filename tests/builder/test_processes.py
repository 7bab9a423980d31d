"""A call in a process of its own: its lines, its errors and its end."""

import os
import signal
import subprocess
import sys
import time

import pytest

from lmnet.builder.processes import call_in_process


def speaks(count, say):
    for index in range(count):
        say(f"line {index}")
    return count


class Awkward(Exception):
    """Cannot be made again from its text."""

    def __init__(self, first, second):
        super().__init__(f"{first} {second}")


def fails(kind):
    if kind == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "awkward":
        raise Awkward("not", "here")
    raise ValueError("no such thing")


def test_lines_and_result_come_back():
    said = []
    assert call_in_process(speaks, 3, say=said.append) == 3
    assert said == ["line 0", "line 1", "line 2"]


def test_errors_come_back_too():
    with pytest.raises(ValueError, match=r"^no such thing$"):
        call_in_process(fails, "value")
    with pytest.raises(RuntimeError, match=r"^Awkward: not here$"):
        call_in_process(fails, "awkward")
    with pytest.raises(RuntimeError, match=r"fails: its process ended with exit code -9\. Free memory, and repeat\."):
        call_in_process(fails, "dies")


def test_a_call_that_takes_too_long_is_ended():
    start = time.monotonic()
    with pytest.raises(TimeoutError, match=r"sleep: 0 s were not enough\."):
        call_in_process(time.sleep, 600, seconds=0.2)
    assert time.monotonic() - start < 300


ENDED = """
import os, signal
from lmnet.builder.processes import call_in_process
call_in_process(os.getpid)
os.kill(os.getpid(), signal.SIGTERM)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a program given by -c has no main module to import")
def test_a_process_that_a_signal_ends_leaves_nothing_behind():
    ended = subprocess.run([sys.executable, "-c", ENDED], capture_output=True, text=True, timeout=300)
    assert (ended.returncode, ended.stdout, ended.stderr) == (-signal.SIGTERM, "", "")
