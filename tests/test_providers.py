"""Each provider's live requests, by its real SDK, against a server that speaks its protocol."""

import asyncio
import json
import re
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from io import BytesIO
from pathlib import Path
from socket import gaierror
from typing import Any

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from fakeprovider import FakeProvider
from PIL import Image as Picture

from curation.errors import InputError, ProviderError, RequestRejected, TransientError
from curation.records import Finish, Message, Request
from synth.config import AskSettings
from synth.pictures import media_type, pixels
from synth.pricing import BUILTIN, Price, load_prices
from synth.providers import connect
from synth.providers.base import Answer, Headroom, Provider, Usage
from synth.providers.chat_shape import ChatBody
from synth.providers.failures import Service, failure
from synth.providers.images import Images
from synth.providers.limits import headroom, retry_after_s

NAMES = ("anthropic", "together", "openai")
KEYS = {"anthropic": "ANTHROPIC_API_KEY", "together": "TOGETHER_API_KEY", "openai": "OPENAI_API_KEY"}
KEY = "sk-a-key-that-nobody-may-see"
SCHEMA = {
    "type": "object",
    "properties": {"items": {"type": "array", "items": {"type": "string"}}},
    "required": ["items"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def _server() -> Iterator[FakeProvider]:
    with FakeProvider() as server:
        yield server


CLEAN: dict[str, Any] = {
    "faults": {}, "stubborn": None, "rate_per_minute": None, "tokens_per_minute": None, "credit_usd": None,
    "context_tokens": 200_000, "latency_s": 0.0, "filter_as_400": False, "anthropic_credit": "402",
}  # fmt: skip


@pytest.fixture
def server(_server: FakeProvider, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeProvider:
    monkeypatch.chdir(tmp_path)
    for env in KEYS.values():
        monkeypatch.setenv(env, KEY)
    _server.configure(**CLEAN)
    _server.reset()
    return _server


def url_of(server: FakeProvider, name: str) -> str:
    url: str = getattr(server, f"{name}_url")
    return url


def a_request(text: str = "Name three kinds of bread.", system: str = "Be brief.", **fields: Any) -> Request:
    images = fields.pop("images", ())
    messages = (Message(role="system", content=system), Message(role="user", content=text, images=images))
    given = {"model": "a-model", "sampling": {"max_tokens": 300, "seed": 1}, **fields}
    return Request(prompt="p", prompt_id="pf", variables={}, messages=messages, provider="any", **given)


def with_provider(
    name: str, url: str | None, use: Callable[[Provider], Awaitable[Any]], *, assets: Path | None = None,
    price: Price | None = None, **settings: Any,
) -> Any:  # fmt: skip
    async def main() -> Any:
        asked = AskSettings(provider=name, base_url=url, **{"model": "a-model", "timeout_s": 5, **settings})
        provider = connect(asked, assets=assets, price=price)
        try:
            return await use(provider)
        finally:
            await provider.close()

    return asyncio.run(main())


def answer(name: str, url: str, request: Request | None = None, **settings: Any) -> Answer:
    found: Answer = with_provider(name, url, lambda provider: provider.answer(request or a_request()), **settings)
    return found


def failed(name: str, url: str, request: Request | None = None, **settings: Any) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        answer(name, url, request, **settings)
    words = str(caught.value)
    assert "\n" not in words
    assert KEY not in words
    return caught.value


class Scripted:
    """A server that answers each request with the same words, and keeps what it was sent."""

    def __init__(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        self.seen: list[tuple[str, dict[str, str], Any]] = []
        self.ports: set[int] = set()
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        seen, ports = self.seen, self.ports

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                ports.add(self.client_address[1])
                raw = self.rfile.read(int(self.headers.get("content-length", 0)))
                seen.append(
                    (self.path, {k.lower(): v for k, v in self.headers.items()}, json.loads(raw) if raw else None)
                )
                self.send_response(status)
                for field, value in {"content-type": "application/json", **(headers or {})}.items():
                    self.send_header(field, value)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def do_GET(self) -> None:
                self.do_POST()

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> "Scripted":
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


MESSAGE = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-it-was", "stop_reason": "end_turn",
    "content": [
        {"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": "one "}, {"type": "text", "text": "two"},
    ],
    "usage": {"input_tokens": 7, "output_tokens": 5, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 2},
}  # fmt: skip
COMPLETION = {
    "id": "c_1", "object": "chat.completion", "model": "it-was", "created": 1,
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "one two"}}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "prompt_tokens_details": {"cached_tokens": 4}},
}  # fmt: skip


