"""Weights whose file is not in the package: found in a clone or the cache, or fetched; the pinned file or none."""

import http.server
import importlib.metadata
import importlib.resources
import json
import logging
import os
import re
import shutil
import threading
import types
from pathlib import Path

import pytest

import lmnet
from lmnet.builder.weights_on_demand import PINS, find_weights, pins, sha256_of
from lmnet.builder.zoo import zoo_folder, zoo_weights
from lmnet.commands.build import main

ZOO = Path(lmnet.__file__).parents[1] / "zoo"
NAME = "lmnet_xxs@synthetic"
FILE = f"{NAME}.safetensors"


def install(monkeypatch, url):
    """Say that pip installed lmnet from an address."""
    find = importlib.metadata.distribution
    text = json.dumps({"url": url})
    ours = types.SimpleNamespace(read_text=lambda name: text if name == "direct_url.json" else None)
    monkeypatch.setattr("importlib.metadata.distribution", lambda name: ours if name == "lmnet" else find(name))


@pytest.fixture
def wheel(monkeypatch, tmp_path):
    """An installation without files of weights, outside of any clone; returns its cache of weights."""
    package = tmp_path / "site" / "zoo"
    package.mkdir(parents=True)
    for path in [*ZOO.glob("*.yaml"), *ZOO.glob("*.md"), ZOO / PINS]:
        shutil.copy(path, package)
    files = importlib.resources.files
    monkeypatch.setattr("importlib.resources.files", lambda name: package if name == "lmnet.zoo" else files(name))
    install(monkeypatch, "")
    monkeypatch.setenv("LMNET_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LMNET_WEIGHTS_URL", raising=False)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "cache" / "weights"


@pytest.fixture
def place(tmp_path):
    """A folder with the file."""
    folder = tmp_path / "place"
    folder.mkdir()
    shutil.copy(ZOO / FILE, folder)
    return folder


