"""The page that runs nets in the browser: masks equal to lmnet-predict's, and no other host is asked."""

import base64
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import lmnet
from lmnet.commands.build import main
from lmnet.training.data.synthetic import draw_endoscopy
from lmnet.training.export import web
from tests.chromium import Browser, find_chromium, serve

TINY = str(Path(__file__).with_name("tiny.yaml"))
NETS = ["lmnet_xxs@synthetic", "lmnet_xxs", "efficientnet_lite0_lm_s"]
SIZES = {"small.png": (96, 130), "middle.png": (333, 251), "large.png": (720, 960)}  # height, width


@pytest.fixture
def runtime(tmp_path, monkeypatch):
    """Stand-ins for onnxruntime-web's files, which need no network."""
    folder = tmp_path / "dist"
    folder.mkdir()
    for name in web.RUNTIME_FILES:
        (folder / name).write_text(name)
    digests = {name: hashlib.sha256(name.encode()).hexdigest() for name in web.RUNTIME_FILES}
    monkeypatch.setattr(web, "RUNTIME_FILES", digests)
    return folder


def test_a_page_is_one_folder_that_forbids_other_hosts_and_takes_more_nets(tmp_path, runtime, monkeypatch):
    monkeypatch.setattr(web, "export_model", lambda model, path, size, **options: path.write_text("a net"))
    page = tmp_path / "page"
    start = ["--random-weights", "--input-size", "64", "--web-runtime", str(runtime)]
    assert main([TINY, "--export", f"{page}/", *start]) == 0
    other = tmp_path / "second.yaml"
    other.write_text(Path(TINY).read_text().replace("name: tiny", "name: second"))
    assert main([str(other), "--export", str(page), *start]) == 0
    nets = json.loads((page / "nets.json").read_text())
    assert [net["file"] for net in nets] == ["tiny.onnx", "second.onnx"]
    assert nets[0]["size"] == 64
    text = (page / "index.html").read_text()
    assert "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; connect-src 'self';" in text
    assert "http" not in text.replace("http-equiv", "")
    assert {path.name for path in page.iterdir()} == {
        *("index.html", "nets.json", "tiny.onnx", "second.onnx"), *web.STATIC, *web.RUNTIME_FILES,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--web-runtime", "nowhere"], "--web-runtime: nowhere has no ort.wasm.min.js. Give the folder dist/ of"),
        (["--opset", "18"], "writes a page, which does not use --opset. Leave it out."),
        ([], "and there is no npm here to fetch it. Give its files: --web-runtime FOLDER"),
        (["--set", "input.channels=4"], "page: the net takes 4 channels, and a browser's images have three."),
    ],
)
def test_a_page_that_cannot_be_is_refused_in_one_line(tmp_path, monkeypatch, capsys, options, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LMNET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(web.shutil, "which", lambda name: None)
    assert main([TINY, "--random-weights", "--export", "page/", *options]) == 2
    assert message in capsys.readouterr().err


def test_a_folder_of_other_things_is_left_alone(tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("mine")
    assert main([TINY, "--random-weights", "--export", str(tmp_path)]) == 2
    assert "holds other things than a page of lmnet. Name a new folder." in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.browser
@pytest.mark.skipif(find_chromium() is None, reason="needs Chromium (apt-get install chromium)")
def test_masks_in_the_browser_equal_those_of_predict(tmp_path):
    page, rng = tmp_path / "page", np.random.default_rng(0)
    for net in NETS:
        assert main([net, "--export", f"{page}/"]) == 0
    files = []
    for name, (height, width) in SIZES.items():
        files.append(tmp_path / name)
        Image.fromarray(draw_endoscopy(rng, 256)[0]).resize((width, height), Image.Resampling.BICUBIC).save(files[-1])
    with serve(page) as (address, _):
        browser = Browser(tmp_path / "profile")
        try:
            browser.send("Page.navigate", url=address)
            browser.wait_for("document.readyState == 'complete' && window.lmnet?.nets?.length == 3")
            browser.run("document.querySelectorAll('#nets input').forEach((box) => { if (!box.checked) box.click(); })")
            browser.choose_files("#files", files)
            browser.wait_for("lmnet.images.length == 3 && lmnet.images.every((image) => image.results.size == 3)")
            browser.wait_for("document.getElementById('status').textContent == 'Ready.'")
            found = json.loads(browser.run(_MASKS))
            assert all(url.startswith((address, "data:", "blob:")) for url in browser.requests), browser.requests
        finally:
            browser.close()
    for net in NETS:
        opened = lmnet.open_model(net)
        for file in files:
            expected = opened.predict(file, device="cpu").mask
            got = np.frombuffer(base64.b64decode(found[file.name][net]["mask"]), np.uint8).reshape(expected.shape)
            assert (got != expected).mean() <= 0.005, (net, file.name)


_MASKS = """JSON.stringify(Object.fromEntries(lmnet.images.map((image) => [image.name, Object.fromEntries(
  [...image.results].map(([net, { mask, ms }]) => {
    let text = "";
    for (const value of mask) text += String.fromCharCode(value);
    return [net.name, { mask: btoa(text), ms }];
  }))])))"""
