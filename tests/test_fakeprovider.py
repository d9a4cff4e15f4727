"""The loopback server, driven by the real SDK clients: what they would meet at the real services they meet here."""

import asyncio
import base64
import json
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
import together
from fakeprovider import FakeProvider, tongues
from fakeprovider.answers import answer, language_of
from google.api_core import exceptions as google_errors

from curation import language
from curation.checks import run_checks
from curation.records import EXAMPLE, Decision
from synth import parse, prompts

ASK = (
    "Write {count} posts in {name}.\n\nAnswer with a JSON array of {things} and nothing else. Each object has these string "
    'fields:\n- "text": the post itself'
)
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "score": {"type": "integer", "description": "1 to 5"},
        "decision": {"type": "string", "enum": ["keep", "drop"]},
        "reason": {"type": "string"},
        "sure": {"type": "boolean"},
    },
    "required": ["score", "decision", "reason", "sure"],
    "additionalProperties": False,
}


def ask(count: int = 1, name: str = "English") -> str:
    return ASK.format(count=count, name=name, things="one object" if count == 1 else f"exactly {count} objects")


def kind_of(error: Any) -> str:
    """Anthropic's name for an error."""
    return str(error.body["error"]["type"])


def said(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


@pytest.fixture(scope="module")
def shared() -> Iterator[FakeProvider]:
    with FakeProvider() as running:
        yield running


@pytest.fixture
def server(shared: FakeProvider) -> FakeProvider:
    """A server without latency or faults, that has seen nothing yet."""
    shared.reset()
    return shared


@asynccontextmanager
async def claude(server: Any, key: str = "k") -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(api_key=key, base_url=server.anthropic_url, max_retries=0) as client:
        yield client


@asynccontextmanager
async def gpt(server: Any, key: str = "k") -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(api_key=key, base_url=server.openai_url, max_retries=0) as client:
        yield client


@asynccontextmanager
async def llama(server: Any, key: str = "k") -> AsyncIterator[together.AsyncTogether]:
    async with together.AsyncTogether(api_key=key, base_url=server.together_url, max_retries=0) as client:
        yield client


async def message(server: Any, key: str = "k", **changes: Any) -> Any:
    async with claude(server, key) as client:
        asked = {"model": "m", "max_tokens": 2000, "messages": said(ask()), **changes}
        return await client.messages.create(**asked)


async def completion(server: Any, key: str = "k", client: Any = gpt, **changes: Any) -> Any:
    async with client(server, key) as opened:
        return await opened.chat.completions.create(**{"model": "m", "messages": said(ask()), **changes})


# -- one answer of each ------------------------------------------------------------------------------------------


def test_each_live_endpoint_answers_as_asked_and_counts_what_it_bills(server: FakeProvider) -> None:
    first = asyncio.run(message(server, messages=said(ask(3, "Tamil"))))
    second = asyncio.run(completion(server, messages=said(ask(3, "Malay")), temperature=0.9, seed=1))
    third = asyncio.run(completion(server, client=llama, messages=said(ask(3, "Chinese")), max_tokens=900))
    assert isinstance(first.content[0], anthropic.types.TextBlock)
    texts = [first.content[0].text, second.choices[0].message.content, third.choices[0].message.content]
    assert [len(json.loads(text)) for text in texts] == [3, 3, 3]
    assert first.stop_reason == "end_turn"
    assert second.choices[0].finish_reason == "stop"
    assert third.choices[0].finish_reason in ("stop", "eos")
    stats = server.stats()
    assert stats["requests"] == stats["answered"] == stats["paid"] == 3
    assert stats["input_tokens"] == first.usage.input_tokens + second.usage.prompt_tokens + third.usage.prompt_tokens
    assert (
        stats["output_tokens"]
        == first.usage.output_tokens + second.usage.completion_tokens + third.usage.completion_tokens
    )
    assert stats["usd"] == pytest.approx((stats["input_tokens"] + 5 * stats["output_tokens"]) / 1e6)
    assert first.usage.input_tokens == 12 + -(-len(ask(3, "Tamil")) // 4)


def test_models_are_listed_and_tokens_counted_for_free(server: FakeProvider) -> None:
    async def look() -> tuple[Any, Any, int]:
        async with gpt(server) as one, llama(server) as two, claude(server) as three:
            listed = await two.get("/v1/models", cast_to=object)
            counted = await three.messages.count_tokens(model="m", messages=[{"role": "user", "content": "x" * 40}])
            return [model.id async for model in one.models.list()], listed, counted.input_tokens

    named, listed, counted = asyncio.run(look())
    assert named
    assert listed[0]["id"]
    assert counted == 22
    assert server.stats()["paid"] == 0


def test_images_are_taken_counted_and_checked(server: FakeProvider) -> None:
    def shown(data: str, media_type: str = "image/png") -> Any:
        source = {"type": "base64", "media_type": media_type, "data": data}
        return [
            {"role": "user", "content": [{"type": "image", "source": source}, {"type": "text", "text": "What is it?"}]}
        ]

    encoded = base64.b64encode(PNG).decode()
    assert asyncio.run(message(server, messages=shown(encoded))).usage.input_tokens > 1500
    url = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{encoded}"}}
    for client in (gpt, llama):
        assert (
            asyncio.run(
                completion(server, client=client, messages=[{"role": "user", "content": [url]}])
            ).usage.prompt_tokens
            > 1500
        )
    big = base64.b64encode(PNG + bytes(5 * 1024 * 1024)).decode()
    for wrong, words in (
        (shown("%%%"), "base64"),
        (shown(encoded, "image/bmp"), "media_type"),
        (shown(big), "5 MB"),
        (shown(encoded, "image/gif"), "process"),
    ):
        with pytest.raises(anthropic.BadRequestError, match=words):
            asyncio.run(message(server, messages=wrong))


def test_the_prompt_cache_is_written_once_and_then_read(server: FakeProvider) -> None:
    system: Any = [{"type": "text", "text": "rules " * 1000, "cache_control": {"type": "ephemeral"}}]
    first = asyncio.run(message(server, system=system)).usage
    again = asyncio.run(message(server, system=system, messages=said(ask(2)))).usage
    assert (first.cache_creation_input_tokens, first.cache_read_input_tokens) == (1500, 0)
    assert (again.cache_creation_input_tokens, again.cache_read_input_tokens) == (0, 1500)
    assert again.input_tokens < 100
    stats = server.stats()
    wanted = stats["input_tokens"] + 5 * stats["output_tokens"] + 1.25 * 1500 + 0.1 * 1500
    assert stats["usd"] == pytest.approx(wanted / 1e6)


def test_a_schema_is_held_to_in_every_dialect(server: FakeProvider) -> None:
    config: Any = {"format": {"type": "json_schema", "schema": SCHEMA}}
    block = asyncio.run(message(server, messages=said("Judge this."), output_config=config)).content[0]
    wanted = {"type": "json_schema", "json_schema": {"name": "verdict", "schema": SCHEMA, "strict": True}}
    both = [
        asyncio.run(completion(server, client=client, messages=said("Judge this."), response_format=wanted))
        for client in (gpt, llama)
    ]
    for text in (getattr(block, "text", ""), *(one.choices[0].message.content for one in both)):
        verdict = json.loads(text)
        assert set(verdict) == set(SCHEMA["properties"])
        assert verdict["score"] in range(1, 6)
        assert verdict["decision"] in ("keep", "drop")
        assert isinstance(verdict["sure"], bool)


# -- what is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"max_tokens": 0}, "max_tokens: Input should be greater than or equal to 1"),
        ({"messages": []}, "at least one message"),
        ({"messages": said("")}, "non-empty content"),
        ({"extra_body": {"temperature": 0.5}}, "temperature: Extra inputs are not permitted"),
        ({"metadata": {"who": "me"}}, "metadata"),
        ({"system": [{"type": "text", "text": "a", "cache_control": {"type": "eternal"}}]}, "ephemeral"),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object", "properties": {}}}}},
            "additionalProperties",
        ),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "integer", "minimum": 1}}}},
            "minimum",
        ),
        ({"messages": said("x" * 900_000)}, r"prompt is too long: 225012 tokens > 200000 maximum"),
    ],
)
def test_anthropic_refuses_what_the_real_one_refuses(server: FakeProvider, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(anthropic.BadRequestError, match=words) as refused:
        asyncio.run(message(server, **changes))
    assert kind_of(refused.value) == "invalid_request_error"
    assert server.stats()["paid"] == 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"messages": []}, "messages"),
        ({"temperature": 3}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 5, "max_completion_tokens": 5}, "same time"),
        ({"extra_body": {"nonsense": 1}}, "nonsense"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "a b", "schema": {}}}}, "name"),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "a", "strict": True, "schema": {"type": "object"}},
                }
            },
            "additionalProperties",
        ),
    ],
)
def test_openai_refuses_what_the_real_one_refuses(server: FakeProvider, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(openai.BadRequestError, match=words):
        asyncio.run(completion(server, **changes))


def test_wrong_keys_models_and_lengths_are_the_errors_that_the_sdks_know(server: FakeProvider) -> None:
    with pytest.raises(anthropic.AuthenticationError, match="invalid x-api-key"):
        asyncio.run(message(server, key="wrong"))
    with pytest.raises(anthropic.NotFoundError, match="model: no-such-model"):
        asyncio.run(message(server, model="no-such-model"))
    for module, client in ((openai, gpt), (together, llama)):
        with pytest.raises(module.AuthenticationError, match="API key"):
            asyncio.run(completion(server, key="wrong", client=client))
        with pytest.raises(module.NotFoundError, match="no-such-model"):
            asyncio.run(completion(server, client=client, model="no-such-model"))
    with pytest.raises(openai.BadRequestError) as refused:
        asyncio.run(completion(server, messages=said("x" * 900_000)))
    assert refused.value.code == "context_length_exceeded"
    with pytest.raises(together.UnprocessableEntityError, match="max_new_tokens"):
        asyncio.run(completion(server, client=llama, messages=said("x" * 900_000)))
    with pytest.raises(anthropic.APIStatusError, match="Request exceeds the maximum size") as large:
        asyncio.run(message(server, messages=said("x" * 33 * 1024 * 1024)))
    assert large.value.status_code == 413


def test_used_up_credit_is_said_in_each_providers_words() -> None:
    with FakeProvider(credit_usd=0.0) as server:
        with pytest.raises(anthropic.APIStatusError, match="credit balance is too low") as refused:
            asyncio.run(message(server))
        assert (refused.value.status_code, kind_of(refused.value)) == (402, "billing_error")
        server.configure(anthropic_credit="400")
        with pytest.raises(anthropic.BadRequestError, match="credit balance is too low"):
            asyncio.run(message(server))
        with pytest.raises(openai.RateLimitError) as quota:
            asyncio.run(completion(server))
        assert quota.value.code == "insufficient_quota"
        with pytest.raises(together.APIStatusError) as payment:
            asyncio.run(completion(server, client=llama))
        assert payment.value.status_code == 402
        with pytest.raises(google_errors.Forbidden, match="billing"):
            basic(server).translate("Good morning", target_language="ms")
        server.configure(credit_usd=0.0001)
        asyncio.run(message(server))
        with pytest.raises(anthropic.BadRequestError):
            asyncio.run(message(server))


# -- faults ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "error", "status"),
    [
        ("rate_limit", anthropic.RateLimitError, 429),
        ("rate_limit_after", anthropic.RateLimitError, 429),
        ("overloaded", anthropic.InternalServerError, 529),
        ("server_error", anthropic.InternalServerError, 500),
        ("reset", anthropic.APIConnectionError, 0),
        ("cut_off", anthropic.APIConnectionError, 200),
        ("wrong_json", json.JSONDecodeError, 200),
    ],
)
def test_a_transient_fault_hits_a_key_first_and_then_lets_it_through(
    kind: str, error: type[Exception], status: int
) -> None:
    with FakeProvider(faults={kind: 1.0}, stubborn=2) as server:

        async def tries() -> tuple[list[Any], str]:
            failures: list[Any] = []
            async with claude(server) as client:
                for _ in range(2):
                    try:
                        await client.messages.create(
                            model="m", max_tokens=2000, messages=said(ask()), extra_headers={"Idempotency-Key": "rq1"}
                        )
                    except Exception as failure:
                        failures.append(failure)
                whole = await client.messages.create(
                    model="m", max_tokens=2000, messages=said(ask()), extra_headers={"Idempotency-Key": "rq1"}
                )
            return failures, whole.id

        failures, _ = asyncio.run(tries())
        assert len(failures) == 2
        assert all(isinstance(failure, error) for failure in failures)
        stats = server.stats()
        assert stats["by_fault"] == {kind: 2}
        paid = kind in ("cut_off", "wrong_json")
        assert (stats["paid"], stats["answered"]) == (3 if paid else 1, 1)
        assert stats["paid_twice"] == paid
        assert stats["answered_twice"] == 0
        assert stats["by_status"].get(str(status), 0) == (3 if paid else 2)
        if kind == "rate_limit_after":
            assert failures[0].response.headers["retry-after"] == "0.2"
        elif kind == "rate_limit":
            assert "retry-after" not in failures[0].response.headers


