"""Which folder a run has, who owns it, and what happens with more epochs or another request."""

import json
import os
import shutil
import subprocess
import sys
import time

import pytest

from lmnet.builder.process_identity import OWNER, machine, owned, start_time, this_process
from lmnet.training import Recipe
from lmnet.training.cli_train import EpochLine, duration
from lmnet.training.cli_train import main as train_main
from lmnet.training.runs.run_folder import Request, RunFolder
from lmnet.training.runs.run_name import data_name, find_folder

QUICK = ["--size", "32", "--batch-size", "4", "--workers", "0", "--device", "cpu", "--epochs", "1"]


def begun(folder, request):
    """Write the manifest of a run, as ``RunFolder.begin`` does."""
    folder.path.mkdir(parents=True)
    content = {"format": "lmnet-run/1", **request.facts(), "data": request.data, "notes": []}
    (folder.path / "run.json").write_text(json.dumps(content))
    return folder


def request(**changes):
    recipe = Recipe().override({key: changes.pop(key) for key in ("size", "epochs", "lr") if key in changes})
    values = {"model": "net", "spec_hash": "abcdef123", "data": "mine", "fingerprint": "1234567", "seed": 0}
    return Request(**{**values, "recipe": recipe, **changes})


@pytest.mark.parametrize(
    ("layout", "path", "name"),
    [
        ("kvasir", "/x/Kvasir-SEG", "kvasir"),
        ("synthetic", "synthetic", "synthetic"),
        ("folders", "/x/my data (2)", "my_data_2"),
        ("table", "/x/list.csv", "list"),
        ("folders", "/x/Pr\udcfcfung", "Pr_fung"),
        ("folders", "/x/\u8d85\u97f3\u6ce2", "folders"),
        ("nnunet", "/x/Dataset001_A/", "Dataset001_A"),
    ],
)
def test_a_runs_folder_has_the_datas_name(layout, path, name):
    assert data_name(layout, path) == name


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({}, "net-mine-default-s0"),
        ({"epochs": 20}, "net-mine-default-s0"),
        ({"epochs": 5}, "net-mine-default-s0-ep5"),
        ({"size": 256}, "net-mine-default-s0-px256"),
        ({"size": 256, "lr": 0.1}, "net-mine-default-s0-px256-lr_0.1"),
        ({"seed": 1}, "net-mine-default-s1"),
        ({"data": "/other/mine", "fingerprint": "7654321"}, "net-mine-default-s0-data_765432"),
        ({"data": "theirs", "fingerprint": "7654321"}, "net-theirs-default-s0"),
        ({"spec_hash": "fedcba987"}, "net-mine-default-s0-net_fedcba"),
        ({"start": "lmnet_xs@busi.safetensors 12ab"}, "net-mine-default-s0-from_lmnet_xs_busi"),
        ({"teacher": "lmnet_s 12ab"}, "net-mine-default-s0-teacher_lmnet_s_12ab"),
    ],
)
def test_another_request_gets_another_folder_by_itself_and_the_same_one_its_own(tmp_path, monkeypatch, change, name):
    monkeypatch.chdir(tmp_path)
    begun(find_folder(request(), layout="folders"), request())

    found = find_folder(request(**change), layout="folders")

    assert found.path.name == name
    if not found.is_run:
        begun(found, request(**change))
    assert find_folder(request(**change), layout="folders").path == found.path
    assert find_folder(request(), layout="folders").path.name == "net-mine-default-s0"


def test_two_requests_that_differ_alike_do_not_share_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    long = [request(size=256, lr=0.1, seed=0, fingerprint=f"{n}", start=f"w {n}") for n in range(3)]
    places = [begun(find_folder(each, layout="folders"), each).path for each in (request(), *long)]

    assert len(set(places)) == 4
    assert [find_folder(each, layout="folders").path for each in long] == places[1:]


def test_a_run_of_an_earlier_version_is_found_by_its_old_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    begun(RunFolder("runs/net-folders-default-s0"), request())

    assert find_folder(request(), layout="folders").path.name == "net-folders-default-s0"


def test_a_run_that_was_begun_from_weights_before_digests_changed_goes_on(tmp_path):
    weights = tmp_path / "best.safetensors"
    weights.write_bytes(b"tensors")
    old = request(start="best.safetensors ed45cdfe7f6a5fd3", weights=None)
    now = request(start="best.safetensors 0123456789abcdef", weights=weights)
    folder = begun(RunFolder(tmp_path / "run"), request(start=now.earlier_start()))

    assert folder.changes(now) == {}
    assert folder.changes(old).keys() == {"start"}


def test_a_run_of_an_earlier_version_with_an_exported_teacher_goes_on(tmp_path):
    folder = begun(RunFolder(tmp_path / "run"), request(teacher="smallest e3b0c44298fc1c14"))

    assert folder.changes(request(teacher="smallest 0123456789abcdef")) == {}
    assert folder.changes(request(teacher="other 0123456789abcdef")).keys() == {"teacher"}
    assert folder.changes(request()).keys() == {"teacher"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_spec):
    """A finished run of one epoch, and its command."""
    root = tmp_path_factory.mktemp("runs")
    command = [tiny_spec, "--out", str(root / "run"), *QUICK]
    assert train_main(command) == 0
    return root / "run", command


