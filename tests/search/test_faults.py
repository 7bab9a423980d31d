"""Faults of searches: races, passwords, names of objectives, time, what is left of the caller's process."""

import functools
import logging
import os
import signal
import socket
import time
import warnings

import optuna
import pytest

import lmnet
from lmnet.builder.files import SaveError
from lmnet.builder.spec import parse_spec
from lmnet.search.cli import main
from lmnet.search.make_pool import check_reachable
from lmnet.search.results.counts import used_up_text
from lmnet.search.study import storage as storage_module
from lmnet.search.study.storage import open_storage, quiet_optuna, retry, without_password
from lmnet.search.train.training import OutOfTime, time_limit
from tests.warm import CONTEXT

SPACE = """\
schema: lmnet/1
name: small
input: {channels: 3, size: [32, 32]}
vars: {width: 8}
nodes:
  stem: {block: downsample, from: input, out_channels: "${width}", stride: 4}
  head: {block: segmentation_head, from: stem, scale: 4}
outputs: {logits: head}
search: {width: {low: 4, high: 24, step: 4}}
"""


@pytest.fixture
def space(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(SPACE)
    return path


def score(model, spec):
    return float(spec.layout.vars["width"])


def open_once(url, start, results):
    storage_module.OPENING_S = 600.0  # a loaded machine may take minutes; what is tested is that none gives up for good
    start.wait()
    try:
        with open_storage(url):
            results.put("opened")
    except Exception as error:  # noqa: BLE001
        results.put(repr(error))


def test_searches_that_open_a_new_database_at_one_moment_all_go_on(tmp_path):
    for attempt in range(3):
        url = f"sqlite:///{tmp_path}/{attempt}/study.db"
        start, results = CONTEXT.Event(), CONTEXT.Queue()
        processes = [CONTEXT.Process(target=open_once, args=(url, start, results)) for _ in range(6)]
        for process in processes:
            process.start()
        start.set()
        assert [results.get(timeout=900) for _ in processes] == ["opened"] * 6
        for process in processes:
            process.join()


@pytest.mark.parametrize("password", ["secret", "p@ss", "a/b", "x:y", "p#q?", "a b", "%zz", "ä@ö/ü"])
def test_no_part_of_a_password_is_shown(password):
    url = f"postgresql://me:{password}@127.0.0.1:1/lmnet"
    assert without_password(url) == "postgresql://me:***@127.0.0.1:1/lmnet"
    pytest.importorskip("psycopg", reason="needs the extra postgres")

    with pytest.raises(ValueError, match="storage: ") as caught, open_storage(url):
        pass

    text = str(caught.value)
    assert password not in text
    assert not any(len(part) > 2 and part in text for part in password.replace("@", "/").split("/"))


@pytest.mark.parametrize(
    "url", ["nonsense", "mysql://a:geheim@b/c", "postgresql://me:geheim@host:port/x", "sqlite:/geheim"]
)
def test_a_url_that_is_none_is_refused(url):
    message = r"storage: .*In a password, write %40 for @, %3A for :, %2F for /, %3F for \?\."
    with pytest.raises(ValueError, match=message) as caught, open_storage(url):
        pass
    assert "geheim" not in str(caught.value) or "@" not in url


def make(number):
    def objective(model, spec):
        calls.append(number)
        return float(number)

    return objective


calls = []


def test_closures_of_one_name_do_not_share_their_scores(space, tmp_path):
    calls.clear()
    url = f"sqlite:///{tmp_path}/both.db"
    options = {"max_gflops": 1, "trials": 2, "storage": url, "sampler": "random"}
    first = lmnet.search.run(space, objective=make(1), study_name="a", out=tmp_path / "a", **options)
    second = lmnet.search.run(space, objective=make(2), study_name="b", out=tmp_path / "b", **options)

    assert calls == [1, 1, 2, 2]
    assert {one.score for one in first.tally.scored} == {1.0}
    assert {one.score for one in second.tally.scored} == {2.0}


class Scores:
    """A callable object."""

    def __call__(self, model, spec):
        return score(model, spec)


def scaled(model, spec, *, by):
    return by * score(model, spec)


@pytest.mark.parametrize("make_objective", [Scores, lambda: functools.partial(scaled, by=2.0)])
def test_callable_objects_and_partials_are_resumed(space, tmp_path, make_objective):
    for trials in (1, 2):
        options = {"trials": trials, "out": tmp_path / "out", "sampler": "random"}
        result = lmnet.search.run(space, objective=make_objective(), max_gflops=1, **options)
    assert result.tally.trials == 2


def test_a_partial_that_only_this_process_knows_is_refused(space, tmp_path):
    objective = functools.partial(scaled, by=object())
    with pytest.raises(ValueError, match=r"change from session to session. Give the objective a method describe"):
        lmnet.search.run(space, objective=objective, max_gflops=1, trials=1, out=tmp_path / "out")


def test_the_time_limit_holds_while_candidates_are_looked_for(space, tmp_path, monkeypatch):
    import lmnet.search.session as module

    measured, surveyed = [], []

    def slow(spec, device, runtime):
        measured.append(time.monotonic())
        time.sleep(0.1)
        return 5.0 if spec.layout.vars["width"] == 8 else 50.0

    monkeypatch.setattr("lmnet.search.train.latency.measure_latency_ms", slow)
    monkeypatch.setattr(module, "survey", functools.partial(_survey_of_start, module.survey))
    options = {"objective": score, "max_latency_ms": 10, "timeout_s": 0.5, "trials": 30, "out": tmp_path / "out"}
    start = time.monotonic()

    lmnet.search.run(space, on_overview=lambda overview: surveyed.append(time.monotonic()), **options)

    end = max(start + 0.5, surveyed[0])  # the survey comes first, whatever it takes
    assert sum(at > end for at in measured) <= 2


def _survey_of_start(survey, pricer, *, seed):
    return survey(pricer, seed=seed)


def test_latencies_of_another_machine_are_refused(space, tmp_path, monkeypatch):
    import lmnet.search.session as module

    monkeypatch.setattr("lmnet.search.train.latency.measure_latency_ms", lambda spec, device, runtime: 1.0)
    options = {"objective": score, "max_latency_ms": 10, "out": tmp_path / "out", "sampler": "random"}
    lmnet.search.run(space, trials=1, **options)
    monkeypatch.setattr(module, "machine_name", lambda device, runtime: "elsewhere")

    with pytest.raises(ValueError, match=r"its latencies were measured on .*, and this is elsewhere"):
        lmnet.search.run(space, trials=2, **options)


def test_nothing_is_changed_behind_the_callers_back(space, tmp_path):
    optuna.logging.set_verbosity(optuna.logging.INFO)
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)]
    filters, level = list(warnings.filters), logging.getLogger("optuna").level
    try:
        lmnet.search.run(space, objective=score, max_gflops=1, trials=2, out=tmp_path / "out")
        assert optuna.logging.get_verbosity() == optuna.logging.INFO
    finally:
        optuna.logging.set_verbosity(level or optuna.logging.INFO)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)] == handlers
    assert warnings.filters == filters
    before = signal.getsignal(signal.SIGTERM)
    assert main(["--spec", str(space), "--max-gflops", "1", "--dry-run", "--out", str(tmp_path / "dry")]) == 0
    assert signal.getsignal(signal.SIGTERM) is before
    with quiet_optuna():
        assert optuna.logging.get_verbosity() == optuna.logging.WARNING