def test_the_openai_shape_has_the_same_faults_in_its_own_words() -> None:
    with FakeProvider(faults={"overloaded": 1.0}, stubborn=1) as server:
        for module, client in ((openai, gpt), (together, llama)):
            with pytest.raises(module.InternalServerError) as refused:
                asyncio.run(completion(server, client=client))
            assert refused.value.status_code == 503
            server.reset()
        server.configure(faults={"rate_limit_after": 1.0})
        with pytest.raises(openai.RateLimitError) as limited:
            asyncio.run(completion(server))
        assert limited.value.response.headers["retry-after-ms"] == "200"


def test_lasting_faults_are_the_answer_of_their_key_every_time() -> None:
    with FakeProvider(faults={"refusal": 1.0}) as server:
        first, second = asyncio.run(message(server)), asyncio.run(completion(server))
        assert first.stop_reason == "refusal"
        assert second.choices[0].message.content is None
        assert "can't help" in second.choices[0].message.refusal
        server.configure(faults={"content_filter": 1.0})
        assert asyncio.run(message(server)).stop_reason == "refusal"
        assert asyncio.run(completion(server)).choices[0].finish_reason == "content_filter"
        server.configure(filter_as_400=True)
        with pytest.raises(anthropic.BadRequestError, match="content filtering policy"):
            asyncio.run(message(server))
        server.configure(faults={"max_tokens": 1.0})
        assert asyncio.run(message(server)).stop_reason == "max_tokens"
        assert asyncio.run(completion(server)).choices[0].finish_reason == "length"
        server.configure(faults={"malformed": 1.0})
        texts = {
            asyncio.run(completion(server, messages=said(ask(3) + f" {number}"))).choices[0].message.content
            for number in range(12)
        }
        broken = [text for text in texts if not text.startswith('[{"') or not text.endswith('"}]')]
        assert len(broken) == len(texts) == 12
        assert server.stats()["by_fault"]["malformed"] == 12


