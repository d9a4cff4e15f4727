"""A model in this process: a local folder or a hub id, run by the `transformers` library on the GPU if there is one.

Requests that are in flight together are generated together, one batch at a time in a thread of its own. `timeout_s` counts the wait for
the batches before; where a model is slow, raise it, or lower `concurrency` (16 without a GPU and 64 with one fit into a batch).

What can be repeated: greedy answers (`temperature=0`, or a model whose own settings do not sample), up to rounding. Sampled answers
come out the same when the same requests share a batch, as each batch is seeded from their ids; which requests share one depends on
timing. Padding and batch size also change rounding, so that even a greedy answer can differ where two words are about as
likely. A stored answer is never asked again, so a finished run stays as it is.
"""

import asyncio
import contextlib
import gc
import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2

from curation.errors import InputError, ProviderError, RequestRejected, TilthError
from curation.records import Finish, Message, Request
from synth.plan import Plan
from synth.programs.base import AnyPrompt
from synth.providers.base import Answer, Usage
from synth.providers.local_model import LocalModel, first_line, is_out_of_memory, library

if TYPE_CHECKING:
    from synth.config import AskSettings
    from synth.pricing import Price

GATHER_S = 0.005  # requests that come so close together share a batch
BATCH_CPU, BATCH_GPU = 16, 64  # rows at most; halved when memory runs out


def connect(
    settings: "AskSettings",
    plans: Sequence[Plan],  # noqa: ARG001
    assets: Path | None,
    price: "Price | None",  # noqa: ARG001
) -> "Transformers":
    """The model that `settings.model` names, loaded.

    Raises:
        InputError: no such model, one that cannot chat, a setting that it does not take, or the library is not installed.
        ProviderError: the hub does not answer, or the model does not fit in memory.
    """
    if not settings.model:
        raise InputError("provider=transformers needs model=FOLDER, or a hub id such as model=Qwen/Qwen3-4B")
    if settings.mode == "batch":
        raise InputError("mode=batch: provider=transformers has no batch service; leave mode out")
    for name, given in (("base_url", settings.base_url), ("effort", settings.effort)):
        if given is not None:
            raise InputError(f"{name}: provider=transformers does not take it; leave it out")
    if settings.structured:
        raise InputError(
            "structured=true: provider=transformers cannot hold a model to a schema; leave it out, or serve the model "
            "(vLLM, llama.cpp) and use provider=openai"
        )
    local = LocalModel(settings.model.rstrip("/") or settings.model)
    local.load()
    return Transformers(local, settings, assets)


@dataclass(frozen=True, slots=True)
class _Row:
    """One request on its way into a batch."""

    id: str
    rendered: str
    tokens: tuple[int, ...]
    images: tuple[Path, ...]
    budget: int  # tokens that may be answered
    answer: "asyncio.Future[Answer]"


