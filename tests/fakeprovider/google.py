"""Google's Cloud Translation: v2 with an API key, v3 with a key or a bearer token."""

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

from aiohttp import web

from . import tongues
from .faults import Bucket, Config
from .ledger import Usage
from .live import Produced, Provider, checked_body, meet, send
from .model import Reply, segment

MOST_BYTES_V2, MOST_CODEPOINTS = 100 * 1024, 30_000
MOST_SEGMENTS_V2, MOST_SEGMENTS_V3 = 128, 1024
_V3 = re.compile(r"/v3(?:beta1)?/(projects/([\w-]+)(?:/locations/([\w-]+))?):translateText")
_LANGUAGES = re.compile(
    "a[fmrz]|b[egns]|c[asy]|d[ae]|e[lnostu]|f[air]|fil|g[alu]|h[aeirtuy]|i[dgstw]|j[aw]|k[akmnouy]|l[botv]|m[gkilnrsty]|n[elo]|or|"
    "p[alst]|r[ouw]|s[dkilmnoqrtuvw]|t[aeghklrt]|u[grkz]|vi|xh|y[io]|z[hu]"
)
_REGIONS = frozenset({"zh-cn", "zh-tw", "zh-hans", "zh-hant", "pt-br", "pt-pt", "fr-ca", "fr-fr"})
_STATUS = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED",
           413: "INVALID_ARGUMENT", 500: "INTERNAL", 503: "UNAVAILABLE"}  # fmt: skip
_V2_FIELDS = frozenset({"q", "target", "source", "format", "model", "cid", "key", "alt", "prettyPrint"})
_V3_FIELDS = frozenset({
    "contents", "mimeType", "sourceLanguageCode", "targetLanguageCode", "model", "glossaryConfig", "transliterationConfig", "labels",
    "parent",
})  # fmt: skip


class Invalid(Exception):
    """What is wrong with a request, in Google's words."""


class Manners:
    """How Google says what is wrong; v2 and v3 alike but for what they call a request too fast."""

    def __init__(self, version: int) -> None:
        self._version = version

    def error(
        self, status: int, message: str, *, reason: str | None = None, headers: dict[str, str] | None = None
    ) -> Reply:
        body: dict[str, Any] = {"code": status, "message": message, "status": _STATUS[status]}
        if self._version == 2:
            body["errors"] = [{"message": message, "domain": "global", "reason": reason or "invalid"}]
        if reason == "API_KEY_INVALID":
            body["details"] = [
                {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "googleapis.com"}
            ]
        return Reply(status, {"error": body}, headers or {})

    def unauthorized(self, headers: Mapping[str, str]) -> Reply | None:
        key, bearer = headers.get("x-goog-api-key"), headers.get("authorization")
        if key == "wrong":
            return self.error(400, "API key not valid. Please pass a valid API key.", reason="API_KEY_INVALID")
        if bearer == "Bearer wrong":
            return self.error(
                401,
                "Request had invalid authentication credentials. Expected OAuth 2 access token.",
                reason="authError",
            )
        if not key and not bearer:
            words = "Method doesn't allow unregistered callers (callers without established identity)."
            return self.error(403, words, reason="forbidden")
        return None

    def too_large(self) -> Reply:
        return self.error(413, "Request payload size exceeds the limit: 33554432 bytes.")

    def rate_limited(self, after_s: float | None, config: Config) -> Reply:
        if self._version == 2 and after_s is None:
            return self.error(403, "User Rate Limit Exceeded", reason="userRateLimitExceeded")
        words = "Quota exceeded for quota metric 'v2 and v3 general model characters' and limit 'per minute per user'."
        headers = {} if after_s is None else {"retry-after": f"{after_s:.3g}"}
        return self.error(429, words, reason="rateLimitExceeded", headers=headers)

    def overloaded(self) -> Reply:
        return self.error(503, "The service is currently unavailable.", reason="backendError")

    def server_error(self) -> Reply:
        return self.error(500, "Internal error encountered.", reason="backendError")

    def no_credit(self, config: Config) -> Reply:
        words = (
            "This API method requires billing to be enabled. Please enable billing on project #loopback, then retry."
        )
        return self.error(403, words, reason="accountDisabled")

    def limit_headers(self, key: str, requests: Bucket | None, inputs: Bucket | None) -> dict[str, str]:
        return {}


