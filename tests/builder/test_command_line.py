"""Words that a command does not know, and errors whose cause is in another line than the first."""

import pytest

from lmnet.builder.command_line import Parser, cause, run_command
from lmnet.builder.did_you_mean import closest, did_you_mean
from lmnet.commands.build import main as build_main
from lmnet.search.cli import main as search_main
from lmnet.search.suggest.cli import main as suggest_main
from lmnet.training.cli_eval import main as evaluate_main
from lmnet.training.cli_predict import main as predict_main
from lmnet.training.cli_train import main as train_main

MAINS = {"train": train_main, "eval": evaluate_main, "predict": predict_main}
OTHERS = {"suggest": suggest_main, "search": search_main, "build": build_main}


def refused(main, words, capsys):
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize(
    ("command", "words", "answer"),
    [
        ("train", "lmnet_xs --learning-rate 1e-3", "no option --learning-rate. Write --set lr=1e-3."),
        ("train", "lmnet_xs --lr=1", "no option --lr. Write --set lr=1e-3."),
        ("train", "lmnet_xs --classes 4", "Write --set num_classes=4."),
        ("train", "lmnet_xs --num_classes 4", "Write --set num_classes=4."),
        ("train", "lmnet_xs --in_channels 1", "Write --set input.channels=1."),
        ("train", "lmnet_xs --pretrained", "no option --pretrained. Write --pretrained-encoder, for an encoder from"),
        ("train", "lmnet_xs --epoch 3", "no option --epoch. Did you mean --epochs?"),
        ("train", "lmnet_xs --image-size 3", "Did you mean --size?"),
        ("train", "lmnet_xs --batch_size 3", "Did you mean --batch-size?"),
        ("train", "lmnet_xs --output-dir x", "Did you mean --out?"),
        ("train", "lmnet_xs --num-workers 3", "Did you mean --workers?"),
        ("train", "lmnet_xs --checkpoint x", "Did you mean --weights?"),
        ("train", "lmnet_xs --resume", "Write the same command again, which continues"),
        ("train", "lmnet_xs --gpu", "Write --device cuda."),
        ("train", "lmnet_xs tests", "'tests' is one word too many. For data, write --data tests."),
        ("train", "lmnet_xs --zzz", "there is no option --zzz. lmnet-train --help"),
        ("train", "", "the following arguments are required: SPEC."),
        ("train", "lmnet_xs --size big", "argument --size: invalid int value: 'big'."),
        ("eval", "lmnet_xs tests", "For data, write --data tests."),
        ("eval", "lmnet_xs --pretrained", "Write --weights NAME@DATA, for a whole trained net."),
        ("eval", "lmnet_xs --learning-rate 3", "there is no option --learning-rate. lmnet-eval --help"),
        ("predict", "lmnet_xs a.png --gpu", "Write --device cuda."),
        ("predict", "lmnet_xs a.png --thresh 0.5", "no option --thresh. Did you mean --threshold?"),
        ("predict", "lmnet_xs a.png --devices 2", "no option --devices. Did you mean --device?"),
        (
            "predict",
            "lmnet_xs a.png --num_classes 4",
            "Write --class-names background,a,b,c to name them: their number",
        ),
        ("predict", "lmnet_xs --input a.png", "Write the images as words, without --input."),
        ("eval", "--model lmnet_xs", "Write the name of the model as the first word, without --model."),
        ("eval", "lmnet_xs --classes 4", "Write --class-names background,a,b,c to name them: their number"),
        ("suggest", "--classes 4", "Write --class-names background,a,b,c: lmnet counts them."),
        ("suggest", "--model lmnet_xs", "there is no option --model. lmnet-suggest --help"),
        ("suggest", "--max-latency-ms 20", "Write --max-ms 20."),
        ("suggest", "--time 5", "Did you mean --minutes?"),
        ("suggest", "tests", "For data, write --data tests."),
        ("search", "lmnet_xs tests", "For a spec, write --spec lmnet_xs."),
        ("search", "--spec lmnet_xs --learning-rate 1", "Write --set lr=1e-3."),
        ("search", "--model lmnet_xs", "Write --spec NAME."),
        ("build", "lmnet_xs --num_classes 4", "Write --set num_classes=4."),
        ("build", "lmnet_xs --format onnx", "Write --export net.onnx: the ending says the format."),
        ("build", "--list", "Write --list-models."),
        ("build", "lmnet_xs --flops", "Write the name of the net alone, which shows its cost."),
    ],
)
def test_a_wrong_word_is_answered_in_one_line_with_the_right_one(command, words, answer, capsys):
    line = refused((MAINS | OTHERS)[command], words.split(), capsys)
    assert answer in line
    assert line.startswith(f"lmnet-{command}: ")


@pytest.mark.parametrize("command", MAINS)
def test_no_option_is_taken_for_another_because_it_begins_like_it(command, capsys):
    for word in ("--siz", "--dev", "--deb", "--weight"):
        line = refused(MAINS[command], ["lmnet_xs", "a.png", word, "1"], capsys)
        assert f"there is no option {word}. Did you mean --" in line


def test_advice_names_only_options_that_the_command_has(capsys):
    bare = Parser(prog="bare")
    bare.add_argument("--size")
    for word in ("--learning-rate", "--pretrained", "--gpu", "--resume"):
        with pytest.raises(SystemExit):
            bare.parse_args([word])
        named = {part.strip(".,?") for part in capsys.readouterr().err.split() if part.startswith("--")}
        assert named <= {word, "--size", "--help"}


