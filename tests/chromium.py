"""Chromium without a window, driven over a pipe by its own protocol; and a web server for one folder."""

import contextlib
import functools
import http.server
import itertools
import json
import os
import shutil
import subprocess
import threading
import time


def find_chromium():
    """Return Chromium's program, or None."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@contextlib.contextmanager
def serve(folder):
    """Serve a folder on the loopback interface; give its address and the list of paths that were asked for."""
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            asked.append(self.path)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Browser:
    """One page in Chromium.

    Args:
        profile: an empty folder for its files.
        width: of the window in pixels.
        height: of the window in pixels.
    """

    def __init__(self, profile, width=1280, height=900):
        to_read, to_write = os.pipe()
        from_read, from_write = os.pipe()
        flags = "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --hide-scrollbars"
        command = f'exec "{find_chromium()}" {flags} --user-data-dir="{profile}" --remote-debugging-pipe about:blank'
        self._process = subprocess.Popen(
            ["bash", "-c", f"{command} 3<&{to_read} 4>&{from_write}"],
            pass_fds=(to_read, from_write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_read)
        os.close(from_write)
        self._out, self._in = os.fdopen(to_write, "wb"), os.fdopen(from_read, "rb")
        self._left = b""
        self._numbers, self._session, self.requests = itertools.count(1), None, []
        page = next(each for each in self.send("Target.getTargets")["targetInfos"] if each["type"] == "page")
        self._session = self.send("Target.attachToTarget", targetId=page["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "DOM"):
            self.send(f"{domain}.enable")
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )

    def send(self, method, **parameters):
        """Send a command and return its answer."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._out.write(json.dumps(message).encode() + b"\0")
        self._out.flush()
        while True:
            answer = self._receive()
            if answer.get("id") == number:
                assert "error" not in answer, answer["error"]
                return answer["result"]
            if answer.get("method") == "Network.requestWillBeSent":
                self.requests.append(answer["params"]["request"]["url"])

    def _receive(self):
        while b"\0" not in self._left:
            part = os.read(self._in.fileno(), 1 << 16)
            assert part, "Chromium has ended"
            self._left += part
        text, _, self._left = self._left.partition(b"\0")
        return json.loads(text)

    def run(self, code):
        """Return the value of JavaScript; a promise is waited for."""
        found = self.send("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait_for(self, code, within_s=120):
        """Wait until JavaScript is true."""
        end = time.monotonic() + within_s
        while not self.run(code):
            assert time.monotonic() < end, self.run("document.body.innerText")
            time.sleep(0.1)

    def choose_files(self, selector, files):
        """Choose files in an input, as a person does."""
        root = self.send("DOM.getDocument")["root"]["nodeId"]
        node = self.send("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.send("DOM.setFileInputFiles", nodeId=node, files=[str(file) for file in files])

    def screenshot(self, path):
        """Write the whole page as a PNG file."""
        import base64

        data = self.send("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))

    def close(self):
        """End the process."""
        with contextlib.suppress(Exception):
            self.send("Browser.close")
        self._out.close()
        self._process.wait(30)
        self._in.close()
