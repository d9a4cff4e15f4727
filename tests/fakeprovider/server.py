"""The server: who answers which path, in a thread of this process or in a process of its own."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from aiohttp import web

from . import anthropic
from .faults import Config
from .file_batches import FileBatches
from .google import Google
from .live import ANTHROPIC, Provider, TooLarge, chat, read_body, send
from .message_batches import MessageBatches
from .model import Reply
from .openai import OPENAI, TOGETHER

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class _Server:
    """Where a running server is reached, and what can be asked of it."""

    url: str

    @property
    def anthropic_url(self) -> str:
        return f"{self.url}/anthropic"

    @property
    def together_url(self) -> str:
        """The SDK wants it without `/v1`, others with it: both are answered."""
        return f"{self.url}/together/v1"

    @property
    def openai_url(self) -> str:
        return f"{self.url}/openai/v1"

    @property
    def google_url(self) -> str:
        """For `client_options={"api_endpoint": ...}` of both Google clients."""
        return self.url

    def stats(self) -> dict[str, Any]:
        return self._call("/_stats")

    def keys(self) -> dict[str, dict[str, int]]:
        """Tries, paid and answered of each key."""
        return self._call("/_keys")

    def reset(self) -> None:
        """Forget all that was seen: counts, tries, files, batches, the prompt cache."""
        self._call("/_reset", {})

    def configure(self, **changes: Any) -> None:
        """Change settings of the running server; what is not named stays."""
        self._call("/_config", changes)

    def _call(self, path: str, data: dict[str, Any] | None = None) -> dict[str, Any]:
        body = None if data is None else json.dumps(data).encode()
        try:
            with urllib.request.urlopen(urllib.request.Request(self.url + path, body), timeout=60) as response:
                found: dict[str, Any] = json.load(response)
                return found
        except urllib.error.HTTPError as refused:
            with refused:
                raise ValueError(json.load(refused)["error"]) from None


class FakeProvider(_Server):
    """A loopback server in a thread of its own: `with FakeProvider(faults={"overloaded": 0.1}) as server: ...`.

    Args:
        port: 0 for any free one.
        config: the settings of `faults.Config`; `latency_s` may stand for `latency_ms`.
    """

    def __init__(self, *, port: int = 0, **config: Any) -> None:
        self._provider = Provider(Config().but(config))
        self._port = port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="fakeprovider", daemon=True)
        self._ready = threading.Event()
        self._failure: OSError | None = None

    @staticmethod
    def spawn(*, port: int = 0, **config: Any) -> "Spawned":
        """The same in a process of its own, which ends with this one."""
        return Spawned(port=port, **config)

    def __enter__(self) -> "FakeProvider":
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        except OSError as failure:
            self._failure = failure
            self._ready.set()
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        server = web.Server(Router(self._provider).handle, access_log=None)
        runner = web.ServerRunner(server, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self._port, backlog=2048)
        await site.start()
        self.url = self._provider.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        self._ready.set()
        await self._stop.wait()
        await runner.cleanup()
        left = asyncio.all_tasks() - {asyncio.current_task()}  # batches that have not come to their end
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


class Spawned(_Server):
    def __init__(self, *, port: int = 0, **config: Any) -> None:
        Config().but(config)  # a bad setting is better said here than in a child's last words
        self._given = {"port": port, **config}

    def __enter__(self) -> "Spawned":
        tests = str(Path(__file__).parent.parent)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "fakeprovider", "--child", json.dumps(self._given)],
            env={**os.environ, "PYTHONPATH": tests}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise OSError(f"the server ended with {self._process.wait()} before it was ready")
        self.url = line.strip()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()  # it ends when it can read no more
        self._process.stdout.close()
        self._process.wait(timeout=30)

    @property
    def pid(self) -> int:
        return self._process.pid


class Router:
    """Sends each request to whom it is meant for."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._services = (
            MessageBatches(provider),
            FileBatches(provider, OPENAI),
            FileBatches(provider, TOGETHER),
            Google(provider),
        )
        self._fixed: dict[tuple[str, str], Handler] = {
            ("POST", "/anthropic/v1/messages"): lambda request: chat(provider, ANTHROPIC, request),
            ("POST", "/anthropic/v1/messages/count_tokens"): self._count_tokens,
            ("POST", "/together/v1/chat/completions"): lambda request: chat(provider, TOGETHER, request),
            ("POST", "/openai/v1/chat/completions"): lambda request: chat(provider, OPENAI, request),
            ("GET", "/together/v1/models"): self._together_models,
            ("GET", "/openai/v1/models"): self._openai_models,
        }
        self._own: dict[tuple[str, str], Handler] = {
            ("GET", "/_stats"): self._stats,
            ("GET", "/_keys"): self._keys,
            ("POST", "/_reset"): self._reset,
            ("POST", "/_config"): self._config,
        }

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.path.replace("/v1/v1/", "/v1/")  # the Together SDK adds /v1 to a base URL
        if (own := self._own.get((request.method, path))) is not None:
            return await own(request)
        ledger = self._provider.ledger
        ledger.requests += 1
        ledger.in_flight += 1
        ledger.max_in_flight = max(ledger.max_in_flight, ledger.in_flight)
        try:
            handler = self._fixed.get((request.method, path))
            return await (handler(request) if handler is not None else self._other(request, path))
        finally:
            ledger.in_flight -= 1

    async def _other(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        for service in self._services:
            if (response := await service.handle(request, path)) is not None:
                return response
        return send(self._provider, Reply(404, {"error": {"message": f"no such path: {request.method} {path}"}}))

    async def _count_tokens(self, request: web.BaseRequest) -> web.Response:
        try:
            body = json.loads(await read_body(request, anthropic.MOST_BODY))
        except TooLarge:
            return send(self._provider, anthropic.too_large())
        except ValueError:
            return send(self._provider, anthropic.invalid("The request body is not valid JSON."))
        denied = anthropic.unauthorized(request.headers)
        return send(self._provider, denied or anthropic.count_tokens(body, self._provider.config))

    async def _together_models(self, request: web.BaseRequest) -> web.Response:
        models = [
            {
                "id": "loopback/model",
                "object": "model",
                "created": 0,
                "type": "chat",
                "context_length": self._provider.config.context_tokens,
            }
        ]
        return send(self._provider, TOGETHER.unauthorized(request.headers) or Reply(200, models))

    async def _openai_models(self, request: web.BaseRequest) -> web.Response:
        models = {
            "object": "list",
            "data": [{"id": "loopback-model", "object": "model", "created": 0, "owned_by": "loopback"}],
        }
        return send(self._provider, OPENAI.unauthorized(request.headers) or Reply(200, models))

    async def _stats(self, request: web.BaseRequest) -> web.Response:
        return web.json_response(self._provider.ledger.stats())

    async def _keys(self, request: web.BaseRequest) -> web.Response:
        keys = self._provider.ledger.keys
        return web.json_response(
            {name: {"tries": key.tries, "paid": key.paid, "answered": key.answered} for name, key in keys.items()}
        )

    async def _reset(self, request: web.BaseRequest) -> web.Response:
        self._provider.forget()
        for service in self._services:
            service.forget()
        return web.json_response({})

    async def _config(self, request: web.BaseRequest) -> web.Response:
        try:
            self._provider.apply(self._provider.config.but(await request.json()))
        except (ValueError, TypeError) as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response({})


def wait_for_end_of_input() -> None:
    """Returns when the parent closed our standard input or died."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    sys.stdin.read()