def test_an_answer_over_max_tokens_is_cut(server: FakeProvider) -> None:
    cut = asyncio.run(message(server, max_tokens=10))
    assert (cut.stop_reason, cut.usage.output_tokens) == ("max_tokens", 10)


def test_a_slow_first_byte_outlasts_a_clients_patience() -> None:
    with FakeProvider(faults={"slow": 1.0}, slow_s=0.6, stubborn=1) as server:
        with pytest.raises(anthropic.APITimeoutError):
            asyncio.run(message(server, timeout=0.2))
        time.sleep(0.6)
        assert server.stats()["abandoned"] == 1
        began = time.monotonic()
        asyncio.run(message(server, messages=said("another")))
        assert time.monotonic() - began >= 0.6
        assert server.stats()["paid"] == 1


def test_shares_are_as_told_and_the_same_for_the_same_seed() -> None:
    def met(seed: int) -> dict[str, int]:
        with FakeProvider(seed=seed, faults={"overloaded": 0.2, "refusal": 0.3}, stubborn=1) as server:
            for number in range(300):
                body = json.dumps({"model": "m", "max_tokens": 50, "messages": said("hello")}).encode()
                headers = {"x-api-key": "k", "anthropic-version": "2023-06-01", "Idempotency-Key": f"rq{number}"}
                try:
                    urllib.request.urlopen(
                        urllib.request.Request(f"{server.anthropic_url}/v1/messages", body, headers)
                    ).close()
                except urllib.error.HTTPError as error:
                    error.close()
            found: dict[str, int] = server.stats()["by_fault"]
            return found

    first = met(1)
    assert 35 <= first["overloaded"] <= 90
    assert 45 <= first["refusal"] <= 120
    assert met(1) == first
    assert met(2) != first


