"""A loop of one's own: an SDK's typed method, or aiohttp, under a semaphore. Nothing is written down."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
from job import MODEL, MOST_TOKENS, SYSTEM, Job, prompt, run, texts_of

HOW = json.loads(sys.argv[1])["how"]
SDK, _, TRANSPORT = HOW.partition("-")
if SDK == "anthropic":
    import anthropic
elif SDK == "together":
    import together
elif SDK == "openai":
    import openai

Ask = Callable[[int], Awaitable[str | None]]


def chat(number: int) -> dict[str, Any]:
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": prompt(number)}]
    return {"model": MODEL[SDK if SDK in MODEL else "openai"], "max_tokens": MOST_TOKENS, "messages": messages}


def message(number: int) -> dict[str, Any]:
    messages = [{"role": "user", "content": prompt(number)}]
    return {"model": MODEL["anthropic"], "max_tokens": MOST_TOKENS, "system": SYSTEM, "messages": messages}


async def with_aiohttp(job: Job, each: Callable[[Ask], Awaitable[None]]) -> None:
    async def ask(number: int) -> str | None:
        async with session.post(f"{job.openai_url}/chat/completions", json=chat(number)) as response:
            body = await response.json()
        text: str | None = body["choices"][0]["message"]["content"]
        return text

    connector = aiohttp.TCPConnector(limit=job.in_flight)
    headers = {"Authorization": "Bearer any"}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        await each(ask)


async def with_anthropic(job: Job, each: Callable[[Ask], Awaitable[None]]) -> None:
    async def ask(number: int) -> str | None:
        answer = await client.messages.create(**message(number))
        return answer.content[0].text if answer.content else None

    transport = anthropic.DefaultAioHttpClient() if TRANSPORT == "aiohttp" else None
    url = f"{job.url}/anthropic"
    async with anthropic.AsyncAnthropic(api_key="any", base_url=url, http_client=transport) as client:
        await each(ask)


async def with_chat(job: Job, each: Callable[[Ask], Awaitable[None]]) -> None:
    async def ask(number: int) -> str | None:
        answer = await client.chat.completions.create(**chat(number))
        text: str | None = answer.choices[0].message.content
        return text

    client: Any
    if SDK == "together":
        transport = together.DefaultAioHttpClient() if TRANSPORT == "aiohttp" else None
        client = together.AsyncTogether(api_key="any", base_url=f"{job.url}/together", http_client=transport)
    else:
        transport = openai.DefaultAioHttpClient() if TRANSPORT == "aiohttp" else None
        client = openai.AsyncOpenAI(api_key="any", base_url=job.openai_url, http_client=transport)
    async with client:
        await each(ask)


WAYS = {"aiohttp": with_aiohttp, "anthropic": with_anthropic, "together": with_chat, "openai": with_chat}


def work(job: Job) -> tuple[int, int]:
    texts: list[str | None] = []

    async def each(ask: Ask) -> None:
        slots = asyncio.Semaphore(job.in_flight)

        async def one(number: int) -> None:
            async with slots:
                try:
                    texts.append(await ask(number))
                except Exception:  # whatever it is, there is no row
                    texts.append(None)

        await asyncio.gather(*(one(number) for number in range(job.n)))

    asyncio.run(WAYS[SDK](job, each))
    return texts_of(texts)


if __name__ == "__main__":
    run(work)
