"""Files and the batches over them, as OpenAI and Together have them."""

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

from aiohttp import BodyPartReader, web
from aiohttp.multipart import MultipartReader

from .batches import Batch, Batches, Outcome, Row
from .live import Provider, TooLarge, read_body, send
from .model import Reply
from .openai import Chat

MOST_ROWS, MOST_BYTES = 50_000, 100 * 1024 * 1024
_ENDPOINT = "/v1/chat/completions"


@dataclass(slots=True)
class File:
    id: str
    name: str
    purpose: str
    data: bytes
    checksum: str = ""
    there: bool = True  # False: announced, its bytes are still to come
    created_at: int = 0


class FileBatches:
    def __init__(self, provider: Provider, chat: Chat) -> None:
        self._provider, self._chat = provider, chat
        self._batches = Batches(provider, chat, "batch_" if chat.name == "openai" else "batch-")
        self._files: dict[str, File] = {}
        self._made = 0
        self._path = re.compile(rf"/{chat.name}/v1/(files|batches)(?:/([\w.-]+)(?:/(content|cancel|preprocess))?)?")
        self._upload = re.compile(rf"/{chat.name}/_upload/([\w-]+)")

    def forget(self) -> None:
        self._batches.forget()
        self._files.clear()

    async def handle(self, request: web.BaseRequest, path: str) -> web.StreamResponse | None:
        """None where the path is not one of ours."""
        if request.method == "PUT" and (match := self._upload.fullmatch(path)):
            return send(self._provider, await self._receive(request, match[1]))
        match = self._path.fullmatch(path)
        if match is None:
            return None
        if (denied := self._chat.unauthorized(request.headers)) is not None:
            return send(self._provider, denied)
        kind, identity, action = match.groups()
        if kind == "files" and action == "content" and request.method == "GET" and (file := self._files.get(identity)):
            self._provider.ledger.by_status[200] += 1
            return web.Response(body=file.data, content_type="application/octet-stream")
        reply = await (
            self._on_file(request, identity, action) if kind == "files" else self._on_batch(request, identity, action)
        )
        return send(self._provider, reply)

    # -- files ---------------------------------------------------------------------------------------------------

    async def _on_file(self, request: web.BaseRequest, identity: str | None, action: str | None) -> Reply:
        if identity is None:
            if request.method == "GET":
                return Reply(
                    200,
                    {
                        "object": "list",
                        "data": [self._file_shown(file) for file in self._files.values()],
                        "has_more": False,
                    },
                )
            return await (self._announce(request) if self._chat.name == "together" else self._take(request))
        file = self._files.get(identity)
        if file is None:
            return self._chat.error(404, f"No such File object: {identity}", "invalid_request_error", param="id")
        match request.method, action:
            case ("GET", None) | ("POST", "preprocess"):
                return Reply(200, self._file_shown(file))
            case "DELETE", None:
                del self._files[identity]
                return Reply(200, {"id": identity, "object": "file", "deleted": True})
        return self._chat.error(404, "Not found", "invalid_request_error")

    async def _take(self, request: web.BaseRequest) -> Reply:
        """OpenAI's upload: the file and its purpose in one form."""
        form: dict[str, str] = {}
        name, data = "", None
        try:
            reader = MultipartReader(request.headers, request.content)
            while (part := await reader.next()) is not None:
                if not isinstance(part, BodyPartReader):
                    return self._chat.invalid("The form is nested.")
                if part.name == "file":
                    name, data = part.filename or "", bytes(await part.read())
                else:
                    form[part.name or ""] = await part.text()
        except (ValueError, AssertionError, LookupError):
            return self._chat.invalid("We could not parse the form of your request.")
        if data is None or "purpose" not in form:
            missing = "file" if data is None else "purpose"
            return self._chat.error(
                400, f"Missing required parameter: '{missing}'.", "invalid_request_error", param=missing
            )
        if form["purpose"] not in ("batch", "assistants", "fine-tune", "vision", "user_data", "evals"):
            return self._chat.error(
                400, f"'{form['purpose']}' is not one of the purposes.", "invalid_request_error", param="purpose"
            )
        if form["purpose"] == "batch" and not name.endswith(".jsonl"):
            return self._chat.error(
                400, f"Invalid file format for Batch API. Must be .jsonl, not {name!r}.", "invalid_request_error"
            )
        return Reply(200, self._file_shown(self._add(name, form["purpose"], data)))

    async def _announce(self, request: web.BaseRequest) -> Reply:
        """Together's upload, first step: what will come, answered with where to put it."""
        form = _form(request.headers, await read_body(request, 1024 * 1024))
        if problem := next((name for name in ("purpose", "file_name", "file_type") if name not in form), None):
            return self._chat.invalid(f"Missing required field: {problem}")
        if form["purpose"] not in ("fine-tune", "calibration", "eval", "batch-api"):
            return self._chat.invalid(f"Invalid purpose: {form['purpose']}")
        checksum = form.get("checksum", "")
        for file in self._files.values():
            if checksum and file.checksum == checksum and file.there and file.purpose == form["purpose"]:
                return Reply(409, {"file_id": file.id, "error": {"message": "File already exists", "type": "conflict"}})
        file = self._add(form["file_name"], form["purpose"], b"")
        file.there, file.checksum = False, checksum
        location = f"{self._provider.url}/{self._chat.name}/_upload/{file.id}"
        return Reply(302, {}, {"Location": location, "X-Together-File-Id": file.id})

    async def _receive(self, request: web.BaseRequest, identity: str) -> Reply:
        file = self._files.get(identity)
        if file is None:
            return Reply(403, {"error": {"message": "SignatureDoesNotMatch"}})
        try:
            file.data = await read_body(request, 2 * MOST_BYTES)
        except TooLarge:
            return Reply(413, {"error": {"message": "EntityTooLarge"}})
        file.there = True
        return Reply(200, {}, {"ETag": f'"{blake2b(file.data, digest_size=8).hexdigest()}"'})

    def _add(self, name: str, purpose: str, data: bytes) -> File:
        self._made += 1
        identity = f"file-{blake2b(f'{self._chat.name}{self._made}'.encode(), digest_size=10).hexdigest()}"
        file = self._files[identity] = File(identity, name, purpose, data, created_at=int(time.time()))
        return file

    def _file_shown(self, file: File) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "id": file.id, "object": "file", "bytes": len(file.data), "created_at": file.created_at, "filename": file.name,
            "purpose": file.purpose,
        }  # fmt: skip
        if self._chat.name == "openai":
            return {**shown, "status": "processed", "expires_at": None, "status_details": None}
        return {
            **shown, "FileType": "jsonl", "Processed": file.there, "LineCount": file.data.count(b"\n"),
            "processing_status": "COMPLETED" if file.there else "PENDING",
        }  # fmt: skip

    # -- batches -------------------------------------------------------------------------------------------------

    async def _on_batch(self, request: web.BaseRequest, identity: str | None, action: str | None) -> Reply:
        if identity is None:
            return await self._create(request) if request.method == "POST" else self._list(request)
        batch = self._batches.all.get(identity)
        if batch is None:
            return self._chat.error(404, f"No batch found with id '{identity}'.", "invalid_request_error")
        match request.method, action:
            case "GET", None:
                return Reply(200, self._shown(batch))
            case "POST", "cancel":
                if batch.ended_at is not None:
                    return self._chat.error(
                        409, f"Cannot cancel a batch with status '{self._status(batch)}'.", "invalid_request_error"
                    )
                self._batches.cancel(batch)
                return Reply(200, self._shown(batch))
        return self._chat.error(404, "Not found", "invalid_request_error")

    async def _create(self, request: web.BaseRequest) -> Reply:
        chat, config = self._chat, self._provider.config
        if self._provider.spent():
            return chat.no_credit(config)
        try:
            body = json.loads(await read_body(request, 1024 * 1024))
        except ValueError:
            return chat.invalid("We could not parse the JSON body of your request.")
        required = (
            ("input_file_id", "endpoint")
            if chat.name == "together"
            else ("input_file_id", "endpoint", "completion_window")
        )
        for name in required:
            if not isinstance(body.get(name), str):
                return chat.error(400, f"Missing required parameter: '{name}'.", "invalid_request_error", param=name)
        if body["endpoint"] != _ENDPOINT:
            return chat.error(400, f"Invalid endpoint: {body['endpoint']}", "invalid_request_error", param="endpoint")
        if chat.name == "openai" and body["completion_window"] != "24h":
            return chat.error(
                400, "Invalid value: only '24h' is supported.", "invalid_request_error", param="completion_window"
            )
        file = self._files.get(body["input_file_id"])
        if file is None or not file.there:
            return chat.error(
                400, f"Invalid file ID: {body['input_file_id']}", "invalid_request_error", param="input_file_id"
            )
        if file.purpose not in ("batch", "batch-api"):
            return chat.error(
                400,
                f"The file's purpose is {file.purpose!r}, not batch.",
                "invalid_request_error",
                param="input_file_id",
            )
        rows, problem = self._rows(file.data)
        batch = self._batches.submit(rows, file=file.id, bytes=len(file.data), problem=problem, metadata=body.get("metadata"),
                                     model=rows[0].body.get("model") if rows else None)  # fmt: skip
        shown = self._shown(batch)
        return Reply(201, {"job": shown, "warning": None}) if chat.name == "together" else Reply(200, shown)

    def _rows(self, data: bytes) -> tuple[list[Row], str | None]:
        """The rows of a file, or why the batch fails as a whole."""
        lines = data.splitlines()
        if len(data) > MOST_BYTES:
            return [], f"The file is larger than the maximum of {MOST_BYTES} bytes."
        if not 1 <= len(lines) <= MOST_ROWS:
            return [], f"The file has {len(lines)} requests; it may have 1 to {MOST_ROWS}."
        rows, seen = [], set()
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
            except ValueError:
                return [], f"Line {number} is not valid JSON."
            if (
                not isinstance(row, dict)
                or not isinstance(row.get("custom_id"), str)
                or not isinstance(row.get("body"), dict)
            ):
                return [], f"Line {number} lacks custom_id or body."
            if self._chat.name == "openai" and (row.get("method"), row.get("url")) != ("POST", _ENDPOINT):
                return [], f"Line {number}: method must be POST and url {_ENDPOINT}."
            if len(row["custom_id"]) > 64 or row["custom_id"] in seen:
                return [], f"Line {number}: the custom_id {row['custom_id']!r} is too long or was used before."
            seen.add(row["custom_id"])
            rows.append(Row(row["custom_id"], row["body"], self._chat.read(row["body"], self._provider.config)))
        return rows, None

    def _list(self, request: web.BaseRequest) -> Reply:
        batches = list(reversed(self._batches.all.values()))
        if self._chat.name == "together":
            return Reply(200, [self._shown(batch) for batch in batches])
        limit = int(request.query.get("limit", "20"))
        if (after := request.query.get("after")) is not None:
            ids = [batch.id for batch in batches]
            batches = batches[ids.index(after) + 1 :] if after in ids else []
        page = batches[:limit]
        first, last = (page[0].id, page[-1].id) if page else (None, None)
        return Reply(200, {"object": "list", "data": [self._shown(batch) for batch in page], "first_id": first, "last_id": last,
                           "has_more": len(batches) > limit})  # fmt: skip

    def _status(self, batch: Batch) -> str:
        """In OpenAI's words."""
        if batch.extra["problem"] is not None:
            return "failed"
        if batch.ended_at is None:
            if batch.cancelled_at is not None:
                return "cancelling"
            return "validating" if time.time() - batch.created_at < 0.2 * batch.batch_s else "in_progress"
        if batch.fails:
            return "failed"
        if batch.cancelled_at is not None:
            return "cancelled"
        return "expired" if batch.count("expired") else "completed"

    def _shown(self, batch: Batch) -> dict[str, Any]:
        status = self._status(batch)
        output, errors = self._written(batch) if batch.ended_at is not None and status != "failed" else (None, None)
        failure = batch.extra["problem"] or ("The batch failed in processing." if status == "failed" else None)
        ended = None if batch.ended_at is None else batch.ended_at
        if self._chat.name == "together":
            words = {"cancelling": "IN_PROGRESS"}.get(status, status.upper())
            done = 100.0 if ended else min(99.0, 100 * (time.time() - batch.created_at) / max(batch.batch_s, 1e-9))
            return {
                "id": batch.id, "user_id": "user-1", "input_file_id": batch.extra["file"], "file_size_bytes": batch.extra["bytes"],
                "status": words, "job_deadline": _time(batch.created_at + 86_400), "created_at": _time(batch.created_at),
                "endpoint": _ENDPOINT, "progress": done, "model_id": batch.extra["model"], "output_file_id": output,
                "error_file_id": errors, "error": failure, "completed_at": _time(ended),
            }  # fmt: skip
        at = {
            name: None if ended is None or status != name else int(ended)
            for name in ("completed", "expired", "failed", "cancelled")
        }
        listed = {
            "object": "list",
            "data": [{"code": "invalid_batch", "message": failure, "line": None, "param": None}],
        }
        started = status != "validating"
        return {
            "id": batch.id, "object": "batch", "endpoint": _ENDPOINT, "errors": listed if failure else None,
            "input_file_id": batch.extra["file"], "completion_window": "24h", "status": status, "output_file_id": output,
            "error_file_id": errors, "created_at": int(batch.created_at), "in_progress_at": int(batch.created_at) if started else None,
            "expires_at": int(batch.created_at) + 86_400, "finalizing_at": None if ended is None else int(ended),
            **{f"{name}_at": when for name, when in at.items()},
            "cancelling_at": None if batch.cancelled_at is None else int(batch.cancelled_at), "metadata": batch.extra["metadata"],
            "request_counts": {"total": len(batch.rows), "completed": batch.count("succeeded"),
                               "failed": sum(batch.count(state) for state in ("errored", "invalid", "expired"))},
        }  # fmt: skip

    def _written(self, batch: Batch) -> tuple[str | None, str | None]:
        """The ids of the output and the error file, made when first asked for."""
        if "written" not in batch.extra:
            whole = [outcome for outcome in batch.outcomes if outcome.state == "succeeded"]
            rest = [outcome for outcome in batch.outcomes if outcome.state != "succeeded"]
            batch.extra["written"] = (self._write(batch, "output", whole), self._write(batch, "error", rest))
        written: tuple[str | None, str | None] = batch.extra["written"]
        return written

    def _write(self, batch: Batch, kind: str, outcomes: list[Outcome]) -> str | None:
        if not outcomes:
            return None
        lines = [json.dumps(self._line(outcome), ensure_ascii=False) + "\n" for outcome in outcomes]
        purpose = "batch_output" if self._chat.name == "openai" else "batch-api"
        return self._add(f"{batch.id}_{kind}.jsonl", purpose, "".join(lines).encode(errors="surrogatepass")).id

    def _line(self, outcome: Outcome) -> dict[str, Any]:
        name = outcome.custom_id
        line: dict[str, Any] = {"custom_id": name, "response": None, "error": None}
        if self._chat.name == "openai":
            line = {"id": f"batch_req_{blake2b(name.encode(), digest_size=12).hexdigest()}", **line}
        match outcome.state:
            case "succeeded":
                line["response"] = {"status_code": 200, "request_id": f"req-{name}", "body": outcome.payload}
            case "expired":
                words = "This request could not be executed before the completion window expired."
                line["error"] = {"code": "batch_expired", "message": words}
            case "canceled":
                line["error"] = {
                    "code": "batch_cancelled",
                    "message": "This request was not executed: the batch was cancelled.",
                }
            case _:
                reply = outcome.payload
                if self._chat.name == "openai":
                    line["response"] = {"status_code": reply.status, "request_id": f"req-{name}", "body": reply.payload}
                else:
                    line["error"] = {**reply.payload["error"], "code": str(reply.status)}
        return line


def _form(headers: Mapping[str, str], raw: bytes) -> dict[str, str]:
    """The fields of a small form, as multipart with or without its boundary named, urlencoded, or JSON."""
    text = raw.decode(errors="replace")
    if found := re.findall(r'name="(\w+)"(?:\r?\n[^\r\n]+)*\r?\n\r?\n(.*?)\r?\n--', text, re.S):
        return dict(found)
    try:
        read = json.loads(text)
    except ValueError:
        from urllib.parse import parse_qsl

        return dict(parse_qsl(text))
    return {name: str(value) for name, value in read.items()} if isinstance(read, dict) else {}


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