V2, V3 = Manners(2), Manners(3)


class Google:
    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    def forget(self) -> None:
        """It remembers nothing."""

    async def handle(self, request: web.BaseRequest, path: str) -> web.StreamResponse | None:
        """None where the path is not one of ours."""
        if path == "/language/translate/v2" and request.method in ("GET", "POST"):
            return await self._v2(request)
        if request.method == "POST" and (match := _V3.fullmatch(path)):
            return await self._v3(request, match[2], match[1] if match[3] else f"{match[1]}/locations/global")
        if path == "/token" and request.method == "POST":  # where a service account gets its bearer token
            return send(
                self._provider, Reply(200, {"access_token": "loopback", "expires_in": 3600, "token_type": "Bearer"})
            )
        return None

    async def _v2(self, request: web.BaseRequest) -> web.StreamResponse:
        provider = self._provider
        headers: Mapping[str, str] = request.headers
        if "key" in request.query:
            headers = {"x-goog-api-key": request.query["key"]}
        raw = await checked_body(provider, _Keyed(headers), request)
        if isinstance(raw, web.Response):
            return raw
        if len(raw) > MOST_BYTES_V2:
            return send(
                provider, V2.error(400, "Request payload size exceeds the limit: 102400 bytes.", reason="badRequest")
            )
        try:
            asked = _merged(request, raw)
            texts, source, target, html = _read_v2(asked)
        except Invalid as problem:
            return send(provider, V2.error(400, str(problem)))

        def produce(name: str) -> Produced:
            met: list[str] = []
            translations = []
            for text in texts:
                given = source or tongues.guess(text)
                one = {"translatedText": segment(provider.config, text, given, target, html=html, met=met)}
                if not source:
                    one["detectedSourceLanguage"] = given
                if asked.get("model"):
                    one["model"] = asked["model"]
                translations.append(one)
            return {"data": {"translations": translations}}, Usage(characters=sum(map(len, texts))), met

        return await meet(provider, V2, request, raw or request.query_string.encode(), 0, produce)

    async def _v3(self, request: web.BaseRequest, project: str, parent: str) -> web.StreamResponse:
        provider = self._provider
        raw = await checked_body(provider, V3, request)
        if isinstance(raw, web.Response):
            return raw
        if project == "wrong":
            words = f"Permission 'cloudtranslate.generalModels.predict' denied on resource '{parent}'."
            return send(provider, V3.error(403, words))
        try:
            body = json.loads(raw)
            texts, source, target, html = _read_v3(body)
        except Invalid as problem:
            return send(provider, V3.error(400, str(problem)))
        except ValueError:
            return send(provider, V3.error(400, "Invalid JSON payload received."))
        model = body.get("model") or f"{parent}/models/general/nmt"
        if model.endswith("no-such-model"):
            return send(provider, V3.error(404, f"Model not found: {model}"))
        glossary = body.get("glossaryConfig")

        def produce(name: str) -> Produced:
            met: list[str] = []
            translations = []
            for text in texts:
                given = source or tongues.guess(text)
                one = {
                    "translatedText": segment(provider.config, text, given, target, html=html, met=met),
                    "model": model,
                }
                translations.append(one if source else {**one, "detectedLanguageCode": given})
            payload = {"translations": translations}
            if glossary:
                payload["glossaryTranslations"] = [{**one, "glossaryConfig": glossary} for one in translations]
            return payload, Usage(characters=sum(map(len, texts))), met

        return await meet(provider, V3, request, raw, 0, produce)


