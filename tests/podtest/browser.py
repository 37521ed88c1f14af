"""A headless Chromium, driven over the DevTools protocol (https://chromedevtools.github.io/devtools-protocol/)."""

import base64
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import websocket

from podtest.waiting import DEADLINE, wait_until

NAMES = ("chromium", "chromium-browser", "google-chrome")


def program() -> str:
    """The browser of this machine."""
    for name in NAMES:
        if path := shutil.which(name):
            return path
    raise AssertionError(f"none of {', '.join(NAMES)} is on PATH: install the Debian package chromium")


class BrowserError(Exception):
    """What the page or the browser said in place of an answer."""


class Page:
    """One tab. What its scripts raise, what the console was told and what was asked of the network is kept."""

    def __init__(self, address: str) -> None:
        # The browser refuses pages of other origins; a client without the field is none.
        self._socket = websocket.create_connection(address, timeout=DEADLINE, suppress_origin=True)
        self._last = 0
        #: Exceptions, errors in the console, violations of the content security policy.
        self.complaints: list[str] = []
        #: URLs.
        self.requested: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command and its answer; events that come between are noted."""
        self._last += 1
        self._socket.send(json.dumps({"id": self._last, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv())
            if message.get("id") == self._last:
                if "error" in message:
                    raise BrowserError(f"{method}: {message['error']}")
                return message["result"]
            self._note(message)

    def _note(self, event: dict[str, Any]) -> None:
        method, told = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            details = told["exceptionDetails"]
            self.complaints.append(details.get("exception", {}).get("description") or details["text"])
        elif method == "Runtime.consoleAPICalled" and told["type"] in ("error", "assert"):
            self.complaints.append(str(told["args"]))
        elif method == "Log.entryAdded" and told["entry"]["source"] in ("security", "violation", "javascript"):
            self.complaints.append(told["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requested.append(told["request"]["url"])

    def look_like(self, width: int, height: int, dark: bool = False, scale: float = 1) -> None:
        """The size of the window in CSS pixels, and which colours its user prefers."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def open(self, url: str) -> None:
        """Go there. Returns when the document has been read."""
        answer = self.call("Page.navigate", url=url)
        if "errorText" in answer:
            raise BrowserError(f"{url}: {answer['errorText']}")
        wait_until(lambda: self.run("document.readyState") in ("interactive", "complete"), f"the document of {url}")

    def reload(self) -> None:
        """The same address anew. Returns when the new document has been read."""
        self.run("window.before = true")
        self.call("Page.reload")
        wait_until(lambda: self.run("!window.before && document.readyState === 'complete'"), "the document, anew")

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression; a promise is waited for."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise BrowserError(f"{script}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def text(self, selector: str) -> str:
        """What is seen of an element; empty where it is hidden."""
        found = self.run(f"document.querySelector({json.dumps(selector)})?.innerText ?? null")
        assert found is not None, f"no element {selector}"
        return found

    def wait_text(self, selector: str, *words: str) -> str:
        """Wait until an element shows all of these words."""

        def shown() -> str | None:
            text = self.text(selector)
            return text if all(word in text for word in words) else None

        return wait_until(shown, lambda: f"{words} in {selector}, which says {self.text(selector)!r}", every=0.1)

    def visible(self, selector: str) -> bool:
        """Whether an element takes any room."""
        return self.run(f"document.querySelector({json.dumps(selector)}).getClientRects().length > 0")

    def click(self, selector: str) -> None:
        """Click it."""
        self.run(f"document.querySelector({json.dumps(selector)}).click()")

    def type(self, selector: str, words: str) -> None:
        """Put the cursor there and type, in place of what is there."""
        self.run(f"document.querySelector({json.dumps(selector)}).focus()")
        self.run(f"document.querySelector({json.dumps(selector)}).select()")
        self.call("Input.insertText", text=words)

    def screenshot(self, file: Path, whole: bool = False) -> None:
        """As PNG; ``whole``: the document and not only what fits the window."""
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        file.write_bytes(base64.b64decode(answer["data"]))

    def close(self) -> None:
        """Close the connection; the tab stays until the browser ends."""
        self._socket.close()


class Browser:
    """A browser with a profile of its own. Use as a context manager."""

    def __init__(self) -> None:
        self._profile = tempfile.TemporaryDirectory(prefix="podtest-browser-", ignore_cleanup_errors=True)
        self._pages: list[Page] = []
        self._process = subprocess.Popen(
            [
                program(), "--headless=new", "--remote-debugging-port=0", f"--user-data-dir={self._profile.name}",
                # It is root in containers, whose kernels have no place for its sandbox and little for shared memory.
                "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--no-first-run", "--disable-extensions",
                "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-proxy-server",
                "--hide-scrollbars", "about:blank",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        told = Path(self._profile.name, "DevToolsActivePort")

        def port() -> int | None:
            assert self._process.poll() is None, f"{program()} ended with {self._process.returncode}"
            lines = told.read_text().splitlines() if told.exists() else []
            return int(lines[0]) if lines else None

        self._port = wait_until(port, "the browser's port")

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def page(self) -> Page:
        """A new tab."""
        made = Request(f"http://127.0.0.1:{self._port}/json/new?about:blank", method="PUT")
        with urlopen(made, timeout=DEADLINE) as response:
            page = Page(json.load(response)["webSocketDebuggerUrl"])
        self._pages.append(page)
        return page

    def close(self) -> None:
        """End it with all its processes."""
        for page in self._pages:
            page.close()
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._profile.cleanup()


@contextmanager
def browser_page() -> Iterator[Page]:
    """One tab of a browser of its own."""
    with Browser() as browser:
        yield browser.page()


def settle(page: Page, seconds: float) -> None:
    """Let the page go on for a while, for a picture."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        page.run("1")
        time.sleep(0.2)
