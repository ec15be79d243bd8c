"""Chromium without a window, spoken to over two pipes (the DevTools protocol): what a page does
where it is really opened."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
    *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
    *("--disable-extensions", "--disable-sync", "--remote-debugging-pipe"),
)
# A browser reads from its descriptor 3 and writes to 4.
LAUNCH = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
for number, end in zip((3, 4), ends):
    os.dup2(end, number)
os.execv(sys.argv[3], sys.argv[3:])
"""


def chromium() -> str:
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.fail("this test opens a page in Chromium: apt-get install chromium")
    return found


class Page:
    """A page, what it asked for and what it complained of."""

    def __init__(self, send: Callable[[bytes], None], messages: Iterator[Any]) -> None:
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self._send, self._messages = send, messages
        self._number, self._loads = 0, 0
        self._session: str | None = None
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self._call(f"{domain}.enable")

    def open(self, url: str, width: int, height: int = 900) -> None:
        """Shows a page, in a window of so many pixels, and waits until it is there."""
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        before = self._loads
        self._call("Page.navigate", url=url)
        while self._loads == before:
            self._listen(next(self._messages))

    def run(self, script: str) -> Any:
        """The value of an expression."""
        found = self._call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def press(self, key: str, code: int) -> None:
        """A key, as a person presses it."""
        told = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self._call("Input.dispatchKeyEvent", type="rawKeyDown", **told)
        self._call("Input.dispatchKeyEvent", type="char", text="\r", **told)
        self._call("Input.dispatchKeyEvent", type="keyUp", **told)

    def _call(self, method: str, **parameters: Any) -> Any:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        self._send(json.dumps(message).encode() + b"\0")
        for answer in self._messages:
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]
            self._listen(answer)
        raise AssertionError("Chromium ended")

    def _listen(self, event: Any) -> None:
        told = event.get("params", {})
        match event.get("method"):
            case "Page.loadEventFired":
                self._loads += 1
            case "Network.requestWillBeSent":
                self.requests.append(told["request"]["url"])
            case "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(told["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if told["type"] in ("error", "warning"):
                self.complaints.append(json.dumps(told["args"]))
            case "Log.entryAdded" if told["entry"]["level"] in ("error", "warning"):
                self.complaints.append(told["entry"]["text"])


@contextmanager
def opened(profile: Path) -> Iterator[Page]:
    """A browser with a profile of its own, which ends with the block."""
    from_us, to_us = os.pipe(), os.pipe()
    command = [chromium(), *FLAGS, f"--user-data-dir={profile}"]
    ends = (str(from_us[0]), str(to_us[1]))
    process = subprocess.Popen(
        [sys.executable, "-S", "-c", LAUNCH, *ends, *command],
        pass_fds=(from_us[0], to_us[1]),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(from_us[0])
    os.close(to_us[1])
    try:
        with os.fdopen(to_us[0], "rb") as answers, os.fdopen(from_us[1], "wb", 0) as questions:
            yield Page(lambda message: _written(questions, message), _messages(answers))
    finally:
        process.kill()
        process.wait()


def _written(file: Any, message: bytes) -> None:
    file.write(message)


def _messages(file: Any) -> Iterator[Any]:
    held = b""
    while part := file.read1(65536):
        *whole, held = (held + part).split(b"\0")
        for each in whole:
            yield json.loads(each)