def copied(trained, tmp_path):
    run, command = trained
    shutil.copytree(run, tmp_path / "run")
    return tmp_path / "run", [str(tmp_path / "run") if word == str(run) else word for word in command]


def test_more_epochs_continue_with_a_warm_restart_that_the_report_tells(trained, tmp_path, capsys):
    run, command = copied(trained, tmp_path)
    before = (run / "log.csv").read_text().splitlines()

    assert train_main([*command, "--epochs", "3"]) == 0

    err = capsys.readouterr().err
    assert "continuing in" in err
    assert "epoch 1:" not in err
    assert "epoch 2:" in err
    rows = (run / "log.csv").read_text().splitlines()
    assert (rows[:2], len(rows)) == (before, 4)
    rates = [float(row.split(",")[rows[0].split(",").index("lr")]) for row in rows[1:]]
    assert rates[1] < rates[2] or rates[1] == pytest.approx(Recipe().lr * 0.01)  # it rises anew
    assert "trained to epoch 1, then on to 3 from where it was" in (run / "report.html").read_text()
    assert not (run / OWNER).exists()
    assert train_main([*command, "--epochs", "3"]) == 0
    assert "finished already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["--size", "64"], "size was 32, not 64"),
        (["--seed", "1"], "seed was 0, not 1"),
        (["--var", "width=16"], "another net, by its variables or its nodes"),
        (["--set", "lr=0.5"], "lr was 0.002, not 0.5"),
    ],
)
def test_a_folder_of_another_run_is_refused_in_words(trained, capsys, change, said):
    run, command = trained
    before = {path: path.stat().st_mtime_ns for path in run.iterdir()}

    assert train_main([*command, *change]) == 2

    err = capsys.readouterr().err.splitlines()[-1]
    assert said in err
    assert "Leave --out out for a folder of its own" in err
    assert {path: path.stat().st_mtime_ns for path in run.iterdir()} == before


def test_a_second_process_in_a_run_folder_is_refused_with_the_name_of_the_first(trained, tmp_path, capsys):
    run, command = copied(trained, tmp_path)
    (run / "metrics.json").unlink()
    before = {path.name: path.stat().st_mtime_ns for path in run.iterdir()}
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        owner = {"machine": machine(), "pid": other.pid, "started": start_time(other.pid), "host": "this", "since": 0}
        (run / OWNER).write_text(json.dumps(owner))
        assert train_main(command) == 2
        err = capsys.readouterr().err.splitlines()[-1]
        assert f"another process trains here, process {other.pid} on this since" in err
        assert "Wait for it, or give another --out." in err
        assert {name: (run / name).stat().st_mtime_ns for name in before} == before
    finally:
        other.kill()
        other.wait()

    assert train_main(command) == 0  # the first one was killed: it holds no lock
    assert not (run / OWNER).exists()


@pytest.mark.parametrize(
    ("owner", "is_refused"),
    [
        ({"machine": "another/boot/ns", "pid": 1, "host": "far"}, True),
        ({"machine": machine(), "pid": 2**22 + 1}, False),
        ({"machine": machine(), "pid": os.getpid(), "started": 1.0}, False),  # the number is another process's now
        ("junk", False),
    ],
)
def test_an_owner_counts_while_it_may_be_alive(tmp_path, owner, is_refused):
    place = tmp_path / OWNER
    place.write_text(json.dumps(owner))
    if is_refused:
        with pytest.raises(ValueError, match=f"on far since .* or remove {place} if that machine is off"):
            owned(tmp_path, doing="trains").__enter__()
        assert json.loads(place.read_text()) == owner
        return
    with owned(tmp_path, doing="trains"):
        assert json.loads(place.read_text())["pid"] == os.getpid()
        with pytest.raises(ValueError, match=f"another process trains here, process {os.getpid()}"):
            owned(tmp_path, doing="trains").__enter__()
    assert not place.exists()
    assert this_process()["machine"] == machine()


def test_of_many_processes_that_want_a_folder_one_gets_it(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from lmnet.builder.process_identity import owned\n"
        "try:\n  with owned(Path(sys.argv[1]), doing='trains'): print('mine', flush=True); time.sleep(3)\n"
        "except ValueError: print('no')"
    )
    (tmp_path / OWNER).write_text(json.dumps({"machine": machine(), "pid": 2**22 + 1}))
    many = [
        subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE, text=True) for _ in range(4)
    ]

    assert sorted(each.communicate()[0].strip() for each in many) == ["mine", "no", "no", "no"]


def test_an_epochs_line_says_how_long_the_run_still_takes(capsys, monkeypatch):
    clock = iter([100.0, 110.0, 120.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))

    class Report:
        text = "val Dice .5"
        row = {"train_loss": 1.0, "seconds": 5.0, "images_per_second": 3.0, "waiting_share": 0.0}

    line = EpochLine(9)
    for Report.epoch in (1, 2, 9):
        line(Report)

    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("epoch 1: loss 1.000, val Dice .5, 5 s")
    assert lines[0].endswith("; 8 more in about 0:40 min")
    assert lines[1].endswith("; 7 more in about 1:10 min")
    assert lines[2].endswith("waiting for data")
    assert [duration(value) for value in (5, 725, 12000)] == ["0:05 min", "12:05 min", "3:20 h"]
