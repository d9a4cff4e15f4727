"""Documents into the store: what is not there yet is rendered, page by page, by several reader processes."""

import hashlib
import os
import shutil
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from curation.assets import keep_bytes
from curation.documents import Document, Page
from curation.errors import InputError, WorkspaceError
from curation.journal import Writer, recover
from curation.settings import Settings
from curation.shelf import document_rows, documents
from curation.store import Store
from curation.tables import TableRow
from synth.config import RenderingSettings
from synth.documents.files import found
from synth.documents.layout import blocks_of
from synth.documents.limits import VERSION, Limits
from synth.documents.ocr import tessdata
from synth.documents.process import Reader
from synth.documents.refusal import Refused

PAGES_AT_ONCE = 8  # that one reader takes of a document


@dataclass(slots=True)
class Outcome:
    """What became of a file: a document, or the reason why there is none."""

    path: Path
    document: Document | None = None
    new: bool = False
    bytes: int = 0  # of its page images
    refused: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class Traffic:
    """How far it is; read by whoever shows it."""

    files: int = 0
    done: int = 0
    pages: int = 0  # rendered
    expected: int = 0  # pages of the documents opened so far
    refused: int = 0


@dataclass(slots=True)
class _Job:
    path: Path
    sha256: str
    name: str
    head: dict[str, Any] = field(default_factory=dict)
    marks: dict[int, dict[str, Any]] = field(default_factory=dict)
    images: dict[int, str] = field(default_factory=dict)
    rows: list[TableRow] = field(default_factory=list)
    parts: int = 0  # still to come
    failed: str | None = None


def load(paths: Iterable[str | Path], settings: Settings) -> list[Document]:
    """The documents of files, folders or patterns, in order; those that the workspace does not have are rendered first.

    With plain `Settings` a document counts as there however it was rendered; with `RenderingSettings`, if it was rendered so.

    Raises:
        InputError: a file cannot be read as a document; the others are in the store all the same.
    """
    outcomes = render(paths, settings)
    refused = [one for one in outcomes if one.refused is not None]
    if refused:
        more = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
        raise InputError(f"{refused[0].path}: {refused[0].refused}{more}")
    return [one.document for one in outcomes if one.document is not None]


def render(paths: Iterable[str | Path], settings: Settings, traffic: Traffic | None = None) -> list[Outcome]:
    """What became of each file, in order.

    Raises:
        InputError: a path names nothing.
        WorkspaceError: the workspace cannot be written, or another process renders into it.
    """
    files = found(paths).files
    traffic = traffic or Traffic()
    traffic.files = len(files)
    store = Store(settings.workspace)
    recover(store)
    limits, workers = _limits(settings)
    rendering = limits.rendering if isinstance(settings, RenderingSettings) else None
    outcomes = {path: Outcome(path) for path in files}
    jobs: list[_Job] = []
    first: dict[str, Path] = {}
    hashes: dict[Path, str] = {}
    for path, name in zip(files, _names(files), strict=True):
        try:
            hashes[path] = sha256 = _sha256(path, limits.most_bytes)
        except Refused as error:
            outcomes[path].refused = str(error)
            continue
        if (known := _known(store, sha256, name, rendering)) is not None:
            outcomes[path].document = known
        elif sha256 in first:
            continue
        else:
            first[sha256] = path
            jobs.append(_Job(path, sha256, name))
    traffic.done = len(files) - len(jobs)
    if jobs:
        with store.hold("render", "rendering"), Writer(store) as writer:
            _Rendering(store, limits, workers, writer, outcomes, traffic).run(jobs)
    for path, name in zip(files, _names(files), strict=True):
        one = outcomes[path]
        if one.document is None and one.refused is None:  # the same bytes as another file
            twin = outcomes[first[hashes[path]]]
            one.refused, one.notes = twin.refused, twin.notes
            one.document = twin.document and twin.document.model_copy(update={"name": name, "path": str(path)})
        if one.document is not None:
            one.bytes = _bytes(store, one.document)
    with Writer(store) as writer:
        for one in outcomes.values():
            if one.document is not None and not one.new:
                writer.append(document_rows(one.document))
    return list(outcomes.values())


def _limits(settings: Settings) -> tuple[Limits, int]:
    asked = settings if isinstance(settings, RenderingSettings) else RenderingSettings()
    limits = Limits(
        dpi=asked.dpi, longest_px=asked.longest_px, most_pages=asked.most_pages, most_bytes=asked.most_mb * 1_000_000,
        page_s=asked.page_s, open_s=1.5 * asked.page_s, ocr=asked.ocr_language if asked.ocr else "",
        tessdata=str(tessdata(asked.ocr_language)) if asked.ocr else "",
    )  # fmt: skip
    return limits, asked.workers or min(os.cpu_count() or 1, 4)


def _names(files: Sequence[Path]) -> list[str]:
    """A name for each: the file's stem, with its ending or its folders where two would have the same."""
    stems = [path.stem for path in files]
    names = [path.name if stems.count(path.stem) > 1 else path.stem for path in files]
    return [str(path) if names.count(name) > 1 else name for path, name in zip(files, names, strict=True)]


def _sha256(path: Path, most: int) -> str:
    try:
        if not path.is_file():
            raise Refused("not a file")
        if path.stat().st_size > most:
            raise Refused(f"larger than {most / 1e6:,.0f} MB; split it, or allow more with most_mb=")
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise Refused(f"cannot be read: {error.strerror or error}") from error


