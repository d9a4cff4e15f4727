"""What holds for every test: no network but loopback, no model hub, one thread for numeric libraries, no settings from outside."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
for _name in [name for name in os.environ if name.startswith("TILTH_") and name != "TILTH_CONTENTION_S"]:
    del os.environ[_name]

_HERE = ("127.", "::1", "localhost", "0.0.0.0")


def _forbid_network(event: str, args: tuple[Any, ...]) -> None:
    if event in ("socket.connect", "socket.sendto") and isinstance(args[1], tuple):
        host = args[1][0]
    elif event == "socket.getaddrinfo":
        host = args[0]
    else:
        return
    if host and not str(host).startswith(_HERE):
        raise RuntimeError(f"a test reached for the network: {event} {host!r}")


sys.addaudithook(_forbid_network)  # an audit hook sees every library's sockets and cannot be taken out again


# files of few and long tests go first: workers take whole files in this order, and at the end none waits long for another
_LONG = (
    "test_train",
    "test_ui",
    "test_docs",
    "test_synth_live",
    "test_synth_kill",
    "test_synth_batch",
    "test_synth_doc",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not item.path.name.startswith(_LONG))


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace that is not there yet, in an empty folder that is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "workspace"


@pytest.fixture(scope="module")  # not longer: its event loop would be in the way of tests that run one
def browser() -> "Iterator[Browser]":
    """A Chromium of this machine, without a window."""
    from ui_kit import CHROMIUM, NO_BROWSER, browsing

    if CHROMIUM is None:
        pytest.skip(NO_BROWSER)
    with browsing() as one:
        yield one
