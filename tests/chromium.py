"""A Chromium without a window, driven through its pipe (DevTools protocol): enough to open a page, press keys and ask what is there."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

LIMIT_S = 60.0
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-default-apps", "--disable-sync", "--disable-dev-shm-usage", "--host-resolver-rules=MAP * ~NOTFOUND", "--remote-debugging-pipe",
)
KEYS = {"ArrowRight": 39, "ArrowLeft": 37, "Home": 36, "End": 35, " ": 32, "d": 68}


class Chromium:
    """One browser with one page. `trouble` is every console message, exception and log entry, `requests` every address asked for."""

    def __init__(self, profile: Path) -> None:
        program = shutil.which("chromium-headless-shell") or shutil.which("chromium")
        assert program, "no browser is installed: 'make browser' does it (apt-get install chromium-headless-shell)"
        theirs_in, ours_out = os.pipe()
        ours_in, theirs_out = os.pipe()
        wrapped = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}'
        self._process = subprocess.Popen(
            ["bash", "-c", wrapped, "bash", program, *FLAGS, f"--user-data-dir={profile}"], pass_fds=(theirs_in, theirs_out),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "HOME": str(profile)},
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._out, self._in = ours_out, ours_in
        self._waiting = b""
        self._number = 0
        self._session: str | None = None
        self.trouble: list[str] = []
        self.requests: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def close(self) -> None:
        """End the browser and all its processes."""
        try:
            self._session = None
            self.call("Browser.close")
        except (OSError, AssertionError):
            self._process.kill()
        finally:
            os.close(self._out)
            os.close(self._in)
            self._process.wait(LIMIT_S)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Ask the browser; what it tells meanwhile is kept."""
        self._number += 1
        asked = {"id": self._number, "method": method, "params": params, **({"sessionId": self._session} if self._session else {})}
        os.write(self._out, json.dumps(asked).encode() + b"\0")
        while True:
            said = self._next()
            if said.get("id") == self._number:
                assert "error" not in said, (method, said["error"])
                return dict(said["result"])

    def open(self, page: Path, fragment: str = "", *, size: tuple[int, int] = (1280, 800), scripts: bool = True, dark: bool = False,
             still: bool = True) -> None:
        """Load a page from disk, anew."""
        self.call("Emulation.setDeviceMetricsOverride", width=size[0], height=size[1], deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.call("Emulation.setEmulatedMedia", features=[
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            {"name": "prefers-reduced-motion", "value": "reduce" if still else "no-preference"},
        ])
        self._load("about:blank")
        self.trouble, self.requests = [], []
        self._load(page.as_uri() + fragment)

    def _load(self, url: str) -> None:
        self.call("Page.navigate", url=url)
        self.until(f"document.readyState === 'complete' && location.href === {json.dumps(url)}")

    def ask(self, expression: str) -> Any:
        """The value of an expression of JavaScript."""
        said = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in said, said["exceptionDetails"]
        return said["result"].get("value")

    def press(self, key: str) -> None:
        """A key, down and up."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=KEYS[key])

    def until(self, expression: str) -> None:
        """Wait until an expression is true."""
        deadline = time.monotonic() + LIMIT_S
        while not self.ask(expression):
            assert time.monotonic() < deadline, f"never true: {expression}"
            time.sleep(0.05)

    def _next(self) -> dict[str, Any]:
        deadline = time.monotonic() + LIMIT_S
        while b"\0" not in self._waiting:
            ready, _, _ = select.select([self._in], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, "chromium says nothing"
            part = os.read(self._in, 1 << 20)
            assert part, "chromium has ended"
            self._waiting += part
        line, _, self._waiting = self._waiting.partition(b"\0")
        said: dict[str, Any] = json.loads(line)
        self._note(said.get("method", ""), said.get("params") or {})
        return said

    def _note(self, method: str, params: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"):
            self.trouble.append(json.dumps(params))