# -- limits ------------------------------------------------------------------------------------------------------


def test_the_rate_limit_is_a_bucket_and_its_headers_say_what_is_left() -> None:
    with FakeProvider(rate_per_minute=600, burst=5) as server:

        async def burst() -> list[Any]:
            async with claude(server) as client:
                one: Any = {"model": "m", "max_tokens": 100, "messages": said("hello")}
                return await asyncio.gather(
                    *(client.messages.with_raw_response.create(**one) for _ in range(8)), return_exceptions=True
                )

        answers = asyncio.run(burst())
        limited = [failure for failure in answers if isinstance(failure, anthropic.RateLimitError)]
        whole = [found for found in answers if not isinstance(found, Exception)]
        assert len(whole) in (5, 6)
        assert server.stats()["throttled"] == len(limited) == 8 - len(whole)
        assert all(0 < float(failure.response.headers["retry-after"]) <= 0.4 for failure in limited)
        assert {found.headers["anthropic-ratelimit-requests-limit"] for found in whole} == {"600"}
        left = [int(found.headers["anthropic-ratelimit-requests-remaining"]) for found in whole]
        assert set(left) <= {0, 1, 2, 3, 4}
        time.sleep(0.5)
        asyncio.run(message(server))
        headers = [asyncio.run(_headers(server, client)) for client in (gpt, llama)]
        assert headers[0]["x-ratelimit-limit-requests"] == headers[1]["x-ratelimit-limit"] == "600"


