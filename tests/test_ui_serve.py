"""The command `ui`: what it refuses, how it starts and stops."""

import os
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

from ui_kit import ROOT, UI, free_port, serving

from curation.store import Store


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [*UI, *words], cwd=folder, env=environ, capture_output=True, text=True, timeout=60, check=False
    )


def said(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_beyond_this_machine_without_a_login_is_refused(tmp_path: Path) -> None:
    line = said(run(tmp_path, "address=0.0.0.0"))
    assert line.startswith("ui: address=0.0.0.0: others could reach the app and decide under any name")
    assert "auth=oidc" in line
    assert not (tmp_path / "workspace").exists()


def test_a_login_that_is_not_set_up_is_refused(tmp_path: Path) -> None:
    assert "has no [auth] section" in said(run(tmp_path, "auth=oidc", "address=0.0.0.0"))
    (tmp_path / ".streamlit").mkdir()
    (tmp_path / ".streamlit/secrets.toml").write_text("[auth\n")
    assert "broken TOML" in said(run(tmp_path, "auth=oidc"))


def test_a_port_that_is_taken_names_another(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = said(run(tmp_path, f"port={port}"))
    assert f"port={port}: something else listens there" in line
    assert "take another: `ui port=" in line


def test_unusable_settings_are_one_line(tmp_path: Path) -> None:
    assert "Did you mean 'port'" in said(run(tmp_path, "prot=1"))
    assert "overlap: " in said(run(tmp_path, "overlap=2"))
    (tmp_path / "file").write_text("")
    assert "workspace 'file/w'" in said(run(tmp_path, "workspace=file/w"))


def test_the_app_serves_and_ctrl_c_stops_it_cleanly(tmp_path: Path) -> None:
    port = free_port()
    process = subprocess.Popen(
        [*UI, f"port={port}"], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    first = process.stdout.readline()
    assert first == f"Tilth review app: http://localhost:{port} · workspace workspace · Ctrl-C stops it\n"
    for _ in range(100):
        try:
            if urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=2).status == 200:
                break
        except OSError:
            time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert out.endswith("stopped; every decision is stored\n")
    assert not err
    assert Store(tmp_path / "workspace", create=False).rows("SELECT count(*) FROM review") == [(0,)]


def test_another_sites_name_for_this_machine_does_not_get_in(tmp_path: Path) -> None:
    with serving(tmp_path / "workspace") as address:
        port = int(address.rpartition(":")[2])
        answers = {host: upgrade(port, host) for host in ("localhost", "127.0.0.1", "evil.example")}
    assert " 101 " in answers["localhost"]
    assert " 101 " in answers["127.0.0.1"]
    assert " 403 " in answers["evil.example"]


def upgrade(port: int, host: str) -> str:
    """The first line of the answer to a WebSocket handshake that names `host`."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
        line.sendall(
            f"GET /_stcore/stream HTTP/1.1\r\nHost: {host}:{port}\r\nOrigin: http://{host}:{port}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        return line.recv(200).decode().split("\r\n")[0] + " "