@pytest.mark.parametrize(
    ("name", "names", "expected"),
    [
        ("learning_rate", ["lr", "size"], "lr"),
        ("smallmachine", ["default", "small_machine"], "small_machine"),
        ("LFT", ["lft", "gft"], "lft"),
        ("in_chans", ["in_channels", "out_channels"], "in_channels"),
        ("pretrainde", ["pretrained", "width"], "pretrained"),
        ("windw", ["window", "stride"], "window"),
        ("zzz", ["window"], None),
    ],
)
def test_names_are_found_by_spelling_and_by_what_other_tools_call_them(name, names, expected):
    assert closest(name, names) == expected
    assert did_you_mean(name, names) == (f"Did you mean {expected}?" if expected else f"Known: {', '.join(names)}.")


WORKER = """Caught RuntimeError in DataLoader worker process 0.
Original Traceback (most recent call last):
  File "worker.py", line 351, in _worker_loop
    data = fetcher.fetch(index)
RuntimeError: unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)
"""


class DriverError(Exception):
    """An error of another package."""


DriverError.__module__ = "driver.errors"


def raised(text, kind=RuntimeError, from_=None):
    def body():
        raise kind(text) from from_

    return body


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (raised(WORKER), 1, "unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)"),
        (raised(WORKER), 1, "give --workers 0, or start docker with --shm-size"),
        (raised(WORKER.replace("shared memory(shm)", "y")), 1, "unable to allocate y for file"),
        (raised("first\nsecond"), 1, "first"),
        (raised("Could not load:\n  - libfoo.so\n  - libbar.so"), 1, "Could not load: - libfoo.so - libbar.so"),
        (raised("", RuntimeError), 1, "RuntimeError"),
        (raised("bad value", ValueError), 2, "p: bad value"),
        (raised("'NoneType' and 'int'", TypeError), 1, "TypeError: 'NoneType' and 'int' (test_command_line.py:"),
        (raised("'x'", KeyError), 1, "KeyError: \"'x'\" (test_command_line.py:"),
        (
            raised("raised during the commit.", DriverError, ValueError("permission denied for trials\nSQL")),
            1,
            "DriverError: raised during the commit. (permission denied for trials)",
        ),
    ],
)  # fmt: skip
def test_the_cause_of_an_error_is_shown_in_one_line(error, code, line, capsys):
    assert run_command("p", error, debug=False) == code
    printed = capsys.readouterr().err
    assert line in printed
    assert printed.count("\n") == 1
    assert "Caught" not in printed


def test_a_fault_of_ours_is_not_shown_as_the_users():
    with pytest.raises(TypeError):
        run_command("p", raised("x", TypeError), debug=True)


def test_an_error_without_a_text_is_named():
    assert cause(RuntimeError()) == "RuntimeError"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"LMNET_CACHE": "/a", "XDG_CACHE_HOME": "/b"}, "/a"),
        ({"XDG_CACHE_HOME": "/b"}, "/b/lmnet"),
        ({"HOME": "/home/me"}, "/home/me/.cache/lmnet"),
        ({"LMNET_CACHE": "off"}, None),
    ],
)
def test_kernels_are_kept_where_the_variables_say_and_built_without_a_cache_too(monkeypatch, variables, expected):
    from pathlib import Path

    from lmnet.blocks import cpu_kernels

    for name in ("LMNET_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    folders = []

    def refuse(source, folder):
        folders.append(folder)
        raise OSError("read-only")

    monkeypatch.setattr(cpu_kernels, "_build", refuse)

    assert cpu_kernels.load_library("neighborhood_kernel.cpp", "neighborhood_attention") is None

    if expected is not None:
        assert folders.pop(0) == Path(expected)
    assert len(folders) == 1  # a folder of this process alone


def test_a_user_without_a_home_costs_only_time(monkeypatch):
    from pathlib import Path

    from lmnet.blocks import cpu_kernels

    def homeless():
        raise RuntimeError("Could not determine home directory.")

    for name in ("LMNET_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.setattr(cpu_kernels, "_build", lambda source, folder: Path("/nowhere/absent.so"))

    assert cpu_kernels.load_library("neighborhood_kernel.cpp", "neighborhood_attention") is None  # and no RuntimeError


def test_a_hub_that_does_not_answer_is_known_within_seconds(monkeypatch):
    import threading

    from lmnet.blocks import encoder_weights

    is_over, ended = threading.Event(), []

    def hang(*place, **options):  # longer than the test, as a look-up of a name may
        is_over.wait()
        ended.append(place)
        raise TimeoutError("timed out")

    monkeypatch.setattr(encoder_weights, "PATIENCE_S", 0.2)
    monkeypatch.setattr(encoder_weights, "ENDPOINT", "https://hub.invalid")
    monkeypatch.setattr(encoder_weights.socket, "create_connection", hang)
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(encoder_weights, "_kept_file", lambda hub_id: None)

    with pytest.raises(ValueError, match=r"hub.invalid does not answer \(.*\), and its cache has no weights of tf_eff"):
        encoder_weights.find_encoder_weights("tf_efficientnet_lite0", "hub")

    assert ended == []  # it was not waited for
    is_over.set()
    monkeypatch.undo()
    assert encoder_weights.PATIENCE_S <= 5
