"""Batches of chat completions: a file of requests goes up, files of answers and of errors come down."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from curation.errors import ProviderError, WorkspaceError
from curation.records import Request
from synth.providers.base import Answer, BatchState
from synth.providers.calls import Calls, encoded, lines
from synth.providers.chat_shape import ChatBody, read_answer
from synth.providers.failures import Filtered, Service, cut_off, filtered_answer, row_failure, status_failure

CLOCKS = timedelta(seconds=60)  # how far our clock may be off the provider's
MARK_BYTES = 64


@dataclass(frozen=True, slots=True)
class Job:
    """A batch, as its provider tells of it."""

    id: str
    created_at: datetime
    state: BatchState
    input_file: str
    files: tuple[str, ...]  # of answers and of errors, once they are there
    tag: str | None = None  # None where only the input file knows


class Desk(Protocol):
    """The file and batch calls of one SDK."""

    async def upload(self, path: Path) -> str:
        """The id of the file."""
        ...

    async def create(self, file_id: str, tag: str) -> str:
        """The id of a batch that works off a file."""
        ...

    async def job(self, external_id: str) -> Job: ...

    def jobs(self, since: datetime) -> AsyncIterator[Job]: ...

    async def tags(self, jobs: Sequence[Job]) -> list[str | None]:
        """Our names of these batches."""
        ...

    def content(self, file_id: str) -> AsyncIterator[bytes]: ...

    async def cancel(self, external_id: str) -> None: ...


class ChatBatches:
    """The batch service of a provider that speaks chat completions.

    Args:
        whole_lines: lines name the method and URL as well, as OpenAI wants it.
    """

    def __init__(
        self, calls: Calls, body: ChatBody, desk: Desk, *, most_requests: int, most_bytes: int, whole_lines: bool
    ) -> None:
        self.most_requests = most_requests
        self.most_bytes = most_bytes - MARK_BYTES
        self._calls = calls
        self._body = body
        self._desk = desk
        self._extra: dict[str, str] = {"method": "POST", "url": "/v1/chat/completions"} if whole_lines else {}

    def weigh(self, request: Request) -> int:
        return len(self._line(request))

    async def submit(self, tag: str, requests: Sequence[Request]) -> str:
        with TemporaryDirectory(prefix="tilth-") as folder:
            path = Path(folder) / f"{tag}.jsonl"
            try:
                await asyncio.to_thread(self._write, path, tag, requests)
            except OSError as error:
                raise WorkspaceError(
                    f"{path}: the file of a batch cannot be written ({error.strerror}); free some space, or set TMPDIR"
                ) from error
            with self._calls.translating():
                file_id = await self._desk.upload(path)
                return await self._desk.create(file_id, tag)

    async def find(self, tag: str, count: int, since: datetime, taken: Sequence[str]) -> list[str]:  # noqa: ARG002
        with self._calls.translating():
            jobs = [job async for job in self._desk.jobs(since - CLOCKS) if job.id not in taken]
            jobs = [job for job in jobs if job.created_at >= since - CLOCKS]
            tags = await self._desk.tags(jobs)
        return [job.id for job, known_as in zip(jobs, tags, strict=True) if known_as == tag]

    async def state(self, external_id: str) -> BatchState:
        with self._calls.translating():
            return (await self._desk.job(external_id)).state

    async def results(self, external_id: str) -> AsyncIterator[tuple[str, Answer | ProviderError]]:
        with self._calls.translating():
            job = await self._desk.job(external_id)
            for file_id in job.files:
                async for line in lines(self._desk.content(file_id)):
                    yield read_row(line, self._calls.service)

    async def cancel(self, external_id: str) -> None:
        with self._calls.translating():
            await self._desk.cancel(external_id)

    def _line(self, request: Request) -> bytes:
        return encoded({"custom_id": request.id, **self._extra, "body": self._body.of(request)}) + b"\n"

    def _write(self, path: Path, tag: str, requests: Sequence[Request]) -> None:
        with path.open("wb") as file:
            for number, request in enumerate(requests):
                line = self._line(request)
                file.write(line if number else line[:-1] + _mark(tag) + b"\n")


def read_row(line: bytes, service: Service) -> tuple[str, Answer | ProviderError]:
    """Request id and outcome of one line of a file of answers or errors."""
    try:
        row = json.loads(line)
        request_id = str(row["custom_id"])
    except (ValueError, KeyError, TypeError) as error:
        raise cut_off(service, "a batch result that is not JSON") from error
    response: Mapping[str, Any] = row.get("response") or {}
    status, body = int(response.get("status_code") or 200), response.get("body")
    try:
        if isinstance(body, Mapping) and status < 400 and not row.get("error"):
            return request_id, read_answer(body, service)
    except ProviderError as failed:
        return request_id, failed
    if status >= 400:
        failure = status_failure(status, body or row.get("error"), service)
    else:
        failure = row_failure(row.get("error") or body, service)
    return request_id, filtered_answer(failure) if isinstance(failure, Filtered) else failure


def _mark(tag: str) -> bytes:
    """White space that differs from tag to tag: Together answers the upload of a file that it has with the old file, under
    the old name, and the batch could not be found again under the new one."""
    digest = hashlib.blake2b(tag.encode(), digest_size=MARK_BYTES // 8).digest()
    return b"".join(b"\t" if byte >> bit & 1 else b" " for byte in digest for bit in range(8))
