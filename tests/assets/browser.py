"""A headless Chromium, driven through chromedriver's own protocol."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1600,1100",
)
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
PATIENCE = 60.0


class NotThere(AssertionError):
    """Something that the page should show did not appear in time."""


class Browser:
    """One page. Elements are found by XPath, or by the text that they show."""

    def __init__(self, driver: str, pictures: Path) -> None:
        self._driver = driver
        self.pictures = pictures
        self._session = ""

    def start(self, profile: Path) -> None:
        options = {"args": [*FLAGS, f"--user-data-dir={profile}"]}
        wanted = {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options}}
        self._session = self._ask("POST", "/session", {"capabilities": wanted})["sessionId"]

    def end(self) -> None:
        if self._session:
            self._ask("DELETE", f"/session/{self._session}")

    def open(self, address: str) -> None:
        self._do("url", {"url": address})

    def script(self, text: str, *arguments: Any) -> Any:
        return self._do("execute/sync", {"script": text, "args": list(arguments)})

    @property
    def text(self) -> str:
        """What the page shows."""
        return str(self.script("return document.body.innerText"))

    def wait_for(self, text: str, patience: float = PATIENCE) -> None:
        """Waits until the page shows a text."""
        until = time.monotonic() + patience
        while text not in self.text:
            if time.monotonic() > until:
                self.picture("not_there")
                raise NotThere(f"{text!r} did not appear on {self.script('return location.href')}:\n{self.text[:3000]}")
            time.sleep(0.3)

    def find(self, xpath: str, patience: float = PATIENCE) -> str:
        """The last element that matches: what opened last lies on top."""
        until = time.monotonic() + patience
        while True:
            found = self._do("elements", {"using": "xpath", "value": xpath})
            if found:
                return str(found[-1][ELEMENT])
            if time.monotonic() > until:
                self.picture("not_there")
                raise NotThere(f"nothing matches {xpath} on {self.script('return location.href')}")
            time.sleep(0.3)

    def click(self, xpath: str) -> None:
        until = time.monotonic() + PATIENCE
        while True:
            try:
                self._do(f"element/{self.find(xpath)}/click", {})
                return
            except RuntimeError:
                if time.monotonic() > until:
                    self.picture("not_clickable")
                    raise
                time.sleep(0.5)

    def click_text(self, text: str, kind: str = "*") -> None:
        self.click(f"//{kind}[normalize-space(.)='{text}']")

    def write(self, xpath: str, text: str) -> None:
        """Replaces what an input field holds."""
        element = self.find(xpath)
        self._do(f"element/{element}/click", {})
        self._do(f"element/{element}/value", {"text": "\ue009a\ue000"})
        self._do(f"element/{element}/value", {"text": text})

    def type(self, text: str) -> None:
        """Keys, to what has the focus."""
        element = self._do("element/active", None)[ELEMENT]
        self._do(f"element/{element}/value", {"text": text})

    def fill(self, name: str, text: str) -> None:
        """Writes between the quotes of an empty field `name: ''` of the Launchpad."""
        self.click(f"//pre[contains(@class, 'CodeMirror-line')][contains(., \"{name}: ''\")]")
        self.type("\ue010\ue012" + text)  # to the end of the line, and back over the quote

    @property
    def address(self) -> str:
        return str(self.script("return location.href"))

    def resize(self, width: int = 1600, height: int = 1100) -> None:
        """A tall window shows a long page without scrolling."""
        self._do("window/rect", {"width": width, "height": height})

    def picture(self, name: str) -> Path:
        path = self.pictures / f"{name}.png"
        path.write_bytes(base64.b64decode(self._do("screenshot", None)))
        return path

    def _do(self, what: str, body: dict[str, Any] | None) -> Any:
        return self._ask("GET" if body is None else "POST", f"/session/{self._session}/{what}", body)

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._driver + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(json.load(error)["value"]["message"].splitlines()[0]) from None


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def wait_until_it_answers(address: str, process: subprocess.Popen, patience: float = 120.0) -> None:
    until = time.monotonic() + patience
    while time.monotonic() < until:
        assert process.poll() is None, f"the server of {address} ended with status {process.returncode}"
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise NotThere(f"{address} did not answer within {patience:.0f} s")


@contextmanager
def browser(work: Path) -> Iterator[Browser]:
    """A browser with a fresh profile; its screenshots are in `work/pictures`."""
    driver = shutil.which("chromedriver")
    assert driver, "chromedriver is needed: apt-get install chromium chromium-driver"
    port = free_port()
    (work / "pictures").mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen([driver, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    page = Browser(f"http://127.0.0.1:{port}", work / "pictures")
    try:
        wait_until_it_answers(f"http://127.0.0.1:{port}/status", process)
        page.start(work / "profile")
        yield page
    finally:
        page.end()
        process.kill()  # asked to end, some drivers wait for ever for a browser that is gone
        process.wait()
