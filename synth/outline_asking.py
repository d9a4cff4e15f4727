"""`synth outline provider=...`: a model reads the outlines of SOPs off their pages.

Each document is one question through the durable `ask`, so an answer is paid once. An answer that cannot be read, or that quotes what the SOP
does not say, is kept as `Malformed` and the question asked once more with the reason; one that reached `max_tokens` is not, as it would
end there again. A run's event `outlined` holds which answer an outline came from.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import jinja2.meta
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from curation import library
from curation.documents import Document, Outline
from curation.errors import InputError, RequestRejected, TilthError, TransientError
from curation.records import Completion, Finish, Malformed, Message, Request, canonical_json, content_id, now
from curation.settings import describe
from curation.shelf import save_outline
from curation.store import Store
from curation.tables import malformed_row, utc
from synth.ask import Known, answers_about
from synth.config import OutlineSettings
from synth.confirm import confirm
from synth.estimate import TOKENS_PER_BYTE, TOKENS_PER_IMAGE
from synth.ledger import Stopped
from synth.outline_reading import FORM, output_schema, pages_as_text, read
from synth.pricing import Price
from synth.progress import Progress
from synth.prompts import search_path
from synth.providers import connect
from synth.providers.base import Provider, Usage
from synth.session import Session, price_of, session
from synth.sop_prompts import MOST_IMAGES
from synth.tally import Tally, Traffic

TRIES = 2
SALVAGE_ROUNDS = 2  # how often documents that got no answer are tried again when all others are done
TOKENS_PER_PAGE = (100, 800)  # that the outline of a page of steps takes
_JINJA = ImmutableSandboxedEnvironment(
    undefined=jinja2.StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True
)
_PROVIDED = frozenset({"title", "images", "pages", "format_instructions"})


class Instruction(BaseModel):
    """A file of `prompts/outline`. Its templates know `title`, `images` (which image is which page; "" without), `pages` (the text) and
    `format_instructions`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    description: str = Field(min_length=10)
    system: str = Field(min_length=1)
    user: str = Field(min_length=1)

    @property
    def fingerprint(self) -> str:
        return content_id("pr", {**self.model_dump(mode="json", exclude={"description"}), "form": FORM})


@dataclass(frozen=True, slots=True)
class Outlined:
    """What became of one document."""

    document: Document
    outline: Outline | None
    completion: str | None  # the answer that the outline came from
    why: str  # there is no outline


@dataclass(frozen=True, slots=True)
class Report:
    run: str
    outlined: list[Outlined]
    traffic: Traffic
    stopped: str | None

    @property
    def complete(self) -> bool:
        return all(one.outline is not None for one in self.outlined)


def load_instruction(name: str, prompts_dir: Path | None = None) -> Instruction:
    """The instruction that a name or path stands for.

    Raises:
        InputError: no such file, or one that cannot be used.
    """
    folders = [folder / "outline" for folder in search_path(prompts_dir) if (folder / "outline").is_dir()]
    path = library.find(name, folders, kind="outline instruction").path
    try:
        made = Instruction(**library.read_yaml(path))
    except ValidationError as error:
        raise InputError(f"{path}: {describe(error, Instruction)}") from error
    for where, source in (("system", made.system), ("user", made.user)):
        try:
            unknown = jinja2.meta.find_undeclared_variables(_JINJA.parse(source)) - _PROVIDED
        except jinja2.TemplateSyntaxError as error:
            raise InputError(f"{path}: {where}, line {error.lineno}: bad Jinja: {error.message}") from error
        if unknown:
            known = ", ".join(sorted(_PROVIDED))
            raise InputError(f"{path}: {where}: {{{{ {min(unknown)} }}}} is not defined; known: {known}")
    for needed in ("pages", "format_instructions"):
        if needed not in jinja2.meta.find_undeclared_variables(_JINJA.parse(made.user)):
            raise InputError(f"{path}: user: {{{{ {needed} }}}} is missing; the model has to see it")
    return made


@dataclass(frozen=True, slots=True)
class _Asker:
    """Makes the questions about documents."""

    instruction: Instruction
    provider: Provider
    model: str
    images: bool

    @property
    def by(self) -> str:
        return f"model:{self.model}"

    def request(self, document: Document, attempt: int = 0, why: str = "") -> Request:
        shown: dict[str, list[int]] = {}
        for page in document.pages if self.images else ():
            shown.setdefault(page.image, []).append(page.number)
        if len(shown) > MOST_IMAGES:
            raise InputError(
                f"{document.path}: {len(shown)} pages, a request shows {MOST_IMAGES} at most; read it from its text alone with images=false"
            )
        variables = {
            "title": document.title or document.name, "pages": pages_as_text(document), "format_instructions": FORM,
            "images": "; ".join(
                f"image {at}: page {' and '.join(map(str, numbers))}" for at, numbers in enumerate(shown.values(), 1)
            ),
        }  # fmt: skip
        system, user = (
            _JINJA.from_string(source).render(variables).strip()
            for source in (self.instruction.system, self.instruction.user)
        )
        if why:
            user += f"\n\n(An earlier reply could not be used: {why}. Keep to the form above and to the words of the pages, and write nothing else.)"
        return Request(
            prompt="sop_outline", prompt_id=self.instruction.fingerprint, variables={"example": document.id, "document": document.name},
            messages=(Message(role="system", content=system), Message(role="user", content=user, images=tuple(shown))),
            provider=self.provider.name, model=self.model, sampling=self.provider.sampling(),
            output_schema=output_schema() if self.provider.structured() else None, attempt=attempt,
        )  # fmt: skip


