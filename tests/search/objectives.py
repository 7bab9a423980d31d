"""Objectives that the tests of the search share; importable, so that worker processes can run them."""

import os
import signal
import threading
import time


def width_score(model, spec):
    """Score by the knobs alone, in no time."""
    return knob_score(spec)


def knob_score(spec):
    values = spec.layout.vars
    score = 0.02 * values["width"] - 0.0006 * values["width"] ** 2
    for name in ("depth", "decoder_depth", "window"):
        for place, value in enumerate(values.get(name, [])):
            score += 0.01 * (place + 1) * min(value, 5) / 5
    return score


def is_start(spec):
    values = spec.layout.vars
    return values["width"] == 8 and values["depth"] == [1, 1] and values["kernels"] == [3]


def slow_score(model, spec):
    time.sleep(0.3)
    return knob_score(spec)


def endless(model, spec):
    """A training that only its time limit ends, even if what the limit interrupts first swallows it."""
    time.sleep(3600)


def epoch_score(model, spec, report, *, pause_s=0.0):
    """Nine epochs, each a step up to the knobs' score."""
    for epoch in range(1, 10):
        time.sleep(pause_s)
        if report(epoch, knob_score(spec) * epoch / 9):
            break
    return knob_score(spec) * epoch / 9


def logged_score(model, spec, *, place, seconds=0.02):
    """Write each training down in a file, one line a begin and one an end."""
    with open(place, "a") as file:
        file.write(f"begin {spec.layout.vars}\n")
    time.sleep(seconds)
    with open(place, "a") as file:
        file.write(f"end {spec.layout.vars}\n")
    return knob_score(spec)


def killing_score(model, spec):
    """Kill the worker itself at the spec's own net."""
    if is_start(spec):
        os.kill(os.getpid(), signal.SIGKILL)
    return knob_score(spec)


def hanging_score(model, spec):
    if is_start(spec):
        time.sleep(60)
    return knob_score(spec)


def failing_score(model, spec):
    width = spec.layout.vars["width"]
    if width <= 6:
        raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB")
    if width <= 8:
        return float("nan")
    if width <= 10:
        raise KeyError("lost")
    return knob_score(spec)


def crashing_score(model, spec):
    """Kill the worker itself unless the net is wide."""
    if spec.layout.vars["width"] < 12:
        os.kill(os.getpid(), signal.SIGKILL)
    return knob_score(spec)


def pid_score(model, spec, *, place):
    """Write this process's number down and stay busy."""
    with open(place + ".part", "w") as file:
        file.write(str(os.getpid()))
    os.replace(place + ".part", place)
    time.sleep(60)
    return 0.0


def haunted_score(model, spec, report):
    """Leave a thread behind that reports again and again until it is stopped, and end at once."""

    def go_on():
        time.sleep(0.05)
        while not report(99, 0.0):
            time.sleep(0.01)

    if is_start(spec):
        threading.Thread(target=go_on, daemon=True).start()
    else:
        time.sleep(0.3)
        report(1, 0.5)
    return knob_score(spec)


def worker_error(model, spec):
    """Fail as a process of a DataLoader does, whose error begins with where it was caught."""
    raise RuntimeError(
        "Caught RuntimeError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n"
        '  File "worker.py", line 1, in fetch\n'
        "RuntimeError: unable to allocate shared memory(shm): No space left on device (28)\n"
    )


def chained_error(model, spec):
    try:
        raise OSError("codec of JPEG-LS is missing")
    except OSError as err:
        raise ValueError("the image cannot be read.") from err


def gpu_score(model, spec):
    """Score by the GPU that this process sees; stay for a moment, so that each slot gets a job."""
    time.sleep(0.5)
    return float(os.environ["CUDA_VISIBLE_DEVICES"])
