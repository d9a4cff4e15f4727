"""`train predict serve=true`: scores over HTTP. Requests that come together share batches; the model runs in a thread of its own."""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from train.config import PredictSettings
from train.predict import scored
from train.scorers import Scores, open_scorer
from train.scoring import Score, Scorer

GATHER_S = 0.005  # requests that come so close together share batches
MOST_BYTES = 32 * 2**20  # of a request
MOST_WAITING = 50_000  # texts; more are turned away
MOST_TOKENS = 1024  # of a chat answer

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def serve(settings: PredictSettings) -> int:
    """Serve until interrupted or terminated.

    Raises:
        InputError: the adapter cannot be used.
        OSError: the address is taken.
    """
    app = application(open_scorer(settings), settings.adapter)
    web.run_app(
        app, host=settings.host, port=settings.port, print=lambda words: print(words, file=sys.stderr, flush=True)
    )
    return 0


def application(scorer: Scores, name: str) -> web.Application:
    """POST /score, POST /v1/chat/completions (for language models), GET /v1/models, GET /health."""
    desk = _Desk(scorer, name)
    app = web.Application(client_max_size=MOST_BYTES, middlewares=[_in_json])
    app.router.add_post("/score", desk.score)
    app.router.add_post("/v1/chat/completions", desk.chat)
    app.router.add_get("/v1/models", desk.models)
    app.router.add_get("/health", desk.health)
    app.on_cleanup.append(desk.close)
    return app


@web.middleware
async def _in_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Errors as JSON, in the form that OpenAI's clients read."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        message = error.text if isinstance(error, web.HTTPBadRequest | web.HTTPServiceUnavailable) else error.reason
        return web.json_response({"error": {"message": message}}, status=error.status)


@dataclass(slots=True)
class _Waiting:
    texts: list[str]
    scores: "asyncio.Future[list[Score]]"


class _Desk:
    def __init__(self, scorer: Scores, name: str) -> None:
        self._scorer, self._name = scorer, name
        self._waiting: list[_Waiting] = []
        self._texts = 0  # that wait or are being scored
        self._draining: asyncio.Task[None] | None = None
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="predict")

    async def health(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "ok", "model": self._name, "waiting": self._texts})

    async def models(self, _: web.Request) -> web.Response:
        return web.json_response(
            {"object": "list", "data": [{"id": self._name, "object": "model", "owned_by": "tilth"}]}
        )

    async def close(self, _: web.Application) -> None:
        if self._draining is not None:
            self._draining.cancel()
        self._worker.shutdown(wait=False, cancel_futures=True)

    # -- scores --------------------------------------------------------------------------------------------------

    async def score(self, request: web.Request) -> web.Response:
        texts = (await _body(request)).get("texts")
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise web.HTTPBadRequest(text='give {"texts": [...]}, a list of strings')
        if self._texts + len(texts) > MOST_WAITING:
            raise web.HTTPServiceUnavailable(
                text=f"{self._texts:,} texts are waiting; try again later, or with fewer texts"
            )
        waiting = _Waiting(texts, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._texts += len(texts)
        if self._draining is None or self._draining.done():
            self._draining = asyncio.create_task(self._drain())
        scores = await waiting.scores
        answer: dict[str, Any] = {"probabilities": [score.probability for score in scores]}
        if errors := [{"index": at, "reason": score.reason} for at, score in enumerate(scores) if score.reason]:
            answer["errors"] = errors
        if cut := [at for at, score in enumerate(scores) if score.cut]:
            answer["cut"] = cut
        return web.json_response(answer)

    async def _drain(self) -> None:
        """Score what waits, all of it at a time."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(GATHER_S)
        while self._waiting:
            group, self._waiting = self._waiting, []
            texts = [text for one in group for text in one.texts]
            try:
                scores = await loop.run_in_executor(self._worker, scored, self._scorer, texts)
            except Exception as error:
                scores = [Score(None, reason=f"{type(error).__name__}: {error}")] * len(texts)
            for one in group:
                own, scores = scores[: len(one.texts)], scores[len(one.texts) :]
                if not one.scores.done():  # whoever asked may be gone
                    one.scores.set_result(own)
            self._texts -= len(texts)

    # -- chat ----------------------------------------------------------------------------------------------------

    async def chat(self, request: web.Request) -> web.Response:
        if not isinstance(self._scorer, Scorer):
            raise web.HTTPBadRequest(text=f"{self._name} is a classifier, which cannot chat; POST /score")
        body = await _body(request)
        if body.get("stream"):
            raise web.HTTPBadRequest(text="stream: answers come whole; leave it out")
        turns: Any = body.get("messages")
        most, heat = body.get("max_completion_tokens", body.get("max_tokens")), body.get("temperature")
        good = (
            isinstance(turns, list)
            and turns
            and all(isinstance(t, dict) and isinstance(t.get("content"), str) for t in turns)
        )
        if not good:
            raise web.HTTPBadRequest(
                text='give {"messages": [{"role": ..., "content": "..."}, ...]}, with texts as contents'
            )
        if not isinstance(most, int | None) or not isinstance(heat, int | float | None):
            raise web.HTTPBadRequest(text="max_tokens: expected a whole number; temperature: a number")
        loop = asyncio.get_running_loop()
        most = max(1, min(most or MOST_TOKENS, MOST_TOKENS))
        try:
            text, asked, said = await loop.run_in_executor(
                self._worker, _answer, self._scorer, turns, most, 0.0 if heat is None else float(heat)
            )
        except ValueError as error:
            raise web.HTTPBadRequest(text=str(error).split("\n", 1)[0]) from error
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": text},
            "finish_reason": "length" if said >= most else "stop",
        }
        usage = {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}
        made = int(time.time())
        return web.json_response(
            {
                "id": f"chat-{made}",
                "object": "chat.completion",
                "created": made,
                "model": self._name,
                "choices": [choice],
                "usage": usage,
            }
        )


def _answer(scorer: Scorer, turns: list[dict[str, str]], most: int, temperature: float) -> tuple[str, int, int]:
    """The model's answer, and the tokens of prompt and answer; greedy at temperature 0.

    Raises:
        ValueError: the chat template does not take these turns, or they are too long.
    """
    import torch
    from jinja2 import TemplateError

    words: Any = scorer.tokenizer
    try:
        rendered = words.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    except TemplateError as error:
        raise ValueError(f"the model's chat template does not take these messages: {error}") from error
    ids = words(rendered, add_special_tokens=False, return_tensors="pt")["input_ids"]
    if ids.shape[1] + most > scorer.max_length:
        raise ValueError(
            f"the messages are {ids.shape[1]:,} tokens, and the model takes {scorer.max_length:,} with its answer"
        )
    how: dict[str, Any] = {"do_sample": True, "temperature": temperature} if temperature > 0 else {"do_sample": False}
    model: Any = scorer.model
    with torch.no_grad():
        ids = ids.to(model.device)
        made = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=most,
            pad_token_id=words.pad_token_id or 0,
            **how,
        )[0, ids.shape[1] :]
    return str(words.decode(made, skip_special_tokens=True)), ids.shape[1], len(made)


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        body = json.loads(await request.text())
    except (ValueError, RecursionError) as error:
        raise web.HTTPBadRequest(text="the body is not JSON") from error
    if not isinstance(body, dict):
        raise web.HTTPBadRequest(text="the body is not a JSON object")
    return body