class _Keyed(Manners):
    """v2, with the headers that a `?key=` stands for."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        super().__init__(2)
        self._headers = headers

    def unauthorized(self, headers: Mapping[str, str]) -> Reply | None:
        return super().unauthorized(self._headers)


def _merged(request: web.BaseRequest, raw: bytes) -> dict[str, Any]:
    """The parameters of a v2 request, from its query and from its body, which is JSON or a form."""
    asked: dict[str, Any] = {
        name: request.query.getall(name) if name == "q" else request.query[name] for name in request.query
    }
    if not raw:
        return asked
    if request.content_type == "application/x-www-form-urlencoded":
        form = parse_qs(raw.decode(errors="replace"))
        return asked | {name: values if name == "q" else values[0] for name, values in form.items()}
    try:
        body = json.loads(raw)
    except ValueError:
        raise Invalid("Invalid JSON payload received.") from None
    if not isinstance(body, dict):
        raise Invalid("Invalid JSON payload received.")
    return asked | body


def _read_v2(asked: dict[str, Any]) -> tuple[list[str], str | None, str, bool]:
    for name in asked:
        if name not in _V2_FIELDS:
            raise Invalid(f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.')
    texts = asked.get("q")
    texts = [texts] if isinstance(texts, str) else texts
    if not texts or not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise Invalid("Required Text")
    if len(texts) > MOST_SEGMENTS_V2:
        raise Invalid("Too many text segments")
    if sum(map(len, texts)) > MOST_CODEPOINTS:
        raise Invalid("User Request Size Limit Exceeded: text too long")
    if asked.get("format") not in (None, "text", "html"):
        raise Invalid("Invalid Value: format")
    if asked.get("model") not in (None, "", "nmt", "base"):
        raise Invalid(f"Invalid Value: model {asked['model']}")
    if not asked.get("target"):
        raise Invalid("Required parameter: target")
    source, target = asked.get("source") or None, asked["target"]
    for name, code in (("source", source), ("target", target)):
        if code is not None and not _known(code):
            raise Invalid(f"Invalid Value: {name} language {code}")
    if source is not None and source.lower() == target.lower():
        raise Invalid(f"Bad language pair: {source}|{target}")
    return texts, source, target, asked.get("format", "html") != "text"


def _read_v3(body: Any) -> tuple[list[str], str | None, str, bool]:
    if not isinstance(body, dict):
        raise Invalid("Invalid JSON payload received.")
    for name in body:
        if name not in _V3_FIELDS:
            raise Invalid(f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.')
    texts = body.get("contents")
    if not texts or not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise Invalid("Contents field is required.")
    if len(texts) > MOST_SEGMENTS_V3:
        raise Invalid(f"Number of contents {len(texts)} exceeds the maximum limit of {MOST_SEGMENTS_V3}.")
    if (size := sum(map(len, texts))) > MOST_CODEPOINTS:
        raise Invalid(f"Text is too long. The total codepoints {size} exceed the maximum of {MOST_CODEPOINTS}.")
    if body.get("mimeType", "text/html") not in ("text/html", "text/plain", ""):
        raise Invalid("Invalid MIME type; supported: text/plain, text/html.")
    source, target = body.get("sourceLanguageCode") or None, body.get("targetLanguageCode")
    if not target:
        raise Invalid("Target language code is required.")
    for name, code in (("Source", source), ("Target", target)):
        if code is not None and not _known(code):
            raise Invalid(f"{name} language code {code} is invalid.")
    if source is not None and source.lower() == target.lower():
        raise Invalid("Target language can't be equal to source language.")
    return texts, source, target, body.get("mimeType") != "text/plain"


def _known(code: Any) -> bool:
    return isinstance(code, str) and (_LANGUAGES.fullmatch(code) is not None or code.lower() in _REGIONS)
