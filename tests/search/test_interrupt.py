"""Ctrl-C: noted between steps, urgent in a training of this process, the second always."""

import signal

import pytest

from lmnet.search.run_search import run
from lmnet.search.train.interrupt import Interrupt
from tests.search.objectives import width_score


def test_a_first_ctrl_c_is_a_note_and_a_second_raises():
    before = signal.getsignal(signal.SIGINT)
    with Interrupt(lambda: False) as interrupt:
        signal.raise_signal(signal.SIGINT)
        assert interrupt.is_set
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_keyboard_interrupt_without_a_signal_counts_too(small, tmp_path):
    def objective(model, spec):
        raise KeyboardInterrupt

    assert run(small, objective=objective, max_gflops=0.004, trials=8, out=tmp_path).is_interrupted


def test_ctrl_c_in_a_training_of_this_process_ends_the_search_at_once(small, tmp_path):
    trained = []

    def objective(model, spec):
        trained.append(model.hash)
        if len(trained) == 3:
            signal.raise_signal(signal.SIGINT)
            trained.append("went on")
        return width_score(model, spec)

    result = run(small, objective=objective, max_gflops=0.004, trials=8, out=tmp_path)
    assert result.is_interrupted
    assert result.tally.trials == 2
    assert len(trained) == 3
    assert run(small, objective=objective, max_gflops=0.004, trials=8, out=tmp_path).tally.trials == 8
    assert trained[2] == trained[3]  # what was cut off is trained again