async def _headers(server: FakeProvider, client: Any) -> Any:
    async with client(server) as opened:
        return (await opened.chat.completions.with_raw_response.create(model="m", messages=said("hello"))).headers


def test_too_many_in_flight_are_turned_away() -> None:
    with FakeProvider(most_in_flight=3, latency_ms=300) as server:

        async def together_at_once() -> list[Any]:
            async with claude(server) as client:
                one: Any = {"model": "m", "max_tokens": 100, "messages": said("hello")}
                return await asyncio.gather(*(client.messages.create(**one) for _ in range(6)), return_exceptions=True)

        failures = [found for found in asyncio.run(together_at_once()) if isinstance(found, anthropic.RateLimitError)]
        assert len(failures) == 3
        assert 4 <= server.stats()["max_in_flight"] <= 6


# -- determinism and texts ---------------------------------------------------------------------------------------


def test_the_same_key_gets_the_same_answer_and_another_key_another(server: FakeProvider) -> None:
    def text(key: str | None) -> str:
        headers = {"Idempotency-Key": key} if key else {}
        return str(asyncio.run(completion(server, extra_headers=headers)).choices[0].message.content)

    assert text("rq1") == text("rq1")
    assert text("rq1") != text("rq2")
    assert text(None) != text(None)
    stats = server.stats()
    assert (stats["paid_twice"], stats["answered_twice"]) == (1, 1)
    assert server.keys()["rq1"] == {"tries": 3, "paid": 3, "answered": 3}


def test_every_prompt_of_the_library_gets_items_that_pass_our_checks() -> None:
    texts, sizes, seen = set(), [], 0
    for prompt in prompts.load_all([prompts.builtin_folder()]):
        assert not isinstance(prompt, prompts.Broken)
        if not isinstance(prompt, prompts.Prompt):
            continue  # what a program asks in several steps is tested with that program
        cell = {axis: values[-1] for axis, values in prompt.axes.items()}
        for code in prompt.language:
            *system, user = (turn.content for turn in prompt.messages(code, cell, 5))
            assert language_of(user) == code
            parsed = parse.items(answer(0, f"{prompt.name}{code}", "\n".join(system), user, None), list(prompt.output))
            assert len(parsed.items) == 5
            assert not parsed.malformed
            for _, item in parsed.items:
                labels = prompt.example_labels(cell)
                example = EXAMPLE.validate_python({**prompt.kind, "language": code, **labels, **item})
                assert [verdict.decision for verdict in run_checks(example)] == [Decision.KEEP]
                texts.add(example.content)
                seen += 1
                if code == "en" and prompt.kind == {"task": "moderation", "surface": "post"}:
                    sizes.append(len(item["text"]))
    assert seen >= 400
    assert len(texts) > 0.99 * seen
    mean = sum(sizes) / len(sizes)
    assert min(sizes) < 0.7 * mean < 1.3 * mean < max(sizes)


def test_a_judge_without_a_schema_gets_values_of_the_right_kind() -> None:
    asked = (
        "Language: Tamil.\n\nAnswer with one JSON object and nothing else. It has exactly these fields, in this order:\n"
        '- "reason": a text: one or two sentences in English that say why\n'
        '- "label": one of allowed, disallowed\n    allowed: it may "stay"\n'
        '- "natural": one of 1, 2, 3, 4, 5: does it read as "written" by a person?\n    1: a template\n'
        '- "label_correct": one of true, false: would a moderator give it this label?'
    )
    verdicts = [json.loads(answer(0, str(key), "", asked, None)) for key in range(40)]
    assert {verdict["label"] for verdict in verdicts} == {"allowed", "disallowed"}
    assert {verdict["natural"] for verdict in verdicts} <= {1, 2, 3, 4, 5}
    assert {verdict["label_correct"] for verdict in verdicts} == {True, False}
    assert all(language.mismatch(verdict["reason"], "en") is None for verdict in verdicts)


def test_hundreds_of_thousands_of_different_texts() -> None:
    for name in ("English", "Chinese", "Malay", "Tamil"):
        texts = {item["text"] for key in range(400) for item in json.loads(answer(0, str(key), "", ask(5, name), None))}
        assert len(texts) > 1995  # of 2,000: so few meet that there must be many more than 100,000


# -- batches -----------------------------------------------------------------------------------------------------

ROW: Any = {"model": "m", "max_tokens": 500, "messages": said(ask(1, "Malay"))}