def test_a_full_disk_is_one_line_at_once():
    from sqlalchemy.exc import OperationalError

    def call():
        raise OperationalError("INSERT", {}, Exception("database or disk is full"))

    start = time.monotonic()
    with pytest.raises(SaveError, match="storage: the disk is full. What was finished is kept"):
        retry(call)
    assert time.monotonic() - start < 1


OWN = """\
import torch
from lmnet.blocks import Example, register

@register("blur_of_ours", example=Example({}, ((4, 8, 8),), ((4, 8, 8),)))
class Blur(torch.nn.Module):
    '''Blur a map.'''

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.out_channels = in_channels
        self.pool = torch.nn.AvgPool2d(3, stride=1, padding=1)

    def forward(self, x):
        return self.pool(x)
"""


def test_workers_import_the_users_modules(tmp_path, monkeypatch, capsys):
    (tmp_path / "ours_for_search.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    spec = tmp_path / "own.yaml"
    spec.write_text(SPACE.replace("from: stem, scale", "from: mine, scale").replace(
        "  head:", "  mine: {block: blur_of_ours, from: stem}\n  head:"))  # fmt: skip
    command = [
        "--spec",
        str(spec),
        "--max-gflops",
        "1",
        "--trials",
        "2",
        "--epochs",
        "1",
        "--confirm-epochs",
        "0",
        "--size",
        "32",
        "--workers",
        "1",
    ]

    try:
        assert main([*command, "--import", "ours_for_search", "--out", str(tmp_path / "out")]) == 0
    finally:
        from lmnet.blocks import REGISTRY

        REGISTRY._classes.pop("blur_of_ours", None)
        REGISTRY._examples.pop("blur_of_ours", None)
    assert "2 trials, 0 failed" in capsys.readouterr().out


def test_the_end_names_why_trainings_failed(space, tmp_path):
    def fails(model, spec):
        raise ValueError("block 'blur' is not registered")

    result = lmnet.search.run(space, objective=fails, max_gflops=1, trials=30, out=tmp_path / "out", sampler="random")

    assert result.is_used_up
    assert used_up_text(result.tally) == (
        "Stopped: every feasible net is trained or has failed (6 failed; the last: ValueError: block 'blur' is not "
        "registered)."
    )


def test_a_time_limit_is_not_lost_in_a_finalizer():
    class Slow:
        def __del__(self):
            end = time.monotonic() + 0.2
            while time.monotonic() < end:
                pass

    def work():
        Slow()  # the alarm rings in its finalizer, whose exceptions the interpreter forgets
        time.sleep(2)

    with pytest.raises(OutOfTime), time_limit(0.05):
        work()


def test_a_server_that_does_not_answer_is_one_line_within_seconds(monkeypatch):
    pytest.importorskip("psycopg", reason="needs the extra postgres")
    monkeypatch.setattr(storage_module, "CONNECT_S", 2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://me:secret@127.0.0.1:{silent.getsockname()[1]}/lmnet"
        begin = time.monotonic()
        with pytest.raises(ValueError, match=r"cannot be reached \(.*\)\. Check server.*%40 for @") as caught:
            open_storage(url).__enter__()
    assert time.monotonic() - begin < 10
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("address", ["ray://127.0.0.1:{}", "127.0.0.1:{}"])
def test_a_cluster_that_does_not_answer_is_one_line_within_seconds(address):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        check_reachable(address.format(port))
    with pytest.raises(ValueError, match=r"the Ray cluster at .* cannot be reached .*refused.*`ray start --head`"):
        check_reachable(address.format(port))


def test_an_error_of_rights_ends_at_once_and_is_named():
    from sqlalchemy.exc import ProgrammingError

    def call():
        raise ProgrammingError("INSERT", {}, Exception("permission denied for table studies\nHINT: ask"))

    begin = time.monotonic()
    with pytest.raises(
        ValueError, match=r"storage: permission denied for table studies\. A search must read and write"
    ):
        retry(call)
    assert time.monotonic() - begin < 1


def test_a_database_that_stays_away_is_one_line():
    from sqlalchemy.exc import OperationalError

    def call():
        raise OperationalError("SELECT", {}, Exception("server closed the connection unexpectedly"))

    with pytest.raises(SaveError, match=r"failed for 0 s \(server closed the connection unexpectedly\)\. What was"):
        retry(call, patience_s=0)


def test_an_objective_that_prunes_is_told_what_to_return(space, tmp_path):
    def prunes(model, spec):
        raise optuna.TrialPruned()

    with pytest.raises(RuntimeError, match=r"12 training runs in a row .*Return the score that is reached instead\."):
        lmnet.search.run(
            parse_spec(space.read_text().replace("high: 24, step: 4", "high: 32, step: 2")),
            objective=prunes, max_gflops=1, trials=30, out=tmp_path / "out", sampler="random",
        )  # fmt: skip
