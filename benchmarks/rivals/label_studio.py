"""Label Studio, for comparison with review.py: a decision stored and the next task fetched, over its own API.

    python -m venv ls && ls/bin/pip install label-studio
    python benchmarks/rivals/label_studio.py --command ls/bin/label-studio [--n 100000] [--keys 60]

Its server runs as it does by default (SQLite); its front end, which comes on top, is not measured.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from typing import Any

TOKEN, PORT = "0123456789" * 4, 8765
LABELS = '<View><Text name="t" value="$text"/><Choices name="c" toName="t"><Choice value="keep"/><Choice value="drop"/></Choices></View>'
KEEP = [{"from_name": "c", "to_name": "t", "type": "choices", "value": {"choices": ["keep"]}}]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--command", required=True, help="the label-studio program of an environment of its own")
    parser.add_argument("--n", type=int, default=100_000)
    parser.add_argument("--keys", type=int, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        environ = {
            **os.environ, "LABEL_STUDIO_BASE_DATA_DIR": folder, "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
            "COLLECT_ANALYTICS": "false",
        }  # fmt: skip
        words = ["start", "--no-browser", "--port", str(PORT), "--username", "a@b.co", "--password", "a-long-password"]
        process = subprocess.Popen(
            [options.command, *words, "--user-token", TOKEN, "--enable-legacy-api-token"], env=environ,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            wait()
            measure(options.n, options.keys)
        finally:
            process.terminate()
            process.wait()


def wait() -> None:
    for _ in range(120):
        try:
            urllib.request.urlopen(f"http://localhost:{PORT}/health", timeout=2)
            return
        except OSError:
            time.sleep(1)
    raise SystemExit("label-studio did not start within two minutes")


def measure(n: int, keys: int) -> None:
    project = call("POST", "/api/projects", {"title": "benchmark", "label_config": LABELS})["id"]
    began = time.perf_counter()
    for start in range(0, n, 5_000):
        rows = [{"text": f"post number {at} " + "word " * 25} for at in range(start, min(n, start + 5_000))]
        call("POST", f"/api/projects/{project}/import", rows)
    print(f"{n:,} tasks imported in {time.perf_counter() - began:.0f} s", flush=True)
    took, task = [], call("GET", f"/api/projects/{project}/next")
    for _ in range(keys):
        began = time.perf_counter()
        call("POST", f"/api/tasks/{task['id']}/annotations/", {"result": KEEP})
        task = call("GET", f"/api/projects/{project}/next")
        took.append(1000 * (time.perf_counter() - began))
    took.sort()
    print(
        f"decision and next task, ms: p50 {took[keys // 2]:,.0f}, p95 {took[int(0.95 * keys)]:,.0f}, most {took[-1]:,.0f}"
    )


def call(method: str, path: str, body: Any = None) -> Any:
    headers = {"Authorization": f"Token {TOKEN}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://localhost:{PORT}{path}", method=method, data=data, headers=headers)
    try:
        return json.loads(urllib.request.urlopen(request, timeout=300).read() or b"null")
    except urllib.error.HTTPError as error:
        raise SystemExit(f"{method} {path}: {error.code} {error.read()[:300]!r}") from error


if __name__ == "__main__":
    main()
