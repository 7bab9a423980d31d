"""Every broken spec of tests/bad_specs, and some files that are no text at all, with the messages that they must give.

The lines `# expect: LINE:COLUMN: message` at the end of each file are all that it must report, no more and no less.
"""

import resource
import time
from pathlib import Path

import pytest

from lmnet.builder.planner import Planner
from lmnet.builder.problems import SpecError
from lmnet.builder.spec import load_spec
from lmnet.commands.build import main

FOLDER = Path(__file__).parents[1] / "bad_specs"
FILES = sorted(FOLDER.glob("*.yaml"))


@pytest.fixture(scope="module", autouse=True)
def timm_is_imported():
    """A spec with parts to merge imports timm: a second or more, once a process, which is not the spec's."""
    import timm  # noqa: F401


def problems_of(path):
    with pytest.raises(SpecError) as caught:
        Planner(load_spec(path)).plan(every_choice=True)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_broken_spec_reports_all_its_faults_with_their_places(path):
    lines = path.read_text().splitlines()
    expected = [f"{path}:{line.removeprefix('# expect: ')}" for line in lines if line.startswith("# expect: ")]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()

    found = problems_of(path)

    assert found == expected
    assert expected, "a file of bad_specs must expect something"
    assert time.process_time() - start < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 300 * 1024  # KiB


def test_a_planner_that_has_planned_1_still_refuses_true():
    planner = Planner(load_spec(Path(__file__).parents[1] / "training" / "tiny.yaml"))
    assert planner.plan({"width": 1}).nodes[0].out_shapes[0][0] == 1
    with pytest.raises(SpecError, match="out_channels must be a whole number, got out_channels=True"):
        planner.plan({"width": True})


def test_there_are_at_least_thirty_broken_specs():
    assert len(FILES) >= 30


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("binary.yaml", b"\x89PNG\r\n\x1a\n\xff\xfe\x00", "must be UTF-8 text, got byte 0x89 at offset 0"),
        ("control.yaml", b"a: \x07\x00", "the file must be YAML"),
        ("empty.yaml", b"", "must be a mapping, got an empty file"),
        ("comment.yaml", b"# nothing\n", "must be a mapping, got an empty file"),
        ("nesting.yaml", b"a: " + b"[" * 10_000_000, "must be at most 262144 bytes, got 10000003"),
        ("deep.yaml", b"a: " + b"[" * 200_000, "nested at most 16 deep"),
        ("deep_map.yaml", b"{a: " * 50_000, "nested at most 16 deep"),
        ("wide.yaml", b"a: [" + b"1," * 100_000 + b"1]", "at most 20000 values"),
        ("many_documents.yaml", b"---\n" * 10_000, "one document"),
    ],
)
def test_a_file_that_is_no_spec_gives_one_clear_line(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    start = time.process_time()

    found = problems_of(path)

    assert len(found) == 1
    assert message in found[0]
    assert time.process_time() - start < 1


def test_a_directory_and_a_missing_file_are_named(tmp_path):
    assert "this is a folder" in problems_of(tmp_path)[0]
    assert "there is no such file" in problems_of(tmp_path / "missing.yaml")[0]


def test_an_unknown_zoo_name_gives_the_closest():
    assert "Did you mean lmnet_paper?" in problems_of("lmnet_papper")[0]


def test_validate_prints_one_problem_a_line_and_exits_2(capsys):
    path = FOLDER / "several_faults.yaml"

    code = main([str(path), "--validate"])

    printed = capsys.readouterr()
    assert code == 2
    assert printed.out == ""
    assert printed.err.splitlines() == problems_of(path)
    assert "Traceback" not in printed.err
