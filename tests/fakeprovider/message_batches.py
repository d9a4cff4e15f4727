"""Anthropic's Message Batches."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from . import anthropic
from .batches import Batch, Batches, Outcome, Row
from .live import ANTHROPIC, Provider, TooLarge, read_body, send
from .model import Reply

MOST_ROWS, MOST_BYTES = 100_000, 256 * 1024 * 1024
_CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_PATH = re.compile(r"/anthropic/v1/messages/batches(?:/(\w+)(?:/(cancel|results))?)?")


class MessageBatches:
    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._batches = Batches(provider, ANTHROPIC, "msgbatch_01")

    def forget(self) -> None:
        self._batches.forget()

    async def handle(self, request: web.BaseRequest, path: str) -> web.StreamResponse | None:
        """None where the path is not one of ours."""
        match = _PATH.fullmatch(path)
        if match is None:
            return None
        if (denied := anthropic.unauthorized(request.headers)) is not None:
            return send(self._provider, denied)
        identity, action = match.groups()
        if identity is None:
            reply = await self._create(request) if request.method == "POST" else self._list(request)
            return send(self._provider, reply)
        batch = self._batches.all.get(identity)
        if batch is None:
            return send(self._provider, anthropic.error(404, f"Message Batch {identity} not found."))
        match request.method, action:
            case "GET", None:
                return send(self._provider, Reply(200, self._shown(batch)))
            case "POST", "cancel":
                if batch.ended_at is not None:
                    words = f"Batch {identity} cannot be canceled because it has already ended."
                    return send(self._provider, anthropic.error(400, words))
                self._batches.cancel(batch)
                return send(self._provider, Reply(200, self._shown(batch)))
            case "GET", "results":
                return await self._results(request, batch)
            case "DELETE", None:
                return send(self._provider, self._delete(batch))
        return send(self._provider, anthropic.error(404, "Not found"))

    async def _create(self, request: web.BaseRequest) -> Reply:
        if self._provider.spent():
            return anthropic.no_credit(self._provider.config)
        try:
            body = json.loads(await read_body(request, MOST_BYTES))
        except TooLarge:
            return anthropic.too_large()
        except ValueError:
            return anthropic.invalid("The request body is not valid JSON.")
        rows = body.get("requests") if isinstance(body, dict) else None
        if not isinstance(rows, list) or not rows:
            return anthropic.invalid("requests: List should have at least 1 item after validation, not 0")
        if len(rows) > MOST_ROWS:
            return anthropic.invalid(
                f"requests: List should have at most {MOST_ROWS} items after validation, not {len(rows)}"
            )
        if extra := set(body) - {"requests"}:
            return anthropic.invalid(f"{min(extra)}: Extra inputs are not permitted")
        seen: set[str] = set()
        for place, row in enumerate(rows):
            if not isinstance(row, dict) or set(row) != {"custom_id", "params"} or not isinstance(row["params"], dict):
                return anthropic.invalid(
                    f"requests.{place}: custom_id and params are required, and nothing else is permitted"
                )
            if not isinstance(row["custom_id"], str) or not _CUSTOM_ID.fullmatch(row["custom_id"]):
                return anthropic.invalid(
                    f"requests.{place}.custom_id: String should match pattern '^[a-zA-Z0-9_-]{{1,64}}$'"
                )
            if row["custom_id"] in seen:
                return anthropic.invalid(f"requests.{place}.custom_id: Duplicate custom_id found: {row['custom_id']}")
            seen.add(row["custom_id"])
        read = [
            Row(row["custom_id"], row["params"], anthropic.read(row["params"], self._provider.config)) for row in rows
        ]
        return Reply(200, self._shown(self._batches.submit(read)))

    def _list(self, request: web.BaseRequest) -> Reply:
        """Newest first, `limit` at a time, from `after_id` on or up to `before_id`."""
        try:
            limit = int(request.query.get("limit", "20"))
        except ValueError:
            limit = 0
        if not 1 <= limit <= 1000:
            return anthropic.invalid("limit: Input should be between 1 and 1000")
        batches = list(reversed(self._batches.all.values()))
        ids = [batch.id for batch in batches]
        if (after := request.query.get("after_id")) is not None:
            batches = batches[ids.index(after) + 1 :] if after in ids else []
            page, more = batches[:limit], len(batches) > limit
        elif (before := request.query.get("before_id")) is not None:
            batches = batches[: ids.index(before)] if before in ids else []
            page, more = batches[-limit:], len(batches) > limit
        else:
            page, more = batches[:limit], len(batches) > limit
        first, last = (page[0].id, page[-1].id) if page else (None, None)
        return Reply(
            200, {"data": [self._shown(batch) for batch in page], "has_more": more, "first_id": first, "last_id": last}
        )

    def _delete(self, batch: Batch) -> Reply:
        if batch.ended_at is None:
            return anthropic.error(400, f"Batch {batch.id} cannot be deleted while it is in progress.")
        del self._batches.all[batch.id]
        return Reply(200, {"id": batch.id, "type": "message_batch_deleted"})

    async def _results(self, request: web.BaseRequest, batch: Batch) -> web.StreamResponse:
        if batch.ended_at is None:
            words = f"Batch {batch.id} has no available results: it has not finished processing."
            return send(self._provider, anthropic.error(404, words))
        self._provider.ledger.by_status[200] += 1
        response = web.StreamResponse(headers={"Content-Type": "application/x-jsonl", "request-id": f"req_{batch.id}"})
        await response.prepare(request)
        for lines in _hundreds(batch.outcomes):
            await response.write(lines)
        await response.write_eof()
        return response

    def _shown(self, batch: Batch) -> dict[str, Any]:
        ended = batch.ended_at is not None
        status = "ended" if ended else "in_progress" if batch.cancelled_at is None else "canceling"
        return {
            "id": batch.id, "type": "message_batch", "processing_status": status,
            "request_counts": {
                "processing": 0 if ended else len(batch.rows), "succeeded": batch.count("succeeded"),
                "errored": batch.count("errored") + batch.count("invalid"), "canceled": batch.count("canceled"),
                "expired": batch.count("expired"),
            },
            "created_at": _time(batch.created_at), "expires_at": _time(batch.created_at + 86_400), "ended_at": _time(batch.ended_at),
            "archived_at": None, "cancel_initiated_at": _time(batch.cancelled_at),
            "results_url": f"{self._provider.url}/anthropic/v1/messages/batches/{batch.id}/results" if ended else None,
        }  # fmt: skip


def _hundreds(outcomes: list[Outcome]) -> Iterator[bytes]:
    for start in range(0, len(outcomes), 100):
        lines = [json.dumps(_line(outcome), ensure_ascii=False) + "\n" for outcome in outcomes[start : start + 100]]
        yield "".join(lines).encode(errors="surrogatepass")


def _line(outcome: Outcome) -> dict[str, Any]:
    match outcome.state:
        case "succeeded":
            result: dict[str, Any] = {"type": "succeeded", "message": outcome.payload}
        case "errored" | "invalid":
            result = {"type": "errored", "error": outcome.payload.payload}
        case _:
            result = {"type": outcome.state}
    return {"custom_id": outcome.custom_id, "result": result}


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