def _known(store: Store, sha256: str, name: str, rendering: str | None) -> Document | None:
    """The stored rendering of these bytes whose page images are all there."""
    how, value = ("rendering = ?", rendering) if rendering else ("starts_with(rendering, ?)", f"{VERSION}:")
    for one in documents(store, f"sha256 = ? AND {how}", [sha256, value]):
        if all((store.workspace / "assets" / page.image).is_file() for page in one.pages):
            return one if one.name == name else one.model_copy(update={"name": name})
    return None


def _bytes(store: Store, document: Document) -> int:
    return sum((store.workspace / "assets" / image).stat().st_size for image in {page.image for page in document.pages})


class _Rendering:
    """Several readers over a queue of parts of documents."""

    def __init__(
        self, store: Store, limits: Limits, workers: int, writer: Writer, outcomes: dict[Path, Outcome], traffic: Traffic
    ) -> None:  # fmt: skip
        self._assets = store.workspace / "assets"
        self._limits = limits
        self._workers = workers
        self._writer = writer
        self._outcomes = outcomes
        self._traffic = traffic
        self._desk = store.workspace / "rendering"  # pages of documents that are not whole yet
        self._queue: deque[tuple[_Job, range | None]] = deque()
        self._open = 0
        self._condition = threading.Condition()
        self._failure: BaseException | None = None
        self._stopped = False

    def run(self, jobs: Sequence[_Job]) -> None:
        shutil.rmtree(self._desk, ignore_errors=True)
        self._desk.mkdir(parents=True)
        self._queue.extend((job, None) for job in jobs)
        self._open = len(jobs)
        readers = [Reader(self._limits) for _ in range(max(1, self._workers))]
        threads = [threading.Thread(target=self._work, args=(reader,), daemon=True) for reader in readers]
        try:
            for thread in threads:
                thread.start()
            with self._condition:
                while self._open and self._failure is None:
                    self._condition.wait(0.5)  # wakes, so that Ctrl-C is heard
        finally:
            with self._condition:
                self._stopped = True
                self._condition.notify_all()
            for reader in readers:
                reader.kill()  # so that whoever waits for a page hears of it at once
            for thread in threads:
                thread.join(10)
            for reader in readers:
                reader.close()
            shutil.rmtree(self._desk, ignore_errors=True)
        if self._failure is not None:
            raise self._failure

    def _work(self, reader: Reader) -> None:
        reader.start()
        while True:
            with self._condition:
                while self._open and not self._queue and not self._stopped:
                    self._condition.wait()
                if not self._open or self._stopped:
                    return
                job, pages = self._queue.popleft()
            try:
                self._part(reader, job, pages)
            except Refused as error:
                self._end(job, str(error))
            except BaseException as error:
                with self._condition:
                    self._failure = self._failure or error
                    self._condition.notify_all()
                return

    def _part(self, reader: Reader, job: _Job, pages: range | None) -> None:
        if job.failed is not None:
            return
        if pages is None:
            job.head = reader.open(job.path)
            if job.head["sha256"] != job.sha256:
                raise Refused("changed while it was read; run this again")
            count = job.head["pages"]
            split = PAGES_AT_ONCE if job.head["media_type"] == "application/pdf" and self._workers > 1 else count
            parts = [range(at, min(at + split, count)) for at in range(0, count, split)]
            with self._condition:
                self._traffic.expected += count
                job.parts = len(parts)
                self._queue.extendleft((job, part) for part in reversed(parts[1:]))
                self._condition.notify_all()
            pages = parts[0]
        for page, image in reader.pages(job.path, pages.start, pages.stop):
            self._take(job, page, image)
            if job.failed is not None or self._stopped:
                return
        with self._condition:
            job.parts -= 1
            last = not job.parts
        if last:
            self._finish(job)

    def _take(self, job: _Job, page: dict[str, Any], image: bytes) -> None:
        sha256 = hashlib.sha256(image).hexdigest()
        _, row = keep_bytes(self._desk, sha256, image, source=job.sha256, page=page["number"])
        with self._condition:
            job.marks[page["number"]] = page
            job.images[page["number"]] = sha256
            job.rows.append(("assets", row))
            self._traffic.pages += 1

    def _finish(self, job: _Job) -> None:
        marks = [job.marks[number] for number in sorted(job.marks)]
        title, blocks = blocks_of(marks)
        pages = tuple(
            Page(
                number=one["number"], image=job.images[one["number"]], width=one["px"][0], height=one["px"][1],
                text="\n".join(block.text for block in mine if block.text), blocks=mine,
            )
            for one, mine in zip(marks, blocks, strict=True)
        )  # fmt: skip
        document = Document(
            sha256=job.sha256, name=job.name, path=str(job.path), media_type=job.head["media_type"],
            title=title or job.head["title"] or job.name, pages=pages, rendering=self._limits.rendering,
        )  # fmt: skip
        try:
            self._assets.mkdir(parents=True, exist_ok=True)
            for image in set(job.images.values()):
                if not (self._assets / image).is_file():
                    (self._desk / image).replace(self._assets / image)
        except OSError as error:
            raise WorkspaceError(f"{self._assets}: {error.strerror}; check the folder and run this again") from error
        self._writer.append([*job.rows, *document_rows(document)])
        outcome = self._outcomes[job.path]
        recognised = [one["number"] for one in marks if one.get("recognised")]
        notes = [f"text of {len(recognised):,} pages recognised: read it over"] if recognised else []
        outcome.document, outcome.new, outcome.notes = document, True, (*job.head["notes"], *notes)
        self._end(job, None)

    def _end(self, job: _Job, refused: str | None) -> None:
        with self._condition:
            if job.failed is not None:
                return
            if refused is not None:
                job.failed = self._outcomes[job.path].refused = refused
                self._traffic.refused += 1
            job.marks.clear()
            self._traffic.done += 1
            self._open -= 1
            self._condition.notify_all()