def body_of(name: str, **changes: Any) -> dict[str, Any]:
    if name == "anthropic":
        return {**MESSAGE, **changes}
    message = {"role": "assistant", "content": "one two", **changes.pop("message", {})}
    choice = {"index": 0, "finish_reason": changes.pop("finish_reason", "stop"), "message": message}
    return {**COMPLETION, "choices": [choice], **changes}


def sent_by(name: str, request: Request, **settings: Any) -> dict[str, Any]:
    with Scripted(200, body_of(name)) as scripted:
        answer(name, scripted.url, request, **settings)
    body: dict[str, Any] = scripted.seen[0][2]
    return body


# -- what is sent ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_request_carries_the_key_its_own_id_and_what_was_asked(server: FakeProvider, name: str) -> None:
    request = a_request(text="caf\u00e9 \u0ba4\u0bae\u0bbf\u0bb4\u0bcd \ud800 \u2028")
    with Scripted(200, body_of(name)) as scripted:
        answer(name, scripted.url, request)
    path, headers, body = scripted.seen[0]
    assert path == ("/v1/messages" if name == "anthropic" else "/v1/chat/completions")
    assert headers["idempotency-key"] == request.id
    assert KEY in (headers.get("x-api-key") or headers["authorization"])
    assert int(headers["content-length"]) > 0
    assert body["model"] == "a-model"
    assert body["max_tokens"] == 300
    words = body["messages"][-1]["content"]
    assert words == "caf\u00e9 \u0ba4\u0bae\u0bbf\u0bb4\u0bcd ? \u2028"
    if name == "anthropic":
        assert body["system"] == [{"type": "text", "text": "Be brief."}]
        assert set(body) == {"model", "max_tokens", "system", "messages"}
    else:
        assert body["messages"][0] == {"role": "system", "content": "Be brief."}
        assert set(body) == {"model", "max_tokens", "messages", "seed"}


def test_a_long_system_prompt_is_marked_for_the_cache_and_read_from_it(server: FakeProvider) -> None:
    long = "Keep to the house style in all that you write. " * 100
    assert sent_by("anthropic", a_request(system=long))["system"][0]["cache_control"] == {"type": "ephemeral"}

    async def twice(provider: Provider) -> tuple[Answer, Answer]:
        return await provider.answer(a_request(system=long)), await provider.answer(a_request("Another.", system=long))

    first, second = with_provider("anthropic", url_of(server, "anthropic"), twice)
    assert first.usage.cache_write_tokens > 1000
    assert second.usage.cache_read_tokens == first.usage.cache_write_tokens
    assert second.usage.input_tokens < 100


@pytest.mark.parametrize("name", ["together", "openai"])
def test_repeats_of_a_question_get_seeds_of_their_own_and_a_replay_gets_the_same(
    server: FakeProvider, name: str
) -> None:
    seeds = [
        sent_by(name, a_request(slot=slot, attempt=attempt))["seed"]
        for slot, attempt in ((0, 0), (0, 1), (1, 0), (0, 0))
    ]
    assert len(set(seeds)) == 3
    assert seeds[0] == seeds[3]
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert sent_by(name, a_request(sampling={"max_tokens": 5, "seed": 2}))["seed"] not in seeds


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_and_an_effort_go_where_each_provider_wants_them(server: FakeProvider, name: str) -> None:
    body = sent_by(name, a_request(output_schema=SCHEMA, sampling={"max_tokens": 5, "effort": "low"}))
    if name == "anthropic":
        assert body["output_config"] == {"effort": "low", "format": {"type": "json_schema", "schema": SCHEMA}}
        return
    assert body["reasoning_effort"] == "low"
    assert "seed" not in body
    assert body["response_format"]["json_schema"]["schema"] == SCHEMA
    assert body["response_format"]["json_schema"].get("strict") is (True if name == "openai" else None)


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_is_kept_by_the_model(server: FakeProvider, name: str) -> None:
    found = answer(name, url_of(server, name), a_request(output_schema=SCHEMA))
    assert set(json.loads(found.text)) == {"items"}


