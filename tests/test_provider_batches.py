"""Each provider's batches, by its real SDK, against a server that speaks its protocol."""

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from fakeprovider import FakeProvider
from test_providers import (
    CLEAN,
    COMPLETION,
    KEY,
    KEYS,
    MESSAGE,
    NAMES,
    Scripted,
    a_request,
    picture,
    url_of,
    with_provider,
)

from curation.errors import ProviderError, RequestRejected, TransientError, WorkspaceError
from curation.records import Finish, Request, now
from synth.providers.base import Answer, Batches, BatchState, Provider
from synth.providers.calls import lines
from synth.providers.chat_batches import read_row as read_chat_row
from synth.providers.failures import Service

SERVICE = Service("a-service", "host", "m", "KEY", KEY)


@pytest.fixture(scope="module")
def _server() -> Iterator[FakeProvider]:
    with FakeProvider() as server:
        yield server


@pytest.fixture
def server(_server: FakeProvider, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeProvider:
    monkeypatch.chdir(tmp_path)
    for env in KEYS.values():
        monkeypatch.setenv(env, KEY)
    _server.configure(**CLEAN, batch_s=0)
    _server.reset()
    return _server


def requests(count: int, **fields: Any) -> list[Request]:
    return [a_request(f"Name {slot + 2} kinds of bread.", slot=slot, **fields) for slot in range(count)]


def batches_of(provider: Provider) -> Batches:
    assert provider.batches is not None
    return provider.batches


async def ended(batches: Batches, external_id: str) -> BatchState:
    for _ in range(500):
        state = await batches.state(external_id)
        if state.ended:
            return state
        await asyncio.sleep(0.01)
    raise AssertionError(f"the batch never ended: {state}")


async def outcomes(batches: Batches, external_id: str) -> dict[str, Answer | ProviderError]:
    return {request_id: outcome async for request_id, outcome in batches.results(external_id)}


def in_batches(name: str, server: FakeProvider | str, use: Any, **settings: Any) -> Any:
    url = server if isinstance(server, str) else url_of(server, name)

    async def main(provider: Provider) -> Any:
        return await use(batches_of(provider))

    return with_provider(name, url, main, mode="batch", **settings)


@pytest.mark.parametrize("name", NAMES)
def test_every_request_comes_back_under_its_own_id(server: FakeProvider, name: str) -> None:
    asked = requests(40)

    async def use(batches: Batches) -> None:
        external_id = await batches.submit("tilth-one", asked)
        state = await ended(batches, external_id)
        assert state.failure is None
        assert state.words.lower() in ("ended", "completed")
        assert state.done in (40, None)
        found = await outcomes(batches, external_id)
        assert set(found) == {request.id for request in asked}
        for answer in found.values():
            assert isinstance(answer, Answer)
            assert answer.text
            assert answer.finish is Finish.STOP
            assert answer.usage.output_tokens > 0
            assert answer.raw["usage"]

    in_batches(name, server, use)
    stats = server.stats()
    assert (stats["batches_submitted"], stats["paid"]) == (1, 40)


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_and_a_live_request_say_the_same(server: FakeProvider, name: str) -> None:
    asked = requests(1)

    async def both(provider: Provider) -> tuple[Answer, Answer | ProviderError]:
        live = await provider.answer(asked[0])
        batches = batches_of(provider)
        external_id = await batches.submit("tilth-both", asked)
        await ended(batches, external_id)
        return live, (await outcomes(batches, external_id))[asked[0].id]

    live, batched = with_provider(name, url_of(server, name), both, mode="batch")
    assert isinstance(batched, Answer)
    assert (batched.text, batched.finish, batched.usage) == (live.text, live.finish, live.usage)


@pytest.mark.parametrize("name", NAMES)
def test_the_rows_of_a_partly_failed_batch_say_which_can_be_asked_again(server: FakeProvider, name: str) -> None:
    server.configure(faults={"row_expired": 0.25, "row_errored": 0.25, "row_invalid": 0.2, "refusal": 0.2})
    asked = requests(120)

    async def use(batches: Batches) -> dict[str, Answer | ProviderError]:
        external_id = await batches.submit("tilth-partly", asked)
        await ended(batches, external_id)
        return await outcomes(batches, external_id)

    found = in_batches(name, server, use)
    assert set(found) == {request.id for request in asked}
    kinds = Counter(
        outcome.kind if isinstance(outcome, TransientError) else type(outcome).__name__ for outcome in found.values()
    )
    faults = server.stats()["by_fault"]
    assert kinds["expired"] == faults["row_expired"] > 10
    assert kinds["server error"] == faults["row_errored"] > 10
    assert kinds["RequestRejected"] == faults["row_invalid"] > 5
    assert kinds["Answer"] == server.stats()["paid"] > 20
    assert sum(kinds.values()) == 120
    for outcome in found.values():
        if isinstance(outcome, ProviderError):
            assert not getattr(outcome, "maybe_paid", False)
            assert "\n" not in str(outcome)


@pytest.mark.parametrize("name", NAMES)
def test_a_cancelled_batch_keeps_what_was_answered(server: FakeProvider, name: str) -> None:
    server.configure(batch_s=60)
    asked = requests(5)

    async def use(batches: Batches) -> None:
        external_id = await batches.submit("tilth-cancelled", asked)
        assert not (await batches.state(external_id)).ended
        await batches.cancel(external_id)
        await ended(batches, external_id)
        found = await outcomes(batches, external_id)
        assert set(found) == {request.id for request in asked}
        assert all(isinstance(outcome, TransientError) and outcome.kind == "expired" for outcome in found.values())

    in_batches(name, server, use)


@pytest.mark.parametrize("name", ["together", "openai"])
def test_a_batch_that_failed_as_a_whole_says_why(server: FakeProvider, name: str) -> None:
    server.configure(faults={"batch_failed": 1.0})

    async def use(batches: Batches) -> BatchState:
        external_id = await batches.submit("tilth-failed", requests(3))
        state = await ended(batches, external_id)
        assert await outcomes(batches, external_id) == {}
        return state

    assert in_batches(name, server, use).failure == "The batch failed in processing."


def test_a_failed_message_batch_has_only_rows_to_ask_again(server: FakeProvider) -> None:
    server.configure(faults={"batch_failed": 1.0})

    async def use(batches: Batches) -> dict[str, Answer | ProviderError]:
        external_id = await batches.submit("tilth-failed", requests(3))
        assert (await ended(batches, external_id)).failure is None
        return await outcomes(batches, external_id)

    found = in_batches("anthropic", server, use)
    assert [type(outcome) for outcome in found.values()] == [TransientError] * 3


# -- finding a batch whose id was never heard --------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_is_found_again_by_who_never_heard_its_id(server: FakeProvider, name: str) -> None:
    async def use(batches: Batches) -> None:
        since = now()
        assert await batches.find("tilth-b", 3, since, []) == []
        first = await batches.submit("tilth-a", requests(3))
        second = await batches.submit("tilth-b", requests(3, attempt=1))
        await batches.submit("tilth-c", requests(4, attempt=2))
        found = await batches.find("tilth-b", 3, since, [])
        if name == "anthropic":  # it keeps no names: newest first, and the results must tell
            assert found == [second, first]
            assert await batches.find("tilth-b", 5, since, []) == []
        else:
            assert found == [second]
        assert await batches.find("tilth-b", 3, since, [first]) == [second]
        assert await batches.find("tilth-b", 3, since, [first, second]) == []
        assert await batches.find("tilth-b", 3, now() + timedelta(minutes=5), []) == []

    in_batches(name, server, use)


@pytest.mark.parametrize("name", ["together", "openai"])
def test_the_same_requests_under_another_name_are_another_batch(server: FakeProvider, name: str) -> None:
    """Together answers the upload of a file that it has with the old one."""

    async def use(batches: Batches) -> None:
        since, asked = now(), requests(3)
        first = await batches.submit("tilth-first", asked)
        second = await batches.submit("tilth-second", asked)
        assert first != second
        assert await batches.find("tilth-first", 3, since, []) == [first]
        assert await batches.find("tilth-second", 3, since, []) == [second]

    in_batches(name, server, use)


# -- size --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_request_weighs_what_it_takes(server: FakeProvider, name: str, tmp_path: Path) -> None:
    image = picture(tmp_path)
    asked = [*requests(6), a_request("\u0ba4\u0bae\u0bbf\u0bb4\u0bcd \u4e2d\u6587", images=(image,))]
    taken: list[int] = []

    async def main(provider: Provider) -> None:
        batches = batches_of(provider)
        http = provider._calls.client._client  # type: ignore[attr-defined]

        async def measure(request: Any) -> None:
            if request.method == "PUT" or (
                request.method == "POST" and request.url.path.endswith(("batches", "files"))
            ):
                taken.append(int(request.headers["content-length"]))

        http.event_hooks["request"].append(measure)
        external_id = await batches.submit("tilth-weighed", asked)
        await ended(batches, external_id)
        found = await outcomes(batches, external_id)
        assert all(isinstance(outcome, Answer) for outcome in found.values())
        weight = sum(batches.weigh(request) for request in asked)
        spare = {"anthropic": 256_000_000, "together": 100_000_000, "openai": 200_000_000}[name] - batches.most_bytes
        form = 500 if name == "openai" else 0  # the form's own lines around the file
        assert weight <= max(taken) <= weight + spare + form

    with_provider(name, url_of(server, name), main, mode="batch", assets=tmp_path)


def test_the_limits_are_the_services_own(server: FakeProvider) -> None:
    async def use(batches: Batches) -> int:
        return batches.most_requests

    assert [in_batches(name, server, use) for name in NAMES] == [100_000, 50_000, 50_000]


@pytest.mark.parametrize("name", NAMES)
def test_a_large_batch_goes_up_without_holding_others_up(server: FakeProvider, name: str) -> None:
    asked = [a_request("x" * 500_000, slot=slot) for slot in range(16)]

    async def use(batches: Batches) -> float:
        longest, last, done = 0.0, asyncio.get_running_loop().time(), False

        async def tick() -> None:
            nonlocal longest, last
            while not done:
                await asyncio.sleep(0.005)
                longest, last = (
                    max(longest, asyncio.get_running_loop().time() - last),
                    asyncio.get_running_loop().time(),
                )

        ticking = asyncio.create_task(tick())
        external_id = await batches.submit("tilth-large", asked)
        done = True
        await ticking
        assert (await ended(batches, external_id)).failure is None
        return longest

    assert in_batches(name, server, use, timeout_s=60) < 0.5


# -- errors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_what_goes_wrong_with_a_call_is_said_in_our_own_errors(server: FakeProvider, name: str) -> None:
    async def use(batches: Batches) -> None:
        with pytest.raises(ProviderError, match=r"No batch found|not found"):
            await batches.state("batch_none")
        with pytest.raises(ProviderError):
            await batches.cancel("batch_none")
        with pytest.raises(ProviderError):
            await outcomes(batches, "batch_none")
        server.configure(credit_usd=0)
        with pytest.raises(ProviderError, match="credit is used up"):
            await batches.submit("tilth-poor", requests(2))

    in_batches(name, server, use)

    async def unreachable(batches: Batches) -> None:
        calls = (
            lambda: batches.submit("t", requests(1)),
            lambda: batches.find("t", 1, now(), []),
            lambda: batches.state("b"),
            lambda: batches.cancel("b"),
        )
        for call in calls:
            with pytest.raises(TransientError, match=r"cannot reach 127\.0\.0\.1:9") as caught:
                await call()
            assert not caught.value.maybe_paid

    in_batches(name, "http://127.0.0.1:9/v1", unreachable)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("page", [b"<html>captive portal</html>", b'{"id": ', b"[3]", b'{"odd": 1}', b'"words"'])
@pytest.mark.parametrize("media", ["application/json", "text/html"])
def test_a_page_that_is_no_batch_can_be_asked_for_again(
    server: FakeProvider, name: str, page: bytes, media: str
) -> None:
    async def use(batches: Batches) -> None:
        with pytest.raises(TransientError):
            await batches.submit("t", requests(1))
        with pytest.raises(TransientError):
            await batches.state("b")
        try:
            assert await batches.find("t", 1, now(), []) == []
        except TransientError as error:
            assert "sent something else" in str(error)  # noqa: PT017

    with Scripted(200, page, {"content-type": media}) as scripted:
        in_batches(name, scripted.url, use)


def test_a_file_of_a_batch_that_cannot_be_written(server: FakeProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    async def use(batches: Batches) -> None:
        with pytest.raises(WorkspaceError, match="set TMPDIR"):
            await batches.submit("no/such/folder", requests(1))

    in_batches("together", server, use)


def test_a_row_whose_image_is_missing_is_rejected_before_it_is_sent(server: FakeProvider, tmp_path: Path) -> None:
    async def use(batches: Batches) -> None:
        with pytest.raises(RequestRejected, match="the image cannot be read"):
            batches.weigh(a_request(images=("none",)))

    for name in NAMES:
        in_batches(name, server, use, assets=tmp_path)


# -- results as they stream --------------------------------------------------------------------------------------


class Streaming:
    """A server with one ended batch, whose results come in two parts: the second when `go_on` is set, and maybe never."""

    def __init__(self, name: str, first: bytes, second: bytes, *, cut: bool = False) -> None:
        self.go_on = threading.Event()
        go_on = self.go_on

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if self.path.endswith(("/results", "/content")):
                    self.stream()
                    return
                host = f"http://{self.headers['host']}"
                body = json.dumps(shown_batch(name, host)).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def stream(self) -> None:
                self.send_response(200)
                self.send_header("content-type", "application/x-jsonl")
                self.send_header("content-length", str(len(first) + len(second)))
                self.end_headers()
                self.wfile.write(first)
                self.wfile.flush()
                go_on.wait(10)
                self.wfile.write(second[: len(second) // 2] if cut else second)
                self.close_connection = cut

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> "Streaming":
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.go_on.set()
        self._server.shutdown()
        self._server.server_close()


def shown_batch(name: str, host: str) -> dict[str, Any]:
    moment = "2026-11-20T00:00:00Z"
    if name == "anthropic":
        counts = {"processing": 0, "succeeded": 3, "errored": 0, "canceled": 0, "expired": 0}
        return {
            "id": "b", "type": "message_batch", "processing_status": "ended", "request_counts": counts, "created_at": moment,
            "expires_at": moment, "results_url": f"{host}/v1/messages/batches/b/results",
        }  # fmt: skip
    files = {"input_file_id": "i", "output_file_id": "o", "error_file_id": None}
    if name == "together":
        return {"id": "b", "status": "COMPLETED", "created_at": moment, "progress": 100, **files}
    return {
        "id": "b",
        "object": "batch",
        "status": "completed",
        "created_at": 1,
        "endpoint": "e",
        "completion_window": "24h",
        **files,
    }


def row(name: str, number: int) -> bytes:
    words = f"line\u2028{number}\x85 and\u2029on"
    if name == "anthropic":
        message = {**MESSAGE, "content": [{"type": "text", "text": words}]}
        line: dict[str, Any] = {"custom_id": f"rq{number}", "result": {"type": "succeeded", "message": message}}
    else:
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": words}}
        line = {
            "custom_id": f"rq{number}",
            "response": {"status_code": 200, "body": {**COMPLETION, "choices": [choice]}},
        }
    return json.dumps(line, ensure_ascii=False).encode() + b"\n"


@pytest.mark.parametrize("name", NAMES)
def test_results_are_handed_on_while_the_rest_is_still_to_come(server: FakeProvider, name: str) -> None:
    whole = b"".join(row(name, number) for number in range(3))
    half = len(row(name, 0)) + 25  # in the middle of the second line
    with Streaming(name, whole[:half], whole[half:]) as streaming:

        async def use(batches: Batches) -> list[tuple[str, str]]:
            found = []
            async for request_id, outcome in batches.results("b"):
                assert isinstance(outcome, Answer)
                found.append((request_id, outcome.text))
                streaming.go_on.set()  # if the whole were read at once, this would come too late
            return found

        found = in_batches(name, streaming.url, use)
    assert found == [(f"rq{number}", f"line\u2028{number}\x85 and\u2029on") for number in range(3)]


@pytest.mark.parametrize("name", NAMES)
def test_results_that_are_cut_off_keep_their_whole_rows_and_can_be_fetched_again(
    server: FakeProvider, name: str
) -> None:
    with Streaming(name, row(name, 0), row(name, 1), cut=True) as streaming:
        streaming.go_on.set()

        async def use(batches: Batches) -> list[str]:
            found: list[str] = []
            try:
                async for request_id, _ in batches.results("b"):
                    found.append(request_id)
            except TransientError as error:
                return [*found, error.kind]
            return found

        assert in_batches(name, streaming.url, use) == ["rq0", "cut-off body"]


def test_lines_end_at_line_feeds_alone_wherever_the_pieces_do() -> None:
    whole = "a\u2028b\r\n\nccc\nlast".encode()

    async def pieces(size: int) -> list[bytes]:
        async def chunks() -> Any:
            for start in range(0, len(whole), size):
                yield whole[start : start + size]

        return [line async for line in lines(chunks())]

    for size in range(1, len(whole) + 1):
        assert asyncio.run(pieces(size)) == ["a\u2028b\r".encode(), b"ccc", b"last"]


@pytest.mark.parametrize(
    ("line", "kind_of", "kind"),
    [
        ({"error": {"code": "batch_expired", "message": "x"}}, TransientError, "expired"),
        ({"error": {"code": "500", "type": "server_error", "message": "x"}}, TransientError, "server error"),
        ({"error": {"type": "invalid_request_error", "message": "x"}}, RequestRejected, None),
        ({"error": "something odd"}, TransientError, "server error"),
        ({"response": {"status_code": 429, "body": {"error": {"message": "x"}}}}, TransientError, "rate limit"),
        ({"response": {"status_code": 200, "body": {"odd": 1}}}, TransientError, "cut-off body"),
        ({}, TransientError, "server error"),
    ],
)  # fmt: skip
def test_what_the_line_of_an_error_file_means(
    line: dict[str, Any], kind_of: type[ProviderError], kind: str | None
) -> None:
    request_id, outcome = read_chat_row(json.dumps({"custom_id": "rq1", **line}).encode(), SERVICE)
    assert request_id == "rq1"
    assert type(outcome) is kind_of
    assert getattr(outcome, "kind", None) == kind
    with pytest.raises(TransientError):
        read_chat_row(b"{", SERVICE)
