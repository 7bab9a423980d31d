"""The options of a search together, those about data and the recipe, and the folder that its results go to."""

import itertools
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import timm
from PIL import Image
from safetensors.torch import save_file

from lmnet.builder.process_identity import OWNER, owned, this_process
from lmnet.builder.spec import parse_spec
from lmnet.search.cli import main
from lmnet.search.make_pool import visible_gpus
from lmnet.search.run_search import run
from lmnet.search.train.pools import InlinePool, ProcessPool
from tests.search.conftest import SMALL
from tests.search.objectives import gpu_score, width_score
from tests.search.test_objective import ENCODER, SIZES

TINY = {"trials": 1, "epochs": 1, "confirm_epochs": 0, "device": "cpu", "max_gflops": 1, "timeout_s": 300}
OPTIONS = {
    "devices": {"devices": 2},
    "workers": {"workers": 2},
    "runtime": {"runtime": "onnxruntime", "max_latency_ms": 1000},
    "pretrained": {"pretrained_encoder": "FILE"},
    "executor": {"executor": InlinePool},
    "sizes": {"spec": SIZES},
    "set": {"changes": {"batch_size": 8, "epochs": 1}},
}
REFUSED = [
    ({"devices"}, "devices was removed"),
    ({"pretrained", "sizes"}, "its tensors are not those of an encoder in small"),
]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    path = tmp_path_factory.mktemp("encoder") / "encoder.safetensors"
    save_file(timm.create_model("tf_efficientnet_lite0").state_dict(), path)
    return str(path)