class Transformers:
    name = "transformers"
    batches = None

    def __init__(self, local: LocalModel, settings: "AskSettings", assets: Path | None) -> None:
        self._local = local
        self._settings = settings
        self._assets = assets
        self._most = min(settings.concurrency, BATCH_GPU if local.on_gpu else BATCH_CPU)
        self._waiting: list[_Row] = []
        self._draining: asyncio.Task[None] | None = None
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="transformers")

    # -- the provider --------------------------------------------------------------------------------------------

    def model(self, prompt: AnyPrompt) -> str:  # noqa: ARG002
        return self._local.name

    def sampling(self) -> dict[str, str | int | float]:
        given: dict[str, str | int | float | None] = {
            "max_tokens": self._settings.max_tokens, "temperature": self._settings.temperature,
            "top_p": self._settings.top_p, "weights": self._local.identity,
        }  # fmt: skip
        return {name: value for name, value in given.items() if value is not None}

    def structured(self) -> bool:
        return False

    async def answer(self, request: Request) -> Answer:
        loop = asyncio.get_running_loop()
        images = tuple(self._image(sha256) for message in request.messages for sha256 in message.images)
        rendered = self._rendered([self._as_plain_text(message) for message in request.messages])
        if images:
            tokens: tuple[int, ...] = ()
            length = await loop.run_in_executor(self._worker, self._length_with_images, rendered, images)
        else:
            tokens = tuple(self._local.tokenizer(rendered, add_special_tokens=False)["input_ids"])
            length = len(tokens)
        if length >= self._local.context:
            raise RequestRejected(
                f"{self._local.name}: the prompt is {length:,} tokens, and the model takes {self._local.context:,} with its answer"
            )
        budget = min(self._settings.max_tokens, self._local.context - length)
        row = _Row(request.id, rendered, tokens, images, budget, loop.create_future())
        self._waiting.append(row)
        if self._draining is None or self._draining.done():
            self._draining = loop.create_task(self._drain())
        return await row.answer

    async def close(self) -> None:
        if self._draining is not None:
            self._draining.cancel()
            await asyncio.gather(self._draining, return_exceptions=True)
        self._draining = None
        self._waiting.clear()
        await asyncio.get_running_loop().run_in_executor(self._worker, self._unload)  # after what it is still at

    # -- batches -------------------------------------------------------------------------------------------------

    async def _drain(self) -> None:
        """Work off what waits, batch after batch."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(GATHER_S)
        while rows := self._next_batch():
            outcomes = await loop.run_in_executor(self._worker, self._generate, rows)
            for row, outcome in zip(rows, outcomes, strict=True):
                if row.answer.done():
                    continue  # whoever asked went away
                if isinstance(outcome, Answer):
                    row.answer.set_result(outcome)
                else:
                    row.answer.set_exception(outcome)
            await asyncio.sleep(GATHER_S)

    def _next_batch(self) -> list[_Row]:
        """The rows that have waited longest and go together; one that fills the context goes alone, as it would cut others short."""
        self._waiting = [row for row in self._waiting if not row.answer.done()]
        if not self._waiting:
            return []
        first = self._waiting[0]
        rows = [first]
        if first.budget == self._settings.max_tokens:
            alike = [
                row for row in self._waiting if row.budget == first.budget and bool(row.images) == bool(first.images)
            ]
            rows = alike[: self._most]
        chosen = set(map(id, rows))
        self._waiting = [row for row in self._waiting if id(row) not in chosen]
        return rows

    # -- in the worker's thread ----------------------------------------------------------------------------------

    def _unload(self) -> None:
        self._local.weights = None
        gc.collect()

    def _generate(self, rows: list[_Row]) -> list[Answer | ProviderError]:
        """An outcome for each row. Where memory runs out, half as many at a time."""
        try:
            if self._local.weights is None:
                self._local.load()  # it was closed, and is asked again
            return list(self._answers(rows))
        except TilthError as error:
            return [ProviderError(str(error)) for _ in rows]
        except Exception as error:
            if not is_out_of_memory(error):
                return [ProviderError(f"{self._local.name}: {first_line(error)}") for _ in rows]
        gc.collect()
        if len(rows) == 1:
            return [
                RequestRejected(
                    f"{self._local.name}: this request does not fit in memory beside the model; lower max_tokens, or take a smaller model"
                )
            ]
        half = len(rows) // 2
        self._most = min(self._most, half)
        return [*self._generate(rows[:half]), *self._generate(rows[half:])]

    def _answers(self, rows: list[_Row]) -> list[Answer]:
        inputs = self._inputs(rows).to(self._local.weights.device)
        library().set_seed(_seed(rows))

        def nobody_waits(*_: object, **__: object) -> bool:
            return all(row.answer.done() for row in rows)

        generated = self._local.weights.generate(
            **inputs, **self._how(), max_new_tokens=rows[0].budget, eos_token_id=self._local.ends(),
            pad_token_id=self._local.tokenizer.pad_token_id,
            stopping_criteria=library().StoppingCriteriaList([nobody_waits]),
        )  # fmt: skip
        lengths = inputs["attention_mask"].sum(dim=1).tolist()
        width = inputs["input_ids"].shape[1]
        return [
            self._read(tokens, length) for tokens, length in zip(generated[:, width:].tolist(), lengths, strict=True)
        ]

    def _read(self, tokens: list[int], input_tokens: int) -> Answer:
        ends = self._local.ends()
        stop = next((place for place, token in enumerate(tokens) if token in ends), None)
        text = self._local.tokenizer.decode(tokens[:stop], skip_special_tokens=True)
        thought, _, said = text.rpartition("</think>")
        return Answer(
            said.strip(),
            Finish.LENGTH if stop is None else Finish.STOP,
            Usage(input_tokens, len(tokens) if stop is None else stop + 1),
            self._local.name,
            {"thought": thought.removeprefix("<think>").strip()} if thought else {},
        )

    def _inputs(self, rows: list[_Row]) -> Any:
        if not rows[0].images:
            return self._local.tokenizer.pad({"input_ids": [list(row.tokens) for row in rows]}, return_tensors="pt")
        pictures = [[_picture(path) for path in row.images] for row in rows]
        return self._seen([row.rendered for row in rows], pictures)

    def _seen(self, texts: list[str], pictures: list[list[Any]]) -> Any:
        assert self._local.processor is not None
        return self._local.processor(
            text=texts, images=pictures, padding=True, return_tensors="pt", add_special_tokens=False
        )

    def _length_with_images(self, rendered: str, images: tuple[Path, ...]) -> int:
        pictures = [_picture(path) for path in images]
        try:
            return int(self._seen([rendered], [pictures])["input_ids"].shape[1])
        except (ValueError, RuntimeError, TypeError) as error:
            raise RequestRejected(f"{self._local.name}: an image cannot be prepared: {first_line(error)}") from error

    def _how(self) -> dict[str, Any]:
        """The user's sampling; where there is none, the model's own."""
        temperature, top_p = self._settings.temperature, self._settings.top_p
        if temperature == 0:
            return {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
        given = {name: value for name, value in (("temperature", temperature), ("top_p", top_p)) if value is not None}
        return {"do_sample": True, **given} if given else {}

    # -- what is asked -------------------------------------------------------------------------------------------

    def _rendered(self, messages: Sequence[Message]) -> str:
        """The chat as the model was trained to read it. The system's words go into the user's turn where its template has no
        place for them."""
        system = "\n\n".join(message.content for message in messages if message.role == "system")
        with contextlib.suppress(jinja2.TemplateError):
            rendered = self._templated(messages)
            if system.strip() in rendered:
                return rendered
        others = [message for message in messages if message.role != "system"]
        merged = others[0].model_copy(update={"content": f"{system}\n\n{others[0].content}"})
        try:
            return self._templated([merged, *others[1:]])
        except jinja2.TemplateError as error:
            raise RequestRejected(f"{self._local.name}: its chat template refuses the messages: {error}") from error

    def _as_plain_text(self, message: Message) -> Message:
        """The message without the tokens that begin and end turns: whoever wrote a text must not end its turn."""
        content = message.content
        for token in self._local.marks:
            content = content.replace(token, f"{token[0]} {token[1:]}")
        return message if content == message.content else message.model_copy(update={"content": content})

    def _templated(self, messages: Sequence[Message]) -> str:
        teller: Any = self._local.processor or self._local.tokenizer
        chat = [
            {"role": message.role, "content": _parts(message) if self._local.sees else message.content}
            for message in messages
        ]
        return str(
            teller.apply_chat_template(
                chat, chat_template=self._local.template, tokenize=False, add_generation_prompt=True
            )
        )

    def _image(self, sha256: str) -> Path:
        if not self._local.sees:
            raise RequestRejected(
                f"{self._local.name}: cannot look at images; take an image-text model, or prompts without images"
            )
        if self._assets is not None:
            for path in (self._assets / sha256, *sorted(self._assets.glob(f"{sha256}.*"))):
                if path.is_file():
                    return path
        raise RequestRejected(f"{self._local.name}: image {sha256[:12]} is not in {self._assets}; import it again")


def _parts(message: Message) -> list[dict[str, str]]:
    return [*({"type": "image"} for _ in message.images), {"type": "text", "text": message.content}]


def _picture(path: Path) -> Any:
    from PIL import Image

    try:
        with Image.open(path) as picture:
            return picture.convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise RequestRejected(f"{path}: cannot be read as an image: {first_line(error)}") from error


def _seed(rows: Sequence[_Row]) -> int:
    digest = hashlib.blake2b("".join(row.id for row in rows).encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little")