async def until_ended(client: anthropic.AsyncAnthropic, batch: Any) -> Any:
    while batch.processing_status != "ended":
        await asyncio.sleep(0.03)
        batch = await client.messages.batches.retrieve(batch.id)
    return batch


def test_message_batches_run_their_course_and_each_row_has_its_own_end() -> None:
    faults = {"row_expired": 0.2, "row_errored": 0.2, "row_invalid": 0.2}
    with FakeProvider(batch_s=0.2, faults=faults, stubborn=1) as server:

        async def run() -> None:
            async with claude(server) as client:
                asked: Any = [{"custom_id": f"r{number}", "params": ROW} for number in range(60)]
                asked.append({"custom_id": "bad", "params": {**ROW, "max_tokens": 0}})
                batch = await client.messages.batches.create(requests=asked)
                assert batch.processing_status == "in_progress"
                assert batch.request_counts.processing == 61
                with pytest.raises(anthropic.AnthropicError):
                    await client.messages.batches.results(batch.id)
                batch = await until_ended(client, batch)
                rows = [row async for row in await client.messages.batches.results(batch.id)]
                assert [row.custom_id for row in rows] != [row["custom_id"] for row in asked]
                assert {row.custom_id for row in rows} == {row["custom_id"] for row in asked}
                counts = batch.request_counts
                kinds = [row.result.type for row in rows]
                assert (counts.succeeded, counts.errored, counts.expired) == tuple(
                    kinds.count(kind) for kind in ("succeeded", "errored", "expired")
                )
                assert min(counts.succeeded, counts.errored, counts.expired) > 3
                errors = {row.custom_id: row.result.error.error.type for row in rows if row.result.type == "errored"}
                assert errors["bad"] == "invalid_request_error"
                assert set(errors.values()) == {"invalid_request_error", "api_error"}
                stats = server.stats()
                assert stats["rows_paid"] == stats["paid"] == counts.succeeded
                assert stats["usd"] == pytest.approx((stats["input_tokens"] + 5 * stats["output_tokens"]) / 2e6)
                rest: Any = [
                    row
                    for row in asked
                    if row["custom_id"] in {r.custom_id for r in rows if r.result.type == "expired"}
                ]
                again = await until_ended(client, await client.messages.batches.create(requests=rest))
                assert again.request_counts.expired == 0
                assert server.stats()["batch_twice"] == 0
                await until_ended(client, await client.messages.batches.create(requests=rest))
                assert server.stats()["batch_twice"] == 1
                listed = [found.id async for found in client.messages.batches.list(limit=2)]
                assert len(listed) == 3
                assert listed[-1] == batch.id

        asyncio.run(run())


def test_message_batches_refuse_bad_ids_and_can_be_cancelled() -> None:
    with FakeProvider(batch_s=30) as server:

        async def run() -> None:
            async with claude(server) as client:
                for ids in (["a", "a"], ["a b"], ["x" * 65]):
                    with pytest.raises(anthropic.BadRequestError, match="custom_id"):
                        await client.messages.batches.create(
                            requests=[{"custom_id": name, "params": ROW} for name in ids]
                        )
                batch = await client.messages.batches.create(requests=[{"custom_id": "a", "params": ROW}])
                batch = await client.messages.batches.cancel(batch.id)
                assert batch.processing_status == "canceling"
                batch = await until_ended(client, batch)
                assert batch.request_counts.canceled == 1
                rows = [row.result.type async for row in await client.messages.batches.results(batch.id)]
                assert rows == ["canceled"]
                with pytest.raises(anthropic.NotFoundError):
                    await client.messages.batches.retrieve("msgbatch_nope")

        asyncio.run(run())
        assert server.stats()["paid"] == 0


def lines(path: Path, ids: list[str], **more: str) -> Path:
    path.write_text("".join(json.dumps({"custom_id": name, "body": ROW, **more}) + "\n" for name in ids))
    return path