def ask_outlines(store: Store, documents: Sequence[Document], settings: OutlineSettings, progress: Progress) -> Report:
    """Have a model read the outlines of these documents, and store them as the model's.

    Raises:
        InputError: a document, setting or provider that cannot be used.
        ProviderError, WorkspaceError: as `synth run`.
    """
    instruction = load_instruction(settings.instruction, settings.prompts_dir)
    price = price_of(settings, settings.provider, settings.model)
    provider = connect(settings, assets=settings.workspace / "assets", price=price)
    asker = _Asker(instruction, provider, settings.model or "", settings.images)
    known = answers_about(store, instruction.fingerprint, asker.model, [one.id for one in documents])
    fresh = [one for one in documents if asker.request(one).id not in known.get(one.id, {})]
    if fresh:
        _confirm(fresh, asker, settings, price)
    tally = Tally("sop_outline", len(documents))
    hold = {content_id("pl", ["outline", instruction.fingerprint, asker.model]): f"outlining with {settings.model!r}"}
    with session(
        settings, progress, hold=hold, spent_on=[instruction.fingerprint], max_requests=3 * TRIES * len(documents) + 10,
        provider=provider, tallies=[tally],
    ) as opened:  # fmt: skip
        body = canonical_json(instruction.model_dump(mode="json"))
        row = (instruction.fingerprint, "sop_outline", body, utc(now()))
        opened.writer.append([("prompts", row)], durable=True)
        reader = _Reader(asker, opened, tally, known)
        opened.work(lambda: reader.read_all(documents), [tally])
    found = [reader.found[one.id] for one in documents]
    for one in found:
        if one.outline is not None:
            save_outline(store, one.outline)
    return Report(opened.run, found, opened.engine.traffic, opened.stopped)


def _confirm(documents: Sequence[Document], asker: _Asker, settings: OutlineSettings, price: Price | None) -> None:
    low = high = None
    if price is not None:
        requests = [asker.request(one) for one in documents]
        size = sum(len(message.content.encode()) for one in requests for message in one.messages)
        images = sum(len(message.images) for one in requests for message in one.messages)
        pages, batch = sum(len(one.pages) for one in documents), settings.mode == "batch"
        low, high = (
            price.cost(
                Usage(
                    round(size * TOKENS_PER_BYTE[side] + images * TOKENS_PER_IMAGE[side]),
                    min(settings.max_tokens * len(documents), pages * TOKENS_PER_PAGE[side]),
                ),
                batch=batch,
            )
            * times
            for side, times in ((0, 1), (1, TRIES))
        )
    confirm(low, high, settings, f"outlining {len(documents):,} documents")


class _Reader:
    def __init__(self, asker: _Asker, opened: Session, tally: Tally, known: Mapping[str, Known]) -> None:
        self.found: dict[str, Outlined] = {}
        self._asker, self._opened, self._tally, self._known = asker, opened, tally, known

    async def read_all(self, documents: Sequence[Document]) -> None:
        for one in documents:
            self.found[one.id] = Outlined(one, None, None, "not asked yet")
        left = list(documents)
        for _ in range(1 + SALVAGE_ROUNDS):
            failed: dict[str, Document] = {}
            async with asyncio.TaskGroup() as group:
                for one in left:
                    group.create_task(self._read(one, failed))
            left = list(failed.values())
            if not left or self._opened.engine.stopped is not None:
                break
        self._opened.engine.give_up_if_in_vain()

    async def _read(self, one: Document, failed: dict[str, Document]) -> None:
        why = ""
        try:
            for attempt in range(TRIES):
                request = self._asker.request(one, attempt, why)
                completion: Completion = await self._opened.engine.ask(request, self._known.get(one.id, {}))
                if completion.finish in (Finish.REFUSAL, Finish.FILTER):
                    how = "refused" if completion.finish is Finish.REFUSAL else "stopped by the provider's filter"
                    self._fail(one, how, str(completion.finish))
                    return
                said = read(completion, one, self._asker.by)
                if isinstance(said, Outline):
                    self._keep(one, said, completion)
                    return
                why = said
                malformed = Malformed(completion=completion.id, position=None, reason=why)
                self._opened.writer.append([malformed_row(malformed)])
                self._tally.reject("malformed")
                if completion.finish is Finish.LENGTH:
                    why += "; give it more: max_tokens=32000"
                    break
            self.found[one.id] = Outlined(one, None, None, why)
        except Stopped:
            pass
        except TransientError as error:
            failed[one.id] = one
            self.found[one.id] = Outlined(one, None, None, f"no answer: {error}")
        except RequestRejected as error:
            self._fail(one, f"not taken by the provider: {error}", "request rejected")
        except TilthError as error:
            self._opened.engine.stop(error)

    def _fail(self, one: Document, why: str, counted: str) -> None:
        self._tally.reject(counted)
        self.found[one.id] = Outlined(one, None, None, why)

    def _keep(self, one: Document, outline: Outline, completion: Completion) -> None:
        event: dict[str, Any] = {"outline": outline.id, "document": one.id, "completion": completion.id}
        run = self._opened.run
        row = (content_id("ev", [run, "outlined", one.id]), run, "outlined", canonical_json(event), utc(now()))
        self._opened.writer.append([("run_events", row)])
        self.found[one.id] = Outlined(one, outline, completion.id, "")
        self._tally.accepted += 1
