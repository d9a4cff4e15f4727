"""Ours: the engine's durable `ask` alone, or the whole of `synth run`, through the real provider and its SDK."""

import asyncio
import json
import os
import sys
from importlib import import_module
from pathlib import Path

import yaml
from job import MODEL, MOST_TOKENS, SYSTEM, Job, prompt, run, texts_of
from rich.console import Console

from curation.errors import TransientError
from curation.journal import Writer
from curation.records import Finish, Message, Request
from curation.store import Store
from synth import run as program_run
from synth.ask import Engine, Limits
from synth.config import RunSettings
from synth.ledger import Ledger
from synth.pricing import Price
from synth.progress import Progress
from synth.providers import connect
from synth.run import Report
from synth.tally import Traffic

NAME = json.loads(sys.argv[1])["how"].partition("-")[2]
import_module(f"synth.providers.{NAME}")
KEYS = {"anthropic": "ANTHROPIC_API_KEY", "together": "TOGETHER_API_KEY", "openai": "OPENAI_API_KEY"}
PRICE = {"input": 1.0, "output": 5.0, "source": "the loopback server", "as_of": "2026-11-21", "structured": False}
POST = {
    "task": "moderation", "description": "Everyday posts.", "labels": {"label": "allowed"}, "per_request": 1,
    "axes": {"thing": ["bus", "parcel", "plumber", "dentist"], "mood": ["glad", "cross", "calm", "sad"]},
    "language": ["en"], "output": {"text": "the post"}, "system": SYSTEM,
    "user": "Write {{ per_request }} {{ mood }} post on waiting for a {{ thing }}. {{ format_instructions }}",
}  # fmt: skip


def settings(job: Job) -> RunSettings:
    os.environ[KEYS[NAME]] = "any"
    table, post = Path("pricing.yaml"), Path("post.yaml")
    table.write_text(yaml.safe_dump({NAME: {MODEL[NAME]: PRICE}}))
    post.write_text(yaml.safe_dump(POST))
    urls = {"anthropic": f"{job.url}/anthropic", "together": f"{job.url}/together", "openai": job.openai_url}
    return RunSettings(
        workspace=Path("workspace"), prompt=(str(post),), language=("en",), per_request=1, n=job.n, provider=NAME,
        model=MODEL[NAME], base_url=urls[NAME], pricing=table, yes=True, max_tokens=MOST_TOKENS, concurrency=job.in_flight,
    )  # fmt: skip


def engine(job: Job) -> tuple[int, int]:
    """`Engine.ask` with journal and store; the answers are not parsed or checked."""
    asked = settings(job)
    texts: list[str] = []

    async def one(asking: Engine, number: int) -> None:
        try:
            completion = await asking.ask(request(number), {})
        except TransientError:
            return
        if completion.finish not in (Finish.REFUSAL, Finish.FILTER):
            texts.append(completion.text)

    async def everything(asking: Engine) -> None:
        asking.open()
        await asyncio.gather(*(one(asking, number) for number in range(job.n)))
        await asking.close()

    with Writer(Store(asked.workspace)) as writer:
        price = Price.model_validate(PRICE)
        ledger = Ledger(writer, Traffic(), run="rn1_bench", price=price, max_tokens=MOST_TOKENS)
        limits = Limits(job.in_flight, retries=asked.retries, timeout_s=asked.timeout_s)
        asyncio.run(everything(Engine(connect(asked, price=price), ledger, limits)))
    return texts_of(texts)


def request(number: int) -> Request:
    messages = (Message(role="system", content=SYSTEM), Message(role="user", content=prompt(number)))
    return Request(
        prompt="bench", prompt_id="pr1_bench", variables={"language": "en", "per_request": 1}, messages=messages,
        provider=NAME, model=MODEL[NAME], sampling={"max_tokens": MOST_TOKENS}, slot=number,
    )  # fmt: skip


def program(job: Job) -> tuple[int, int]:
    """`synth run`: prompts rendered, answers parsed, checked, claimed and stored."""
    report: Report = program_run.run(settings(job), Progress(Console(quiet=True)))
    accepted = sum(tally.accepted for tally in report.tallies)
    return accepted, accepted


if __name__ == "__main__":
    run({"engine": engine, "program": program}[json.loads(sys.argv[1])["how"].partition("-")[0]])