def test_openai_batches_over_files(tmp_path: Path) -> None:
    with FakeProvider(batch_s=0.1, faults={"row_errored": 0.3, "row_invalid": 0.2}) as server:

        async def run() -> None:
            async with gpt(server) as client:
                path = lines(
                    tmp_path / "in.jsonl",
                    [f"r{number}" for number in range(30)],
                    method="POST",
                    url="/v1/chat/completions",
                )
                file = await client.files.create(file=path, purpose="batch")
                assert file.bytes == path.stat().st_size
                batch = await client.batches.create(
                    input_file_id=file.id,
                    endpoint="/v1/chat/completions",
                    completion_window="24h",
                    metadata={"tag": "t1"},
                )
                while batch.status in ("validating", "in_progress"):
                    await asyncio.sleep(0.03)
                    batch = await client.batches.retrieve(batch.id)
                assert (batch.status, batch.metadata) == ("completed", {"tag": "t1"})
                assert batch.request_counts is not None
                assert batch.output_file_id is not None
                assert batch.error_file_id is not None
                whole, broken = [
                    [json.loads(line) for line in (await client.files.content(name)).text.splitlines()]
                    for name in (batch.output_file_id, batch.error_file_id)
                ]
                assert (len(whole), len(broken)) == (batch.request_counts.completed, batch.request_counts.failed)
                assert {row["response"]["status_code"] for row in whole} == {200}
                assert {row["response"]["status_code"] for row in broken} == {400, 500}
                assert {row["custom_id"] for row in whole + broken} == {f"r{number}" for number in range(30)}
                assert [found.id async for found in client.batches.list()] == [batch.id]

                twice = lines(tmp_path / "twice.jsonl", ["a", "a"], method="POST", url="/v1/chat/completions")
                file = await client.files.create(file=twice, purpose="batch")
                failed = await client.batches.create(
                    input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
                )
                assert failed.status == "failed"
                assert failed.errors is not None

        asyncio.run(run())
        assert server.stats()["rows_paid"] > 5


