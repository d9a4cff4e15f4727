"""Google Cloud Translation behind the provider seam: v2 with an API key, v3 with a service account.

A request's messages are its segments, and its answer is a JSON array of their translations. Requests that come in within a few
milliseconds share a call, within the service's limits; if the call is refused, each goes alone, so that one cannot spoil the others.
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from curation.errors import InputError, ProviderError, RequestRejected, TransientError
from curation.records import Finish, Request
from synth.providers.base import Answer, Batches, Usage
from synth.translators.google_api import Service, open_service

if TYPE_CHECKING:
    from synth.config import AskSettings
    from synth.programs.base import AnyPrompt

NAME, MODEL = "google", "nmt"
GATHER_S = 0.005
THREADS = 16  # calls at once; each carries many requests
CODES = {"zh": "zh-CN", "zh-Hans": "zh-CN", "zh-Hant": "zh-TW"}  # Google's names for our languages, where they differ

_Pair = tuple[str, str, bool]  # source, target, html


@dataclass(slots=True)
class _Unit:
    """Segments that stay together in one call."""

    texts: Sequence[str]
    done: "asyncio.Future[list[str]]"

    @property
    def load(self) -> "_Load":
        return _load(self.texts)


_Load = tuple[int, int, int]  # segments, codepoints, bytes as JSON


def _load(texts: Sequence[str]) -> _Load:
    return len(texts), sum(map(len, texts)), sum(len(json.dumps(text)) + 2 for text in texts)


def _sum(one: _Load, other: _Load) -> _Load:
    return one[0] + other[0], one[1] + other[1], one[2] + other[2]


def connect(settings: "AskSettings") -> "Google":
    """The translator that the environment has a key for.

    Raises:
        InputError: no key, or a service account file that cannot be used.
    """
    if settings.mode == "batch":
        raise InputError("mode=batch: Google translates at once and has no such batches; leave mode out")
    return Google(open_service(settings.model or MODEL, settings.base_url, settings.timeout_s), settings.model or MODEL)


class Google:
    name = NAME
    batches: Batches | None = None

    def __init__(self, service: Service, model: str) -> None:
        self._service = service
        self._model = model
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="google-translate")
        self._waiting: dict[_Pair, list[_Unit]] = defaultdict(list)
        self._calls: set[asyncio.Task[None]] = set()

    def model(self, prompt: "AnyPrompt") -> str:  # noqa: ARG002
        return self._model

    def sampling(self) -> dict[str, str | int | float]:
        return {}

    def structured(self) -> bool:
        return False

    async def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._service.close()

    async def answer(self, request: Request) -> Answer:
        variables = request.variables
        source, target = (CODES.get(str(variables[side]), str(variables[side])) for side in ("source", "target"))
        texts = [message.content for message in request.messages]
        if not all(self._fits(_load([text])) for text in texts):
            longest = max(map(len, texts))
            raise RequestRejected(
                f"google: a line of {longest:,} characters is more than it takes at once; break it up"
            )
        translations: list[str] = []
        for chunk in self._within_limits(texts):
            try:
                translations += await self._gathered((source, target, variables["format"] == "html"), chunk)
            except TransientError as error:
                if not translations:
                    raise
                raise TransientError(
                    str(error), kind=error.kind, retry_after_s=error.retry_after_s, maybe_paid=True
                ) from error
        usage = Usage(characters=sum(map(len, texts)))
        return Answer(json.dumps(translations, ensure_ascii=False), Finish.STOP, usage, model=self._model)

    def _within_limits(self, texts: Sequence[str]) -> Iterator[list[str]]:
        """The segments of one request, in as many calls as they need; nearly always one."""
        chunk: list[str] = []
        held: _Load = (0, 0, 0)
        for text in texts:
            if chunk and not self._fits(_sum(held, _load([text]))):
                yield chunk
                chunk, held = [], (0, 0, 0)
            chunk.append(text)
            held = _sum(held, _load([text]))
        yield chunk

    def _fits(self, load: _Load) -> bool:
        service = self._service
        return all(
            has <= most
            for has, most in zip(
                load, (service.most_segments, service.most_codepoints, service.most_bytes), strict=True
            )
        )

    async def _gathered(self, pair: _Pair, texts: list[str]) -> list[str]:
        loop = asyncio.get_running_loop()
        unit = _Unit(texts, loop.create_future())
        waiting = self._waiting[pair]
        waiting.append(unit)
        if len(waiting) == 1:
            loop.call_later(GATHER_S, self._dispatch, pair)
        return await unit.done

    def _dispatch(self, pair: _Pair) -> None:
        """Pack what came in into calls."""
        packed: list[_Unit] = []
        held: _Load = (0, 0, 0)
        for unit in self._waiting.pop(pair):
            if unit.done.cancelled():
                continue
            if packed and not self._fits(_sum(held, unit.load)):
                self._start(pair, packed)
                packed, held = [], (0, 0, 0)
            packed.append(unit)
            held = _sum(held, unit.load)
        if packed:
            self._start(pair, packed)

    def _start(self, pair: _Pair, units: list[_Unit]) -> None:
        task = asyncio.get_running_loop().create_task(self._call(pair, units))
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)

    async def _call(self, pair: _Pair, units: list[_Unit]) -> None:
        source, target, html = pair
        texts = [text for unit in units for text in unit.texts]
        try:
            found = await asyncio.get_running_loop().run_in_executor(
                self._pool, self._service.translate, texts, source, target, html
            )
        except RequestRejected as error:
            if len(units) > 1:
                for unit in units:
                    self._start(pair, [unit])
                return
            _fail(units, error)
        except (ProviderError, InputError) as error:
            _fail(units, error)
        except Exception as error:  # a fault in a thread must reach who waits for it
            _fail(units, error)
            raise
        else:
            place = 0
            for unit in units:
                if not unit.done.done():
                    unit.done.set_result(found[place : place + len(unit.texts)])
                place += len(unit.texts)


def _fail(units: Sequence[_Unit], error: Exception) -> None:
    for unit in units:
        if not unit.done.done():
            unit.done.set_exception(error)
