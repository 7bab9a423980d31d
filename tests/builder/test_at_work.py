"""A command is never silent for long."""

import sys
import time

import pytest

from lmnet.builder.at_work import at_work
from lmnet.builder.command_line import run_command


def wait_for(capsys, count):
    """Return what was printed, as soon as a line that work goes on was printed so many times."""
    text, end = "", time.monotonic() + 20
    while text.count("still at work") < count and time.monotonic() < end:
        time.sleep(0.01)
        text += capsys.readouterr().err
    return text


def test_a_silence_ends_in_a_line_that_work_goes_on(capsys):
    with at_work(quiet_s=0.05):
        print("exporting")
        assert "  still at work, 0 s\n" in wait_for(capsys, 2)
        print("timing", file=sys.stderr)
    assert "timing\n" in capsys.readouterr().err


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_what_is_written_ends_the_silence(capsys, stream):
    with at_work(quiet_s=1.0):
        for _ in range(30):
            print("a step", file=getattr(sys, stream))
            time.sleep(0.05)
    assert "still at work" not in capsys.readouterr().err


def test_a_log_has_few_such_lines_once_a_command_runs_long(capsys, monkeypatch):
    monkeypatch.setattr("lmnet.builder.at_work.LONG_S", 0.0)
    with at_work(quiet_s=0.01):
        time.sleep(0.3)
    assert "still at work" not in capsys.readouterr().err


def test_the_streams_of_a_command_are_what_they_were(capsys):
    before = sys.stdout, sys.stderr
    with at_work():
        assert sys.stdout is not before[0]
        assert sys.stderr.isatty() == before[1].isatty()
    assert (sys.stdout, sys.stderr) == before


def test_commands_say_that_they_are_at_work(capsys, monkeypatch):
    monkeypatch.setattr("lmnet.builder.command_line.at_work", lambda: at_work(quiet_s=0.05))

    def body():
        assert "still at work" in wait_for(capsys, 1)
        return 0

    assert run_command("lmnet-x", body, debug=False) == 0


def test_only_the_first_process_of_a_training_prints(capsys, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr("lmnet.builder.command_line.at_work", lambda: at_work(quiet_s=0.01))
    assert run_command("lmnet-x", lambda: time.sleep(0.2) or 0, debug=False) == 0
    assert capsys.readouterr().err == ""