def test_openai_itself_is_told_of_completion_tokens(server: FakeProvider) -> None:
    asked = ChatBody(Images(None, most_bytes=1), strict=True, limit_name="max_completion_tokens").of(a_request())
    assert asked["max_completion_tokens"] == 300
    assert "max_tokens" not in asked


# -- settings ----------------------------------------------------------------------------------------------------


def settled(name: str, **settings: Any) -> tuple[dict[str, Any], bool, bool]:
    price = settings.pop("price", None)

    async def look(provider: Provider) -> tuple[dict[str, Any], bool, bool]:
        return provider.sampling(), provider.structured(), provider.batches is not None

    url = settings.pop("base_url", "http://127.0.0.1:9/v1")
    found: tuple[dict[str, Any], bool, bool] = with_provider(name, url, look, price=price, **settings)
    return found


def test_sampling_is_what_was_set(server: FakeProvider) -> None:
    assert settled("anthropic", effort="max")[0] == {"max_tokens": 4096, "effort": "max"}
    assert settled("together", temperature=0.7, max_tokens=9)[0] == {"max_tokens": 9, "temperature": 0.7}
    assert settled("openai", top_p=0.5, effort="xhigh")[0] == {"max_tokens": 4096, "top_p": 0.5, "effort": "xhigh"}


def test_schemas_are_used_where_the_model_is_known_to_keep_them(server: FakeProvider) -> None:
    yes, no = Price(structured=True), Price(structured=False)
    assert [settled(name)[1] for name in NAMES] == [True, False, True]
    assert [settled(name, price=yes)[1] for name in NAMES] == [True, True, True]
    assert [settled(name, price=no)[1] for name in NAMES] == [False, False, False]
    assert [settled(name, price=no, structured=True)[1] for name in NAMES] == [True, True, True]
    assert [settled(name, price=yes, structured=False)[1] for name in NAMES] == [False, False, False]


def test_batches_are_there_where_the_service_has_them(server: FakeProvider) -> None:
    assert [settled(name)[2] for name in NAMES] == [True, True, False]
    assert settled("openai", mode="batch")[2]
    assert settled("openai", base_url="https://eu.api.openai.com/v1")[2]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_missing_or_not_taken_is_said_before_anything_is_asked(
    server: FakeProvider, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=rf"^provider={name} needs a model, e\.g\. model=\S+$"):
        settled(name, model=None)
    with pytest.raises(InputError, match=r"^base_url=localhost:8000: not a URL"):
        settled(name, base_url="localhost:8000")
    monkeypatch.delenv(KEYS[name])
    with pytest.raises(InputError, match=rf"^{KEYS[name]} is not set; get a key at https://\S+, then: export"):
        settled(name, base_url=None)
    monkeypatch.setenv(f"{name.upper()}_BASE_URL", "nowhere")
    with pytest.raises(InputError, match=rf"{name.upper()}_BASE_URL=nowhere: not a URL|{KEYS[name]} is not set"):
        settled(name, base_url=None)


@pytest.mark.parametrize("name", NAMES)
def test_the_model_that_is_given_as_an_example_is_one_with_a_price(name: str) -> None:
    example = import_module(f"synth.providers.{name}").EXAMPLE
    assert load_prices(BUILTIN).of(name, example) is not None


def test_settings_that_a_provider_does_not_take(server: FakeProvider) -> None:
    for setting in ({"temperature": 0.5}, {"top_p": 0.5}):
        with pytest.raises(InputError, match=r"today's Claude models take none; variety comes from the prompt's axes"):
            settled("anthropic", **setting)
    with pytest.raises(InputError, match="effort=xhigh: together takes low, medium, high"):
        settled("together", effort="xhigh")


