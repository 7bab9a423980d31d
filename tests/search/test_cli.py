"""The command: help in a moment, a dry run, status, exit codes."""

import json

import optuna
import pytest

from lmnet.search.cli import main, make_parser
from lmnet.search.results.answer import NO_VERDICT
from lmnet.search.run_search import run
from lmnet.search.study.storage import open_storage
from tests.search.objectives import width_score


def test_a_dry_run_surveys_the_space_and_writes_nothing(small, tmp_path, monkeypatch, capsys):
    (tmp_path / "small.yaml").write_text(small.dump())
    monkeypatch.chdir(tmp_path)
    assert main(["--spec", "small.yaml", "--max-gflops", "0.004", "--dry-run", "--json"]) == 0
    out, err = capsys.readouterr()
    content = json.loads(out)
    assert content["space"]["points"] == 480
    assert "space: 480 combinations of values, " in err
    assert "of the sampled ones within the limits" in err
    assert "starting net: 0.00" in err
    assert not (tmp_path / "runs").exists()


def test_an_unreachable_limit_is_a_usage_error(small, tmp_path, capsys):
    (tmp_path / "small.yaml").write_text(small.dump())
    assert main(["--spec", str(tmp_path / "small.yaml"), "--max-gflops", "1e-7", "--dry-run"]) == 2
    assert "lmnet-search: search: no net meets max_gflops=1e-07; the lowest" in capsys.readouterr().err


def test_status_prints_what_the_search_printed(small, tmp_path, capsys):
    run(small, objective=width_score, max_gflops=0.004, trials=3, out=tmp_path)
    storage = f"sqlite:///{tmp_path}/study.db"
    assert main(["status", "--storage", storage, "--study-name", "small-max-gflops-0.004", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    written = json.loads((tmp_path / "search.json").read_text())
    same = ("study", "trials", "failed", "infeasible_proposals", "best", "front")
    assert {key: content[key] for key in same} == {key: written[key] for key in same}

    assert main(["status", "--storage", storage]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == NO_VERDICT
    assert lines[2] == "scores of the search, by your objective:"
    assert lines[3].startswith(f"starting net  {content['start']['score']:.4f}  ")
    assert lines[4].startswith(f"best net      {content['best']['score']:.4f}  ")
    assert lines[5] == "small-max-gflops-0.004: 3 trials, 0 failed, 0 infeasible proposals"
    assert lines[-1] == f"report: {tmp_path}/report.html"
    report = (tmp_path / "report.html").read_text()
    assert report.index(NO_VERDICT) < report.index("Scores of the search, by your objective: ")
    assert f"; the starting net scores {content['start']['score']:.4f} at " in report


@pytest.mark.parametrize(
    ("storage", "name", "message"),
    [
        ("sqlite:///{}/none.db", "x", "storage: there is no file for sqlite"),
        ("sqlite:///{}/study.db", "x", "status: there is no study x. .* has these studies: small-max"),
    ],
)
def test_status_of_nothing_is_a_usage_error(small, tmp_path, capsys, storage, name, message):
    run(small, objective=width_score, max_gflops=0.004, trials=1, out=tmp_path)
    assert main(["status", "--storage", storage.format(tmp_path), "--study-name", name]) == 2
    assert __import__("re").search(message, capsys.readouterr().err)


def test_status_of_a_study_of_another_program_is_a_usage_error(tmp_path, capsys):
    url = f"sqlite:///{tmp_path}/study.db"
    with open_storage(url) as opened:
        optuna.create_study(study_name="other", storage=opened)
    assert main(["status", "--storage", url]) == 2
    assert "status: other is a study of another program. Give one that lmnet-search made." in capsys.readouterr().err


def test_a_cluster_of_this_machine_alone_is_said(small, without_ray, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    spec = tmp_path / "small.yaml"
    spec.write_text(small.dump())

    code = main(["--spec", str(spec), "--max-gflops", "0.004", "--cluster", "ray", "--out", str(tmp_path / "out")])

    assert code == 2
    said = capsys.readouterr().err
    assert "RAY_ADDRESS is not set, so Ray runs on this machine alone." in said
    assert "--cluster needs ray, and it is not installed. pip install 'lmnet[ray]'." in said


def test_gmacs_and_gflops_are_two_names_of_one_option():
    parsed = [make_parser().parse_args([flag, "5"]) for flag in ("--max-gmacs", "--max-gflops")]
    assert [each.max_gflops for each in parsed] == [5.0, 5.0]