@pytest.fixture
def server(place):
    """The same folder behind a server on this machine; paths that begin with /broken end in the middle of the file."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(place))

        def translate_path(self, path):
            return super().translate_path(path.removeprefix("/hub/somebody/lmnet/resolve/v1"))

        def end_headers(self):
            if self.path.startswith("/hub"):
                self.send_header("X-Repo-Commit", "0" * 40)
                self.send_header("ETag", '"1"')
            super().end_headers()

        def do_GET(self):
            if self.path.startswith("/broken"):
                content = (place / FILE).read_bytes()
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[: len(content) // 2])
                self.wfile.flush()
                self.connection.close()
                return
            super().do_GET()

        def log_message(self, *args):
            pass

    served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=served.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{served.server_port}"
    served.shutdown()
    thread.join()
    served.server_close()


def test_every_file_of_weights_is_pinned_with_its_card():
    for path in zoo_folder().glob("*.safetensors"):
        assert sha256_of(path) == pins()[path.stem].sha256, "python benchmarks/ship_weights.py --pins"
        assert pins()[path.stem].licence in path.with_suffix(".md").read_text(encoding="utf-8")


def test_a_file_in_the_package_is_used_as_it_is():
    assert zoo_weights("lmnet_xxs", "synthetic") == zoo_folder() / FILE


@pytest.mark.parametrize("kind", ["file", "folder", "http"])
def test_weights_are_fetched_once_and_then_kept(wheel, place, server, kind, monkeypatch):
    url = {"file": place.as_uri(), "folder": str(place), "http": server}[kind]
    monkeypatch.setenv("LMNET_WEIGHTS_URL", url)
    path = zoo_weights("lmnet_xxs", "synthetic")
    assert path == wheel / FILE
    assert path.read_bytes() == (ZOO / FILE).read_bytes()
    monkeypatch.delenv("LMNET_WEIGHTS_URL")
    assert zoo_weights("lmnet_xxs", "synthetic") == path
    assert os.listdir(wheel) == [FILE]


def test_the_place_can_be_an_argument(wheel, place):
    assert find_weights(NAME, url=place.as_uri()) == wheel / FILE


def test_weights_come_from_the_hub(wheel, server, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", f"{server}/hub")
    assert find_weights(NAME, url="hf://somebody/lmnet@v1") == wheel / FILE
    assert os.listdir(wheel) == [FILE]


def test_a_hub_that_is_not_there_is_one_line(wheel, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(
        ValueError, match=r"http://127\.0\.0\.1:9: Connection refused\)\. Put lmnet_xxs@synthetic\.safetensors"
    ) as caught:
        find_weights(NAME, url="hf://somebody/lmnet")
    assert "\n" not in str(caught.value)


def test_a_damaged_file_in_the_cache_is_fetched_again(wheel, place):
    wheel.mkdir(parents=True)
    (wheel / FILE).write_bytes(b"x" * pins()[NAME].size)
    assert find_weights(NAME, url=place.as_uri()).read_bytes() == (ZOO / FILE).read_bytes()


def test_a_clone_that_holds_the_working_folder_is_used(wheel, tmp_path, monkeypatch):
    (tmp_path / "clone" / "zoo").mkdir(parents=True)
    (tmp_path / "clone" / "deep").mkdir()
    shutil.copy(ZOO / FILE, tmp_path / "clone" / "zoo")
    shutil.copy(ZOO / PINS, tmp_path / "clone" / "zoo")
    monkeypatch.chdir(tmp_path / "clone" / "deep")
    assert zoo_weights("lmnet_xxs", "synthetic") == tmp_path / "clone" / "zoo" / FILE


def test_the_clone_that_pip_installed_from_is_used(wheel, tmp_path, monkeypatch):
    (tmp_path / "a clone" / "zoo").mkdir(parents=True)
    shutil.copy(ZOO / FILE, tmp_path / "a clone" / "zoo")
    install(monkeypatch, (tmp_path / "a clone").as_uri())
    assert zoo_weights("lmnet_xxs", "synthetic") == tmp_path / "a clone" / "zoo" / FILE


def test_another_file_in_a_clone_is_not_used(wheel, tmp_path, monkeypatch):
    (tmp_path / "clone" / "zoo").mkdir(parents=True)
    (tmp_path / "clone" / "zoo" / FILE).write_text("version https://git-lfs.github.com/spec/v1\n")
    shutil.copy(ZOO / PINS, tmp_path / "clone" / "zoo")
    monkeypatch.chdir(tmp_path / "clone")
    with pytest.raises(ValueError, match="LMNET_WEIGHTS_URL is not set"):
        zoo_weights("lmnet_xxs", "synthetic")


def _wrong(place):
    content = bytearray((place / FILE).read_bytes())
    content[-1] ^= 255
    (place / FILE).write_bytes(content)


def _short(place):
    (place / FILE).write_bytes((place / FILE).read_bytes()[:-1])


def _long(place):
    (place / FILE).write_bytes((place / FILE).read_bytes() + b"x" * 2**20)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_wrong, "there is another file than the pinned one"),
        (_short, "ended after 502,679 of 502,680 bytes"),
        (_long, "there is another file than the pinned one"),
    ],
    ids=["wrong", "short", "long"],
)
def test_another_file_is_refused_and_not_kept(wheel, place, server, change, message):
    change(place)
    for url in (server, place.as_uri()):
        with pytest.raises(ValueError, match=message):
            find_weights(NAME, url=url)
        assert os.listdir(wheel) == []


def test_a_download_that_breaks_off_leaves_nothing(wheel, server):
    with pytest.raises(ValueError, match=r"127\.0\.0\.1.*(ended after|IncompleteRead|closed|reset)"):
        find_weights(NAME, url=f"{server}/broken")
    assert os.listdir(wheel) == []


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "LMNET_WEIGHTS_URL is not set"),
        ("http://127.0.0.1:9", "http://127.0.0.1:9/lmnet_xxs%40synthetic.safetensors: Connection refused"),
        ("file:///nowhere", "file:///nowhere/lmnet_xxs%40synthetic.safetensors: .*No such file"),
        ("s3://bucket", "no file://, http://, https:// or hf:// address"),
        ("http://[", "Invalid IPv6 URL"),
    ],
)
def test_offline_one_line_says_where_the_file_goes(wheel, url, why, monkeypatch, capsys):
    monkeypatch.setenv("LMNET_WEIGHTS_URL", url)
    assert main(["lmnet_xxs", "--weights", NAME]) == 2
    *_, last = capsys.readouterr().err.splitlines()
    assert re.search(why, last)
    assert f"Put {FILE} of lmnet's zoo/ (0.5 MB) into {wheel}" in last


def test_a_file_that_is_not_on_the_server_is_named(wheel, server, place):
    (place / FILE).unlink()
    with pytest.raises(ValueError, match=r"safetensors: 404 (File not found|Not Found)"):
        find_weights(NAME, url=server)


def test_without_a_cache_the_package_keeps_the_file(wheel, place, monkeypatch):
    monkeypatch.setenv("LMNET_CACHE", "off")
    assert find_weights(NAME, url=place.as_uri()) == zoo_folder() / FILE


def test_names_on_demand_are_listed(wheel):
    assert {"lmnet_xs", "efficientnet_lite0_lm"} <= set(lmnet.list_models(pretrained=True)) < set(lmnet.list_models())
    with pytest.raises(
        ValueError, match=r"no weights of it trained on moon\. It has weights for: .*lmnet_xxs@synthetic"
    ):
        zoo_weights("lmnet_xs", "moon")


def test_a_command_prints_the_licence_of_shipped_weights_once(capsys):
    assert main(["lmnet_xxs", "--weights", NAME, "--json"]) == 0
    assert capsys.readouterr().err.count(f"weights: {NAME}; licence: Apache-2.0, as lmnet. Not a medical device.") == 1
    assert main(["lmnet_xxs", "--weights", "lmnet_xxs", "--json"]) == 0
    assert "weights: lmnet_xxs; licence: research and education only" in capsys.readouterr().err


def test_python_code_finds_the_licence_in_the_log(capsys, caplog):
    with caplog.at_level(logging.INFO, logger="lmnet"):
        lmnet.create_model("lmnet_xxs", pretrained="synthetic")
    assert f"weights: {NAME}; licence: Apache-2.0" in caplog.text
    assert capsys.readouterr().err == ""