def test_the_base_url_may_come_from_the_environment(server: FakeProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.setenv(f"{name.upper()}_BASE_URL", url_of(server, name))
        found: Answer = with_provider(name, None, lambda provider: provider.answer(a_request()))
        assert found.text


def test_another_server_needs_no_openai_key(server: FakeProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    with Scripted(200, COMPLETION) as scripted:
        answer("openai", scripted.url)
    assert scripted.seen[0][1]["authorization"] == "Bearer none"
    with Scripted(401, {"error": {"message": "Unauthorized"}}) as scripted:
        assert "wants a key; export OPENAI_API_KEY=" in str(failed("openai", scripted.url))


def test_a_missing_openai_package_is_said_with_the_cure() -> None:
    probe = (
        "import sys; sys.modules['openai'] = None\n"
        "from synth.config import AskSettings; from synth.providers import connect\n"
        "try: connect(AskSettings(provider='openai', model='m'))\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, timeout=60,
                          cwd=Path(__file__).parent.parent)  # fmt: skip
    assert done.stdout.strip() == "InputError provider=openai needs the openai package: pip install 'tilth[openai]'"


# -- what comes back ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_an_answer_says_what_it_was_billed_for_and_what_is_left(server: FakeProvider, name: str) -> None:
    server.configure(rate_per_minute=6000, burst=100)
    found = answer(name, url_of(server, name))
    assert found.text
    assert found.finish is Finish.STOP
    assert found.model == "a-model"
    assert found.raw["id"].startswith("req_")
    assert found.raw["usage"]
    assert found.usage.input_tokens > 0
    assert found.usage.output_tokens > 0
    assert found.headroom is not None
    assert found.headroom.requests == 99
    assert found.headroom.reset_s is not None
    assert found.headroom.reset_s < 60
    stats = server.stats()
    assert (stats["answered"], stats["paid"]) == (1, 1)
    assert (stats["input_tokens"], stats["output_tokens"]) == (found.usage.input_tokens, found.usage.output_tokens)


def test_thinking_is_no_text_and_cached_tokens_are_counted_once(server: FakeProvider) -> None:
    with Scripted(200, MESSAGE, {"request-id": "req_9"}) as scripted:
        found = answer("anthropic", scripted.url)
    assert (found.text, found.model, found.raw["id"], found.raw["stop_reason"]) == (
        "one two",
        "claude-it-was",
        "req_9",
        "end_turn",
    )
    assert found.usage == Usage(input_tokens=7, output_tokens=5, cache_read_tokens=3, cache_write_tokens=2)
    assert found.headroom is None
    with Scripted(200, COMPLETION) as scripted:
        found = answer("openai", scripted.url)
    assert found.usage == Usage(input_tokens=6, output_tokens=5, cache_read_tokens=4)
    assert found.raw["id"] == "c_1"
    with Scripted(200, body_of("openai", message={"content": "<think>so\nso</think>\n\nyes"})) as scripted:
        assert answer("openai", scripted.url).text == "yes"
    with Scripted(
        200, body_of("openai", message={"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]})
    ) as scripted:
        assert answer("openai", scripted.url).text == "ab"


OUTCOMES = [
    ("anthropic", {"stop_reason": "end_turn"}, Finish.STOP),
    ("anthropic", {"stop_reason": "stop_sequence"}, Finish.STOP),
    ("anthropic", {"stop_reason": "max_tokens"}, Finish.LENGTH),
    ("anthropic", {"stop_reason": "model_context_window_exceeded"}, Finish.LENGTH),
    ("anthropic", {"stop_reason": "refusal", "content": [], "stop_details": {"type": "refusal", "category": "cyber"}}, Finish.REFUSAL),
    ("together", {"finish_reason": "eos"}, Finish.STOP),
    ("together", {"finish_reason": "length"}, Finish.LENGTH),
    ("openai", {"finish_reason": "stop", "message": {"content": None}}, Finish.STOP),
    ("openai", {"finish_reason": "length"}, Finish.LENGTH),
    ("openai", {"finish_reason": "content_filter"}, Finish.FILTER),
    ("openai", {"finish_reason": "stop", "message": {"content": None, "refusal": "I will not."}}, Finish.REFUSAL),
]  # fmt: skip


@pytest.mark.parametrize(("name", "changes", "finish"), OUTCOMES)
def test_how_an_answer_ended_is_an_outcome_not_an_error(
    server: FakeProvider, name: str, changes: dict[str, Any], finish: Finish
) -> None:
    with Scripted(200, body_of(name, **changes)) as scripted:
        found = answer(name, scripted.url)
    assert found.finish is finish
    assert isinstance(found.text, str)
    if "stop_details" in changes:
        assert found.raw["stop_details"]["category"] == "cyber"
        assert found.text == ""


@pytest.mark.parametrize("name", NAMES)
def test_the_outcomes_that_the_server_makes(server: FakeProvider, name: str) -> None:
    expected = {"refusal": Finish.REFUSAL, "content_filter": Finish.FILTER, "max_tokens": Finish.LENGTH}
    own = {
        ("together", "refusal"): Finish.STOP,  # it knows of no refusals: the model's words are the answer
        ("anthropic", "content_filter"): Finish.REFUSAL,
    }
    for fault, finish in expected.items():
        server.configure(faults={fault: 1.0})
        assert answer(name, url_of(server, name)).finish is own.get((name, fault), finish), fault


def test_an_answer_that_was_withheld_with_an_error_is_an_outcome_too(server: FakeProvider) -> None:
    server.configure(faults={"content_filter": 1.0}, filter_as_400=True)
    found = answer("anthropic", url_of(server, "anthropic"))
    assert (found.finish, found.text) == (Finish.FILTER, "")
    assert "content filtering policy" in found.raw["error"]


# -- errors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("fault", "kind", "maybe_paid"),
    [
        ("rate_limit", "rate limit", False), ("rate_limit_after", "rate limit", False), ("overloaded", "overloaded", False),
        ("server_error", "server error", False), ("reset", "connection", True), ("cut_off", "cut-off body", True),
        ("wrong_json", "cut-off body", True), ("slow", "timeout", True),
    ],
)  # fmt: skip
def test_what_fails_for_now_says_what_it_was(
    server: FakeProvider, name: str, fault: str, kind: str, maybe_paid: bool
) -> None:
    server.configure(faults={fault: 1.0}, stubborn=1, slow_s=0.6)
    request = a_request()

    async def twice(provider: Provider) -> Answer:
        with pytest.raises(TransientError) as caught:
            await provider.answer(request)
        assert (caught.value.kind, caught.value.maybe_paid) == (kind, maybe_paid)
        assert (caught.value.retry_after_s is not None) == (fault == "rate_limit_after")
        assert "\n" not in str(caught.value)
        if fault == "slow":
            return Answer("", Finish.STOP)
        return await provider.answer(request)

    with_provider(name, url_of(server, name), twice, timeout_s=0.3 if fault == "slow" else 5)
    assert server.stats()["requests"] == (1 if fault == "slow" else 2), "the SDK asked again by itself"


ERRORS = [  # status, what the error says, headers -> class, kind, words of ours
    (401, {"message": f"bad key {KEY}"}, ProviderError, None, r"the key in {env} was refused by 127\.0\.0\.1:\d+"),
    (
        403,
        {"message": "not for this project"},
        ProviderError,
        None,
        r"the key in {env} was refused.*: not for this project",
    ),
    (402, {"message": "pay first"}, ProviderError, None, r"credit is used up; add some and run the same command again"),
    (400, {"message": "Your credit balance is too low to go on"}, ProviderError, None, "credit is used up"),
    (429, {"message": "x", "code": "insufficient_quota"}, ProviderError, None, "credit is used up"),
    (404, {"message": "nothing here"}, ProviderError, None, r"is base_url right\?"),
    (405, {"message": "no"}, ProviderError, None, "answered 405: no"),
    (
        400,
        {"message": "Prompt is too long: 9 tokens > 8"},
        RequestRejected,
        None,
        "over the model's context; shorten the prompt",
    ),
    (422, {"message": "bad JSON Schema: $ref"}, RequestRejected, None, "structured=false leaves it out"),
    (400, {"message": "image exceeds the limit"}, RequestRejected, None, "render it smaller"),
    (413, {"message": "too big"}, RequestRejected, None, "the request is too large"),
    (400, {"message": "a\n b" + "c" * 1000}, RequestRejected, None, r"the request was not taken: a bc+ \.\.\.$"),
    (408, {"message": "x"}, TransientError, "server error", "server error 408"),
    (409, {"message": "x"}, TransientError, "server error", "server error 409"),
    (503, {"message": "x"}, TransientError, "overloaded", "overloaded"),
    (529, {"message": "x"}, TransientError, "overloaded", "overloaded"),
    (504, {"message": "x"}, TransientError, "server error", "server error 504"),
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("status", "error", "kind_of", "kind", "words"), ERRORS, ids=lambda value: str(value)[:24])
def test_an_error_status_says_what_to_do(
    server: FakeProvider, name: str, status: int, error: dict[str, Any], kind_of: type[ProviderError], kind: str | None, words: str
) -> None:  # fmt: skip
    with Scripted(status, {"error": error}) as scripted:
        found = failed(name, scripted.url)
    assert type(found) is kind_of
    assert found.args[0].startswith(f"{name}: ")
    assert len(str(found)) < 500
    assert re.search(words.replace("{env}", KEYS[name]), str(found)), str(found)
    if kind is not None:
        assert isinstance(found, TransientError)
        assert found.kind == kind
        assert found.maybe_paid == (status == 504)
    assert len(scripted.seen) == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_model_that_is_not_there_is_named_with_the_nearest(server: FakeProvider, name: str) -> None:
    url, request = url_of(server, name), a_request(model="no-such-model")
    assert "has no model 'no-such-model'." in str(failed(name, url, request, model="no-such-model"))
    error = {
        "error": {"message": "model: loopback-modle", "type": "not_found_error"},
        "data": [{"id": "loopback-model"}],
    }
    with Scripted(404, error) as scripted:  # it refuses to list models, too: the price table's are all there are
        found = str(failed(name, scripted.url, model="loopback-modle"))
    assert "has no model 'loopback-modle'." in found
    if name != "anthropic":
        words = str(failed(name, url, request, model="loopback-modle"))
        assert "Did you mean 'loopback" in words


@pytest.mark.parametrize("name", NAMES)
def test_credit_that_runs_out_and_a_prompt_over_the_context(server: FakeProvider, name: str) -> None:
    server.configure(context_tokens=10)
    assert isinstance(found := failed(name, url_of(server, name)), RequestRejected)
    assert "over the model's context" in str(found)
    for how in ("402", "400"):
        server.configure(context_tokens=200_000, credit_usd=0, anthropic_credit=how)
        assert "credit is used up" in str(failed(name, url_of(server, name)))


@pytest.mark.parametrize("name", NAMES)
def test_a_page_that_is_no_answer(server: FakeProvider, name: str) -> None:
    for body in (b"<html>captive portal</html>", b"[1, 2]", b'{"hello": 1}', b""):
        with Scripted(200, body) as scripted:
            found = failed(name, scripted.url)
        assert isinstance(found, TransientError)
        assert (found.kind, found.maybe_paid) == ("cut-off body", True)
    with Scripted(502, b"<html><h1>Bad gateway</h1></html>", {"content-type": "text/html"}) as scripted:
        assert "server error 502: Bad gateway" in str(failed(name, scripted.url))


def test_an_error_in_place_of_an_answer(server: FakeProvider) -> None:
    with Scripted(200, {"error": {"message": "slow down", "code": 429}}) as scripted:
        found = failed("openai", scripted.url)
    assert isinstance(found, TransientError)
    assert found.kind == "rate limit"


@pytest.mark.parametrize("name", NAMES)
def test_a_host_that_is_not_there_is_named_and_nothing_is_owed(server: FakeProvider, name: str) -> None:
    found = failed(name, "http://127.0.0.1:9/v1")
    assert isinstance(found, TransientError)
    assert (found.kind, found.maybe_paid) == ("connection", False)
    assert "cannot reach 127.0.0.1:9 (Connection refused); is it running, and base_url right?" in str(found)


def test_a_host_without_an_address_is_named(server: FakeProvider) -> None:
    service = Service("openai", "nohost.test", "m", "OPENAI_API_KEY", KEY)
    key = ConnectionKey("nohost.test", 80, is_ssl=False, ssl=True, proxy=None, proxy_auth=None, proxy_headers_hash=None)
    cause = aiohttp.ClientConnectorDNSError(key, gaierror(-2, "Name or service not known"))
    found = failure(cause, service)
    assert isinstance(found, TransientError)
    assert (found.kind, found.maybe_paid) == ("connection", False)
    assert str(found) == "openai: no host nohost.test; is the network up, and base_url right?"
    assert KEY not in repr(service)


# -- limits ------------------------------------------------------------------------------------------------------


def test_how_long_to_wait() -> None:
    assert retry_after_s({"retry-after-ms": "250", "retry-after": "9"}) == 0.25
    assert retry_after_s({"retry-after": "1.5"}) == 1.5
    assert retry_after_s({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0
    assert retry_after_s({"retry-after": "soon"}) is None
    assert retry_after_s({"x-ratelimit-reset": "2.5"}) is None
    assert retry_after_s({"x-ratelimit-reset": "2.5"}, or_reset=True) == 2.5
    assert (
        retry_after_s({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0s"}, or_reset=True) == 360
    )


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"x-ratelimit-remaining": "3", "x-ratelimit-reset": "0.5"}, Headroom(3, None, 0.5)),
        ({"x-ratelimit-remaining": "nonsense"}, None),
        ({"x-ratelimit-remaining-requests": "7", "x-ratelimit-reset-requests": "1s", "x-ratelimit-remaining-tokens": "0",
          "x-ratelimit-reset-tokens": "1m30.5s"}, Headroom(7, 0, 90.5)),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "120ms", "x-ratelimit-remaining-tokens": "9",
          "x-ratelimit-reset-tokens": "2h"}, Headroom(0, 9, 0.12)),
        ({"anthropic-ratelimit-requests-remaining": "4", "anthropic-ratelimit-requests-reset": "2020-01-01T00:00:00Z"},
         Headroom(4, None, 0.0)),
    ],
)  # fmt: skip
def test_what_the_headers_say_is_left(headers: dict[str, str], expected: Headroom | None) -> None:
    found = headroom(headers)
    if expected is not None and expected.reset_s:
        assert found is not None
        assert found.reset_s == pytest.approx(expected.reset_s)
        assert (found.requests, found.tokens) == (expected.requests, expected.tokens)
    else:
        assert found == expected


# -- images ------------------------------------------------------------------------------------------------------


def picture(folder: Path, kind: str = "PNG", size: tuple[int, int] = (30, 20), tail: int = 0) -> str:
    buffer = BytesIO()
    Picture.new("RGB", size, "red").save(buffer, kind)
    name = f"{kind.lower()}{size[0]}x{size[1]}x{tail}".ljust(64, "0")
    (folder / name).write_bytes(buffer.getvalue() + bytes(tail))
    return name


@pytest.mark.parametrize(
    ("kind", "media"), [("PNG", "image/png"), ("JPEG", "image/jpeg"), ("GIF", "image/gif"), ("WEBP", "image/webp")]
)
def test_an_image_is_known_by_its_bytes(tmp_path: Path, kind: str, media: str) -> None:
    content = (tmp_path / picture(tmp_path, kind, (300, 200))).read_bytes()
    assert media_type(content) == media
    assert pixels(content) == (300, 200)
    for cut in range(0, len(content), 7):
        assert pixels(content[:cut]) in (None, (300, 200)) or kind == "WEBP"


def test_webp_of_all_three_kinds_has_a_size(tmp_path: Path) -> None:
    for options in (
        {"lossless": True},
        {"lossless": False},
        {"lossless": True, "exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"},
    ):
        buffer = BytesIO()
        Picture.new("RGB", (123, 45), "blue").save(buffer, "WEBP", **options)
        assert pixels(buffer.getvalue()) == (123, 45), options


@pytest.mark.parametrize("name", NAMES)
def test_images_go_along_as_text(server: FakeProvider, tmp_path: Path, name: str) -> None:
    request = a_request(images=(picture(tmp_path), picture(tmp_path, "WEBP")))
    found = answer(name, url_of(server, name), request, assets=tmp_path)
    assert found.usage.input_tokens + found.usage.cache_write_tokens > 3000, "the server saw no image"
    kinds = [part["type"] for part in sent_by(name, request, assets=tmp_path)["messages"][-1]["content"]]
    assert kinds == ["image" if name == "anthropic" else "image_url"] * 2 + ["text"]


def test_a_large_image_is_streamed_without_a_warning(server: FakeProvider, tmp_path: Path) -> None:
    request = a_request(images=(picture(tmp_path, tail=2_500_000),))
    for name in NAMES:
        assert answer(name, url_of(server, name), request, assets=tmp_path).text


@pytest.mark.parametrize("name", NAMES)
def test_an_image_that_cannot_be_sent_is_named_with_its_limit(server: FakeProvider, tmp_path: Path, name: str) -> None:
    url = url_of(server, name)
    assert "there is no assets folder" in str(failed(name, url, a_request(images=("ab",))))
    found = failed(name, url, a_request(images=("ab",)), assets=tmp_path)
    assert isinstance(found, RequestRejected)
    assert str(tmp_path / "ab") in str(found)
    (tmp_path / "text").write_text("no image")
    assert "not a PNG, JPEG, GIF or WebP image" in str(failed(name, url, a_request(images=("text",)), assets=tmp_path))
    large = picture(tmp_path, tail=4_000_000 if name == "anthropic" else 21 * 2**20)
    words = str(failed(name, url, a_request(images=(large,)), assets=tmp_path))
    limit = (
        r"takes 5.1 MB as base64, the provider's limit is 5.0 MB"
        if name == "anthropic"
        else "takes 21.0 MB, the provider's limit is 20.0 MB"
    )
    assert f"{limit}; render it smaller" in words
    if name == "anthropic":
        wide = picture(tmp_path, size=(8001, 2))
        assert "8001 x 2 pixels, the provider's limit is 8000 a side" in str(
            failed(name, url, a_request(images=(wide,)), assets=tmp_path)
        )
    assert server.stats()["requests"] == 0


def test_encoded_images_are_kept_up_to_a_limit(tmp_path: Path) -> None:
    names = [picture(tmp_path, size=(10 + number, 10), tail=30_000) for number in range(3)]
    images = Images(tmp_path, most_bytes=10**6, cache_bytes=90_000)  # room for two
    first = images.of(names[:1])[0]
    assert images.of(names[:1])[0] is first
    images.of(names)
    for name in names:
        (tmp_path / name).unlink()
    assert len(images.of(names[1:])) == 2
    with pytest.raises(RequestRejected):
        images.of(names[:1])


# -- many at once ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_as_many_are_in_flight_as_are_asked(server: FakeProvider, name: str) -> None:
    server.configure(latency_s=0.5)

    async def many(provider: Provider) -> None:
        for wave in range(2):
            await asyncio.gather(*(provider.answer(a_request(slot=slot, attempt=wave)) for slot in range(150)))

    with_provider(name, url_of(server, name), many, concurrency=150, timeout_s=30)
    assert server.stats()["max_in_flight"] == 150, "a limit on connections holds requests back"


@pytest.mark.parametrize("name", NAMES)
def test_a_connection_is_used_again(server: FakeProvider, name: str) -> None:
    async def often(provider: Provider) -> None:
        for attempt in range(5):
            await provider.answer(a_request(attempt=attempt))

    with Scripted(200, body_of(name)) as scripted:
        with_provider(name, scripted.url, often)
    assert len(scripted.seen) == 5
    assert len(scripted.ports) == 1