@pytest.mark.parametrize(("one", "two"), list(itertools.combinations(OPTIONS, 2)))
def test_two_options_run_together_or_are_refused_in_one_line(one, two, encoder, tmp_path, monkeypatch):
    """Each pair is trained for one step. Latency has tests of its own: an export takes seconds."""
    monkeypatch.setattr("lmnet.search.results.folder.report_html", lambda *all: "<html>")  # its charts take long
    monkeypatch.setattr("lmnet.search.train.latency.measure_latency_ms", lambda *args, **options: 1.0)
    spec = ENCODER if "pretrained" in (one, two) else SMALL
    options = {"spec": parse_spec(spec), "size": 32, "executor": InlinePool, **TINY, "out": tmp_path / "out"}
    given = OPTIONS[one] | OPTIONS[two]
    if "sizes" in (one, two):
        options.pop("size")
    if "workers" in (one, two):
        options.pop("executor")
    if "set" in (one, two):
        options.pop("epochs")
    options |= {name: encoder if value == "FILE" else value for name, value in given.items()}
    reasons = [reason for names, reason in REFUSED if {one, two} >= names]
    if not reasons:
        result = run(**options)
        assert (result.tally.trials, result.tally.failed) == (1, {})
        return
    with pytest.raises(ValueError, match="|".join(reasons)) as caught:
        run(**options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"runtime": "openvino"},
            "openvino is the runtime in which latency is measured. Give --max-latency-ms",
        ),
        ({"epochs": 1, "changes": {"epochs": 2}}, "epochs is given by --epochs and by --set. Give it once."),
        ({"changes": {"lr": "fast"}}, "lr"),
        ({"gpus_per_trial": 1.0}, "cpus_per_trial and gpus_per_trial are for a cluster"),
        ({"devices": 2}, "devices was removed. Each net is trained on one GPU. For several GPUs give --workers N"),
    ],
)
def test_options_that_have_no_effect_are_refused(small, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        run(small, trials=1, max_gflops=1, out=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_devices_are_refused_by_the_command(capsys):
    assert main(["--max-gflops", "1", "--devices", "2"]) == 2
    assert capsys.readouterr().err.startswith("lmnet-search: --devices was removed. Each net is trained on one GPU.")


def test_each_worker_sees_a_gpu_of_its_own(small, monkeypatch):
    from lmnet.search.train.messages import Job
    from tests.search.test_pools import outcomes

    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7,8")
    assert visible_gpus() == ["5", "7"]
    pool = ProcessPool(gpu_score, slots=2, threads=1, gpus=visible_gpus())
    try:
        assert [one.score for one in outcomes(pool, [Job(small, 0), Job(small, 0)])] == [5.0, 7.0]
    finally:
        pool.close()


@pytest.fixture
def folder(tmp_path):
    """Masks of 0, 50 and 100: the user has to say what they mean."""
    for index in range(12):
        mask = np.zeros((32, 40), np.uint8)
        mask[4 + index : 16 + index, 6:20] = 100
        mask[2:6, 22:38] = 50
        image = np.random.default_rng(index).integers(60, 90, (32, 40, 3)).astype(np.uint8)
        image[mask == 100] = (200, 80, 80)
        for name, pixels in (("images", image), ("masks", mask)):
            (tmp_path / "data" / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / "data" / name / f"p{index:02d}.png")
    return tmp_path / "data"


def test_a_search_takes_what_training_takes_about_data_and_recipe(folder, tmp_path, capsys):
    (tmp_path / "small.yaml").write_text(SMALL)
    names = [f"p{index:02d}" for index in range(12)]
    (tmp_path / "split.json").write_text(json.dumps({"train": names[:8], "val": names[8:10], "test": names[10:]}))
    command = ["--spec", str(tmp_path / "small.yaml"), "--data", str(folder), "--max-gflops", "1", "--trials", "1"]
    command += [
        "--size",
        "32",
        "--confirm-epochs",
        "0",
        "--workers",
        "1",
        "--device",
        "cpu",
        "--out",
        str(tmp_path / "out"),
    ]
    assert main(command) == 2
    assert "--mask-values" in capsys.readouterr().err

    options = ["--mask-values", "0,50,100", "--set", "num_classes=3", "--set", "epochs=1", "--set", "batch_size=4"]
    options += ["--split-file", str(tmp_path / "split.json"), "--class-names", "none,a,b"]
    assert main([*command, *options]) == 0

    result = json.loads((tmp_path / "out" / "search.json").read_text())
    assert (result["trials"], result["best"]["epochs"]) == (1, 1)
    assert "num_classes: 3" in (tmp_path / "out" / "best.yaml").read_text()
    with pytest.raises(ValueError, match=r"these settings differ from those it began with: .*values\.masks\.values"):
        main(
            [
                *command,
                *options[2:],
                "--mask-values",
                "0,100,50",
                "--debug",
                "--split-file",
                str(tmp_path / "split.json"),
            ]
        )


def test_a_folder_holds_the_results_of_one_study(small, tmp_path):
    options = {"objective": width_score, "max_gflops": 0.004, "out": tmp_path / "out"}
    run(small, trials=2, study_name="a", storage=f"sqlite:///{tmp_path}/both.db", **options)
    before = {path: path.read_bytes() for path in (tmp_path / "out").glob("*.*")}
    for other in ({"study_name": "b", "storage": f"sqlite:///{tmp_path}/both.db"}, {"study_name": "a"}):
        with pytest.raises(ValueError, match=r"holds the results of a, and [ab] would overwrite them\."):
            run(small, trials=2, **other, **options)
    assert {path: path.read_bytes() for path in before} == before
    assert run(small, trials=3, study_name="a", storage=f"sqlite:///{tmp_path}/both.db", **options).tally.trials == 3
    (tmp_path / "out" / "study.json").unlink()  # as in a folder of an earlier version
    assert run(small, trials=4, study_name="a", storage=f"sqlite:///{tmp_path}/both.db", **options).tally.trials == 4


def test_a_folder_of_a_training_run_is_not_written_to(small, tmp_path):
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(ValueError, match="holds the results of another program"):
        run(small, objective=width_score, max_gflops=0.004, trials=2, out=tmp_path)


def test_one_process_at_a_time_confirms_and_a_dead_one_leaves_no_lock(tmp_path):
    lock = tmp_path / "confirm" / OWNER
    waited = iter([False, False, True])

    def confirming(wait_until):
        return owned(lock.parent, doing="confirms", wait_until=wait_until)

    with confirming(lambda: False):
        assert this_process().items() <= json.loads(lock.read_text()).items()
    assert not lock.exists()
    other = {**this_process(), "pid": os.getppid(), "started": None}
    lock.write_text(json.dumps(other))
    with confirming(lambda: next(waited)):
        assert next(waited, None) is None  # it waited for as long as it could
    assert json.loads(lock.read_text()) == other  # the other's lock stays
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    lock.write_text(json.dumps({**this_process(), "pid": ended.pid}))
    with confirming(lambda: False):
        assert this_process().items() <= json.loads(lock.read_text()).items()
