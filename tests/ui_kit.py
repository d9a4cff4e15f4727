"""A real app in a process of its own and a real browser to drive it, for the tests of ui and the pictures in docs/screenshots."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).parent.parent
CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
NO_BROWSER = "no Chromium on this machine: apt-get install chromium"
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip
UI = (sys.executable, "-c", "from ui.cli import app; app()")
WAIT_MS = 15_000


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(workspace: Path, **settings: Any) -> Iterator[str]:
    """The address of the app of this workspace, served by `ui` in a process of its own and ended by Ctrl-C."""
    port = settings.pop("port", None) or free_port()
    words = [f"workspace={workspace}", f"port={port}", *(f"{key}={value}" for key, value in settings.items())]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))}
    log = (workspace.parent / f"ui-{port}.log").open("w+")
    process = subprocess.Popen([*UI, *words], cwd=workspace.parent, env=environ, stdout=log, stderr=subprocess.STDOUT)
    address = f"http://localhost:{port}"
    try:
        for _ in range(300):
            try:
                if urllib.request.urlopen(f"{address}/_stcore/health", timeout=2).read() == b"ok":
                    break
            except OSError:
                pass
            if process.poll() is not None:
                raise RuntimeError(f"ui ended with {process.returncode}: {Path(log.name).read_text()}")
            time.sleep(0.1)
        yield address
    finally:
        process.send_signal(2)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
        log.close()


@contextmanager
def browsing() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


def open_page(
    browser: Browser,
    address: str,
    name: str | None = None,
    *,
    scheme: Literal["light", "dark"] = "light",
    width: int = 1280,
    height: int = 900,
) -> Page:
    """A new visitor's page; with `name`, one who has said who they are."""
    context = browser.new_context(
        color_scheme=scheme, viewport={"width": width, "height": height}, reduced_motion="reduce"
    )
    if name:
        context.add_cookies([{"name": "tilth_reviewer", "value": name, "url": address}])
    page = context.new_page()
    page.set_default_timeout(WAIT_MS)
    page.goto(address)
    settled(page)
    return page


def settled(page: Page) -> None:
    """Wait until the script has run and nothing is loading."""
    page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]', state="attached")
    page.wait_for_function(
        "!document.querySelector('[data-testid=stApp]').dataset.testConnectionState || "
        "document.querySelector('[data-testid=stApp]').dataset.testConnectionState === 'CONNECTED'"
    )


def serious(page: Page) -> list[str]:
    """What axe finds that keeps somebody out: its rules with a serious or critical finding, and where."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {' '.join(map(str, node['target']))}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]