def test_together_batches_over_its_own_upload(tmp_path: Path) -> None:
    with FakeProvider(batch_s=0.1, faults={"row_expired": 0.5}) as server:

        async def run() -> None:
            async with llama(server) as client:
                path = lines(tmp_path / "in.jsonl", [f"r{number}" for number in range(20)])
                file = await client.files.upload(path, purpose="batch-api")
                assert file.bytes == path.stat().st_size
                assert (await client.files.upload(path, purpose="batch-api")).id == file.id
                assert [found.id for found in (await client.files.list()).data] == [file.id]
                job = (await client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions")).job
                assert job is not None
                while job.status in ("VALIDATING", "IN_PROGRESS"):
                    await asyncio.sleep(0.03)
                    job = await client.batches.retrieve(str(job.id))
                assert job.status == "EXPIRED"
                found = [
                    await (await client.files.content(str(name))).read()
                    for name in (job.output_file_id, job.error_file_id)
                ]
                whole, broken = [[json.loads(line) for line in each.splitlines()] for each in found]
                assert len(whole) + len(broken) == 20
                assert whole[0]["response"]["body"]["choices"][0]["message"]["content"]
                assert {row["error"]["code"] for row in broken} == {"batch_expired"}
                assert [each.id for each in await client.batches.list()] == [job.id]

        asyncio.run(run())


def test_a_batch_that_fails_as_a_whole_bills_nothing(tmp_path: Path) -> None:
    with FakeProvider(faults={"batch_failed": 1.0}, stubborn=1) as server:

        async def run() -> list[str]:
            async with llama(server) as client:
                file = await client.files.upload(lines(tmp_path / "in.jsonl", ["a", "b"]), purpose="batch-api")
                states = []
                for _ in range(2):
                    job = (await client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions")).job
                    assert job is not None
                    while job.status in ("VALIDATING", "IN_PROGRESS"):
                        await asyncio.sleep(0.02)
                        job = await client.batches.retrieve(str(job.id))
                    states.append(str(job.status))
                return states

        assert asyncio.run(run()) == ["FAILED", "COMPLETED"]
        assert server.stats()["rows_paid"] == 2


# -- translation -------------------------------------------------------------------------------------------------


def basic(server: Any, key: str = "k") -> Any:
    credentials = import_module("google.auth.api_key").Credentials(key)
    session = import_module("google.auth.transport.requests").AuthorizedSession(credentials)
    client = import_module("google.cloud.translate_v2").Client
    return client(credentials=credentials, _http=session, client_options={"api_endpoint": server.google_url})


def advanced(server: Any) -> Any:
    credentials = import_module("google.oauth2.credentials").Credentials("token")
    client = import_module("google.cloud.translate_v3").TranslationServiceClient
    return client(credentials=credentials, transport="rest", client_options={"api_endpoint": server.google_url})


def test_google_v2_translates_back_and_forth_and_keeps_protected_spans(server: FakeProvider) -> None:
    client = basic(server)
    text = "We waited 5 minutes for the bus, and then my neighbour walked home."
    for code in ("zh-CN", "ms", "ta", "fr"):
        there = client.translate([text], source_language="en", target_language=code, format_="text")[0][
            "translatedText"
        ]
        assert there != text
        if code != "fr":
            assert language.mismatch(there, code[:2]) is None
        assert (
            client.translate([there], source_language=code, target_language="en", format_="text")[0]["translatedText"]
            == text
        )
    marked = 'Ask <span translate="no">@bob</span> &amp; me'
    shown = client.translate([marked], source_language="en", target_language="ta", format_="html")[0]["translatedText"]
    assert '<span translate="no">@bob</span> &amp;' in shown
    assert client.translate("Good morning", target_language="ms")["detectedSourceLanguage"] == "en"
    characters = server.stats()["characters"]
    assert server.stats()["usd"] == pytest.approx(characters * 20 / 1e6)


def test_google_refuses_as_the_real_one_does(server: FakeProvider) -> None:
    client = basic(server)
    for texts, code, words in (
        (["a"] * 129, "ms", "Too many text segments"),
        (["x" * 30_001], "ms", "Size Limit"),
        (["a"], "xx", "language xx"),
    ):
        with pytest.raises(google_errors.BadRequest, match=words):
            client.translate(texts, target_language=code, format_="text")
    with pytest.raises(google_errors.BadRequest, match="API key not valid"):
        basic(server, "wrong").translate("a", target_language="ms")
    request = {"parent": "projects/p/locations/global", "contents": ["x" * 30_001], "target_language_code": "ms"}
    with pytest.raises(google_errors.BadRequest, match="too long"):
        advanced(server).translate_text(request=request)
    with pytest.raises(google_errors.Forbidden, match="denied"):
        advanced(server).translate_text(
            request={**request, "parent": "projects/wrong/locations/global", "contents": ["a"]}
        )


def test_google_v3_translates_and_has_faults(server: FakeProvider) -> None:
    request = {
        "parent": "projects/p/locations/global", "contents": ["The market is open.", "Come on Monday."],
        "target_language_code": "zh-CN", "source_language_code": "en", "mime_type": "text/plain",
    }  # fmt: skip
    found = [one.translated_text for one in advanced(server).translate_text(request=request).translations]
    assert [tongues.translate(text, "zh", "en") for text in found] == request["contents"]
    with FakeProvider(faults={"overloaded": 1.0}, stubborn=1) as faulty:
        with pytest.raises(google_errors.ServiceUnavailable):
            advanced(faulty).translate_text(request=request, retry=None)
        advanced(faulty).translate_text(request=request, retry=None)


def test_translations_drift_and_lose_spans_on_demand() -> None:
    text = 'The market opens at <span translate="no">#sg</span> on Monday.'
    with FakeProvider(faults={"drop_span": 1.0}) as server:
        assert "#sg" not in basic(server).translate(text, source_language="en", target_language="ms")["translatedText"]
        server.configure(faults={"drift": 1.0})
        there = basic(server).translate(text, source_language="en", target_language="ms")["translatedText"]
        assert tongues.translate(there, "ms", "en") != text
        assert server.stats()["by_fault"] == {"drift": 1, "drop_span": 1}


def test_a_model_that_is_asked_to_translate_does(server: FakeProvider) -> None:
    texts = {"title": "Good morning", "text": "Ask \u27e6@bob\u27e7 at the market."}
    system = "You translate training data from English into Tamil. What stands between marks is copied."
    user = f"Translate each field into Tamil.\n\n{json.dumps(texts, ensure_ascii=False)}\n\nAnswer with one JSON object and nothing else."
    found = json.loads(
        asyncio.run(completion(server, messages=[{"role": "system", "content": system}, *said(user)]))
        .choices[0]
        .message.content
    )
    assert "\u27e6@bob\u27e7" in found["text"]
    assert {name: tongues.translate(text, "ta", "en") for name, text in found.items()} == texts


# -- the server itself -------------------------------------------------------------------------------------------


def test_a_server_in_its_own_process_has_the_same_interface() -> None:
    with FakeProvider.spawn(latency_s=0.05, seed=3) as server:
        there = asyncio.run(message(server, extra_headers={"Idempotency-Key": "rq1"}))
        assert server.stats()["paid"] == 1
        server.configure(faults={"server_error": 1.0})
        with pytest.raises(anthropic.InternalServerError):
            asyncio.run(message(server))
        server.reset()
        assert server.stats()["requests"] == 0
        with pytest.raises(ValueError, match="no setting 'nonsense'"):
            server.configure(nonsense=1)
    with FakeProvider(seed=3) as here:
        assert asyncio.run(message(here, extra_headers={"Idempotency-Key": "rq1"})).content == there.content


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"faults": {"nope": 0.1}}, "no kind"),
        ({"faults": {"reset": 2}}, "between 0 and 1"),
        ({"speed": 1}, "no setting"),
    ],
)
def test_wrong_settings_are_told_at_once(config: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        FakeProvider(**config)
