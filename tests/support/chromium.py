"""Drive a Chromium over its DevTools protocol, for tests of pages; `websockets` is all it needs.

    with Chromium(tmp_path) as browser:
        browser.open("file:///...")
        assert browser.run("document.title") == "..."
        assert browser.complaints == []

Protocol: https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from websockets.sync.client import connect

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
VARIABLE = "TEST_CHROMIUM"
"""Environment variable that names the browser; "none" for a machine that is known to have none."""

_LIMITS: dict[str, Any] = {"max_size": None, "open_timeout": 20}
"""No limit to the size of a message: pictures of a whole page are some megabytes."""

START_S = 60.0
"""Longest time in which a browser starts, on a loaded machine."""

REPLY_S = 60.0
"""Longest time in which a page answers."""


def find_chromium() -> str | None:
    """Return the path of a Chromium, or None."""
    named = os.environ.get(VARIABLE, "")
    if named:
        return None if named == "none" else named
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Chromium:
    """One headless browser with one page.

    Attributes:
        complaints: what the page has done that it should not: exceptions, errors on its console,
            violations of its content security policy.
        requests: addresses that were asked for, but for `blob:` and `data:`.
    """

    def __init__(self, folder: Path, *arguments: str) -> None:
        path = find_chromium()
        assert path is not None
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self._folder = folder / "chromium"
        self._stack = ExitStack()
        self._loads = 0
        self._next_id = 0
        self._process = subprocess.Popen(
            [
                *(path, "--headless=new", "--no-sandbox", "--remote-debugging-port=0"),
                *(f"--user-data-dir={self._folder}", "--no-first-run", "--disable-gpu"),
                *("--autoplay-policy=no-user-gesture-required", "--hide-scrollbars"),
                *(*arguments, "about:blank"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            self._socket = self._stack.enter_context(connect(self._page_address(), **_LIMITS))
            for domain in ("Runtime", "Log", "Page", "Network"):
                self.command(f"{domain}.enable")
        except BaseException:
            self._stack.close()
            self._stop()
            raise

    def __enter__(self) -> Chromium:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self._stack.close()
        self._stop()

    def open(self, url: str) -> None:
        """Load a page, and wait until it has run its script."""
        loads = self._loads
        self.command("Page.navigate", url=url)
        while self._loads == loads:
            self._take(self._receive())

    def run(self, expression: str) -> Any:
        """Return what an expression of JavaScript gives; promises are waited for."""
        reply = self.command(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in reply, reply["exceptionDetails"]
        return reply["result"].get("value")

    def wait_for(self, expression: str) -> None:
        """Wait until an expression is true; checked in each frame that the page draws."""
        self.run(
            "new Promise((resolve) => { const look = () => "
            f"({expression}) ? resolve() : requestAnimationFrame(look); look(); }})"
        )

    def press(self, key: str, *, code: str = "", text: str = "") -> None:
        """Press and release a key."""
        virtual = {"Tab": 9, "Enter": 13, " ": 32, "End": 35, "Home": 36, "ArrowLeft": 37,
                   "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}  # fmt: skip
        for kind in ("keyDown", "keyUp"):
            typed = {"text": text} if text and kind == "keyDown" else {}
            self.command(
                "Input.dispatchKeyEvent", type=kind, key=key, code=code or key,
                windowsVirtualKeyCode=virtual.get(key, 0), **typed,
            )  # fmt: skip

    def show_as(self, *, width: int, height: int, dark: bool = False, ratio: float = 1.0) -> None:
        """Set the size of the page, and light or dark."""
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=ratio, mobile=width < 600,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.command("Emulation.setEmulatedMedia", features=[scheme])

    def picture(self) -> bytes:
        """Return a PNG of the whole page."""
        reply = self.command("Page.captureScreenshot", captureBeyondViewport=True)
        return base64.b64decode(reply["data"])

    def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command of the protocol, and return its result."""
        self._next_id += 1
        wanted = self._next_id
        self._socket.send(json.dumps({"id": wanted, "method": method, "params": parameters}))
        while True:
            message = self._receive()
            if message.get("id") == wanted:
                assert "error" not in message, (method, message["error"])
                result: dict[str, Any] = message["result"]
                return result
            self._take(message)

    def _receive(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self._socket.recv(REPLY_S))
        return message

    def _take(self, message: dict[str, Any]) -> None:
        method, values = message.get("method"), message.get("params", {})
        if method == "Page.loadEventFired":
            self._loads += 1
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(values["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and values["type"] in ("error", "assert"):
            self.complaints.append(str(values["args"]))
        elif method == "Log.entryAdded" and values["entry"]["level"] in ("error", "warning"):
            self.complaints.append(values["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            url = values["request"]["url"]
            if not url.startswith(("blob:", "data:")):
                self.requests.append(url)

    def _page_address(self) -> str:
        """Return where the page listens, once the browser has written down its port."""
        note = self._folder / "DevToolsActivePort"
        deadline = time.monotonic() + START_S
        while not note.exists() or len(note.read_text().splitlines()) < 2:
            assert self._process.poll() is None, "the browser has ended"
            assert time.monotonic() < deadline, "the browser does not start"
            time.sleep(0.05)  # nothing tells when the file is there
        port = int(note.read_text().splitlines()[0])
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=10) as reply:
            targets = json.load(reply)
        page = next(each for each in targets if each["type"] == "page")
        return str(page["webSocketDebuggerUrl"])

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
