"""The storage on a real PostgreSQL server of the test's own: several searches at once, and connections that break."""

import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import optuna
import pytest

from lmnet.builder.spec import parse_spec
from lmnet.search.run_search import run
from lmnet.search.study.storage import open_storage
from tests.search.conftest import SMALL
from tests.search.families import run_families
from tests.search.killing import TRIALS, crash, scored, start
from tests.search.objectives import width_score
from tests.search.run_search import run_search
from tests.warm import CONTEXT

pytestmark = [pytest.mark.postgres]


def find_program(name):
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(found[-1]) if found else shutil.which(name)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Start a server on a loopback port, as another user where the tests run as root, which PostgreSQL refuses."""
    initdb, postgres = find_program("initdb"), find_program("postgres")
    if not initdb or not postgres:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    folder = Path(f"/tmp/lmnet_postgres_{os.getpid()}")
    folder.mkdir()
    as_user = {}
    if os.geteuid() == 0:
        user = pwd.getpwnam("postgres" if any(u.pw_name == "postgres" for u in pwd.getpwall()) else "nobody")
        os.chown(folder, user.pw_uid, user.pw_gid)
        as_user = {"user": user.pw_uid, "group": user.pw_gid}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data = folder / "data"
    command = [initdb, "-D", str(data), "-U", "lmnet", "-A", "trust", "-N"]
    subprocess.run(command, check=True, capture_output=True, cwd=folder, **as_user)
    options = ["-h", "127.0.0.1", "-p", str(port), "-k", str(folder), "-F"]
    process = subprocess.Popen([postgres, "-D", str(data), *options], cwd=folder, stderr=subprocess.DEVNULL, **as_user)
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.1)
    time.sleep(1)
    yield f"postgresql://lmnet@127.0.0.1:{port}/postgres"
    process.send_signal(signal.SIGINT)  # fast: does not wait for clients
    process.wait(30)
    shutil.rmtree(folder)


@pytest.fixture
def storage(server):
    """Give a database that has no study yet."""
    with open_storage(server) as opened:
        for name in optuna.get_all_study_names(opened):
            optuna.delete_study(study_name=name, storage=opened)
    return server


def break_connections(storage):
    import psycopg

    with psycopg.connect(storage) as connection:
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and usename = 'lmnet'"
        )


SEARCHES = pytest.mark.parametrize("search", [run_search, run_families], ids=["one family", "three families"])


@SEARCHES
def test_two_searches_at_once_share_one_budget(storage, tmp_path, search):
    processes = [start(storage, tmp_path, 1, search=search) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0], [process.err for process in processes]
    hashes = [hash_ for hash_, _ in scored(storage).values()]
    assert len(hashes) == len(set(hashes)) == TRIALS


def test_a_search_survives_connections_broken_at_5_random_moments(storage, tmp_path):
    rng, process = random.Random(5), start(storage, tmp_path, 1)
    process.wait_for((tmp_path / "trained.log").exists)
    for _ in range(5):
        break_connections(storage)
        time.sleep(rng.uniform(0.05, 0.6))
    if process.wait() != 0:  # then the same command has to go on from there
        print(process.err)
    crash(storage, tmp_path, 0, rng)
    hashes = [hash_ for hash_, _ in scored(storage).values()]
    assert len(hashes) == len(set(hashes)) == TRIALS


@SEARCHES
@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_search_goes_on(storage, tmp_path, search, workers):
    crash(storage, tmp_path, 2, random.Random(2), workers, search=search)


def open_once(url, begin, results):
    begin.wait()
    try:
        with open_storage(url):
            results.put("opened")
    except Exception as error:  # noqa: BLE001 - the test shows it
        results.put(repr(error))


def test_searches_that_open_a_new_database_at_one_moment_all_go_on(server):
    import psycopg

    for attempt in range(2):
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"create database fresh{attempt}")
        begin, results = CONTEXT.Event(), CONTEXT.Queue()
        url = f"{server.rpartition('/')[0]}/fresh{attempt}"
        processes = [CONTEXT.Process(target=open_once, args=(url, begin, results)) for _ in range(4)]
        for process in processes:
            process.start()
        time.sleep(2)  # until all wait
        begin.set()
        assert [results.get(timeout=60) for _ in processes] == ["opened"] * 4
        for process in processes:
            process.join(30)


def test_a_role_without_rights_is_told_at_once(server, tmp_path):
    import psycopg

    base = server.rpartition("/")[0]
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("create database lab")
        connection.execute("create role reader login")
    options = {"objective": width_score, "max_gflops": 0.004, "trials": 2, "study_name": "lab"}
    run(parse_spec(SMALL), storage=f"{base}/lab", out=tmp_path / "a", **options)
    with psycopg.connect(f"{base}/lab", autocommit=True) as connection:
        connection.execute("grant select on all tables in schema public to reader")
    url = f"{base}/lab".replace("lmnet@", "reader@")

    begin = time.monotonic()
    with pytest.raises(ValueError, match=r"storage: permission denied for \w+ \w+\. A search must read and write all"):
        run(parse_spec(SMALL), storage=url, out=tmp_path / "b", **(options | {"trials": 4}))
    assert time.monotonic() - begin < 20


def test_every_session_is_in_one_time_zone(server):
    import psycopg

    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("create role tokyo login superuser")
        connection.execute("alter role tokyo set timezone to 'Asia/Tokyo'")
    with open_storage(server.replace("lmnet@", "tokyo@")) as opened, opened.engine.connect() as connection:
        assert connection.exec_driver_sql("show timezone").scalar() == "UTC"
