"""How long a net takes on this machine: measured once, in a process of its own, with an end in time."""

import math
import time

import pytest
import torch

from lmnet.search.suggest import timing
from lmnet.search.suggest.run import Bounds, _Job
from lmnet.search.suggest.timing import MachineCost, Stopwatch
from tests.search.choices import choice

pytestmark = pytest.mark.usefixtures("own_timings")


def in_this_process(self, each, seconds, say):
    """Measure without the seconds that a new process takes."""
    return MachineCost(*timing.measured_cost(each.net, each.size, 3, "torch", torch.get_num_threads(), ""), True)


def test_a_net_is_timed_once_and_then_known(monkeypatch):
    monkeypatch.setattr(Stopwatch, "_measured_within", in_this_process)
    watch = Stopwatch("torch")
    first = watch.measure([choice()], until=math.inf)
    assert first[choice()].is_measured
    assert Stopwatch("torch").known(choice()) == first[choice()]
    assert Stopwatch("torch").known(choice(size=64)) is None


def test_timing_ends_in_time_and_the_rest_is_guessed(monkeypatch):
    now = [0.0]

    def measured(self, each, seconds, say):
        now[0] += min(10, seconds)
        return MachineCost(2 * each.gmacs, 1.0, True) if seconds >= 10 else None

    monkeypatch.setattr(Stopwatch, "_measured_within", measured)
    watch = Stopwatch("torch", clock=lambda: now[0])
    nets = [choice(net=f"net{i}", gmacs=i) for i in range(1, 6)]
    found = watch.measure(nets, until=29)
    assert [each.net for each in found] == ["net1", "net2"]
    assert now == [29]
    assert watch.estimate(nets[4], found) == MachineCost(10.0, 0.004, False)
    assert watch.estimate(choice(ms=3.0), {}).ms == 3.0


def test_a_net_that_takes_too_long_to_time_is_ended():
    start, said = time.monotonic(), []
    assert Stopwatch("torch")._measured_within(choice(), 0.01, said.append) is None
    assert time.monotonic() - start < 60
    assert Stopwatch("torch").measure([choice()], until=start + 1) == {}  # not begun


def test_a_runtime_is_timed_with_its_own_file(monkeypatch, tmp_path):
    pytest.importorskip("onnxruntime", reason="needs the extra `export`")

    def exported(model, path, size, say):
        say("exporting")
        path.write_bytes(b"x" * 1_500_000)

    monkeypatch.setattr(timing, "export_model", exported)
    monkeypatch.setattr(timing, "onnxruntime_net", lambda path: lambda image: time.sleep(0.002))
    said = []
    threads = torch.get_num_threads()
    ms, mb = timing.measured_cost("lmnet_xxs", 32, 3, "onnxruntime", threads, str(tmp_path), said.append)
    assert mb == 1.5
    assert ms >= 2
    assert said == ["exporting", "timing lmnet_xxs at 32 px in onnxruntime"]


def test_the_lines_of_a_measurement_come_from_its_process():
    said = []
    cost = Stopwatch("torch").measure([choice()], until=math.inf, say=said.append)[choice()]
    assert cost.is_measured
    assert said == ["measuring lmnet_xxs at 32 px from random weights in torch", "timing lmnet_xxs at 32 px in torch"]


def test_a_net_that_cannot_be_measured_is_named_and_passed_over():
    said = []
    assert Stopwatch("torch").measure([choice(net="nothing")], until=math.inf, say=said.append) == {}
    assert said[1].startswith("nothing at 32 px from random weights was not timed: ")
    assert "the zoo has no net nothing." in said[1]


def test_nets_that_a_guess_has_over_the_limit_are_timed_last(monkeypatch):
    monkeypatch.setattr(Stopwatch, "_measured_within", lambda *given: MachineCost(5.0, 1.0, True))
    said = []
    job = _Job(Bounds(max_ms=10), math.inf, 2, 0, "cpu", (), said.append)
    job._costs([choice(net="slow", ms=20.0), choice(net="fast", ms=6.0), choice(net="new")], Stopwatch("torch"), [])
    assert [line.split()[1] for line in said] == ["fast", "new", "slow"]
