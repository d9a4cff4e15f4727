"""Google's two official translation clients as one blocking call each, with their errors in our words."""

import os
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, NoReturn, Protocol

from curation.errors import InputError, ProviderError, RequestRejected, TransientError
from synth.providers.base import CONNECTION, CUT_OFF, OVERLOADED, RATE_LIMIT, SERVER, TIMEOUT

KEY, ACCOUNT, PROJECT = "GOOGLE_API_KEY", "GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT"
SCOPE = "https://www.googleapis.com/auth/cloud-translation"


class Service(Protocol):
    """One of Google's translation APIs."""

    most_segments: int  # of one call
    most_codepoints: int
    most_bytes: int  # of the texts as JSON

    def translate(self, texts: Sequence[str], source: str, target: str, html: bool) -> list[str]:
        """The translation of each text, in order; called from several threads.

        Raises:
            TransientError, RequestRejected, ProviderError: as for `Provider.answer`.
            InputError: a language that Google does not know.
        """
        ...

    def close(self) -> None: ...


def open_service(model: str, base_url: str | None, timeout_s: float) -> Service:
    """The API that the environment has credentials for; the API key goes first."""
    if key := os.environ.get(KEY):
        return Basic(key, model, base_url, timeout_s)
    if os.environ.get(ACCOUNT):
        return Advanced(os.environ[ACCOUNT], model, base_url, timeout_s)
    raise InputError(
        f"translator=google: no credentials; set {KEY} (an API key), or {ACCOUNT} (a service account's JSON file); docs/translation.md"
    )


class Basic:
    """Cloud Translation v2, with an API key."""

    most_segments, most_codepoints, most_bytes = 128, 30_000, 100_000

    def __init__(self, key: str, model: str, base_url: str | None, timeout_s: float) -> None:
        authorized: Any = import_module("google.auth.transport.requests").AuthorizedSession

        class Session(authorized):  # type: ignore[misc]
            """Google's session with our timeout: its v2 client has no setting for one."""

            def request(self, *words: Any, **named: Any) -> Any:
                return super().request(*words, **{**named, "timeout": timeout_s})

        credentials = import_module("google.auth.api_key").Credentials(key)
        self._session: Any = Session(credentials, refresh_status_codes=())
        _widen(self._session)
        self._client = import_module("google.cloud.translate_v2").Client(
            credentials=credentials,
            _http=self._session,
            client_options={"api_endpoint": base_url.rstrip("/")} if base_url else None,
        )
        self._model = model

    def translate(self, texts: Sequence[str], source: str, target: str, html: bool) -> list[str]:
        found = _asked(
            lambda: self._client.translate(
                list(texts), target_language=target, source_language=source, format_="html" if html else "text",
                model=self._model,
            ), source, target,
        )  # fmt: skip
        return [str(one["translatedText"]) for one in found]

    def close(self) -> None:
        self._session.close()


class Advanced:
    """Cloud Translation v3, with a service account."""

    most_segments, most_codepoints, most_bytes = 1_024, 30_000, 1 << 20

    def __init__(self, account: str, model: str, base_url: str | None, timeout_s: float) -> None:
        accounts: Any = import_module("google.oauth2.service_account").Credentials
        try:
            credentials = accounts.from_service_account_file(account, scopes=[SCOPE])
        except OSError as error:
            raise InputError(f"{ACCOUNT}={account}: cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise InputError(f"{ACCOUNT}={account}: not the JSON key of a service account ({error})") from error
        project = os.environ.get(PROJECT) or credentials.project_id
        if not project:
            raise InputError(f"{ACCOUNT}={account}: names no project; set {PROJECT}")
        self._client: Any = import_module("google.cloud.translate_v3").TranslationServiceClient(
            credentials=credentials,
            transport="rest",
            client_options={"api_endpoint": base_url.rstrip("/")} if base_url else None,
        )
        _widen(self._client.transport._session)
        self._parent = f"projects/{project}/locations/global"
        path = model if "/" in model else f"general/{model}"
        self._model = path if path.startswith("projects/") else f"{self._parent}/models/{path}"
        self._timeout_s = timeout_s

    def translate(self, texts: Sequence[str], source: str, target: str, html: bool) -> list[str]:
        question = {
            "parent": self._parent, "contents": list(texts), "mime_type": "text/html" if html else "text/plain",
            "source_language_code": source, "target_language_code": target, "model": self._model,
        }  # fmt: skip
        found = _asked(
            lambda: self._client.translate_text(request=question, retry=None, timeout=self._timeout_s), source, target
        )
        translations = [str(one.translated_text) for one in found.translations]
        if len(translations) != len(texts):
            raise TransientError("google: not as many translations as texts", kind=CUT_OFF, maybe_paid=True)
        return translations

    def close(self) -> None:
        self._client.transport.close()


def _widen(session: Any) -> None:
    """Give a session a connection for each thread."""
    for scheme in ("https://", "http://"):
        session.mount(scheme, import_module("requests.adapters").HTTPAdapter(pool_maxsize=64))


# -- errors ------------------------------------------------------------------------------------------------------


def _asked(call: Callable[[], Any], source: str, target: str) -> Any:
    """What a call gives, its exceptions translated."""
    import requests
    from google.api_core.exceptions import GoogleAPICallError
    from google.auth.exceptions import GoogleAuthError, TransportError

    unreadable: Any = import_module("google.protobuf.json_format").ParseError
    try:
        return call()
    except GoogleAPICallError as error:
        _raise_refused(error, source, target)
    except TransportError as error:
        raise TransientError(f"google: no connection for signing in: {error}", kind=CONNECTION) from error
    except GoogleAuthError as error:
        raise ProviderError(f"google: the credentials were refused ({error}); check {KEY} or {ACCOUNT}") from error
    except requests.Timeout as error:
        raise TransientError(f"google: no answer in time ({error})", kind=TIMEOUT, maybe_paid=True) from error
    except requests.ConnectionError as error:
        raise TransientError(f"google: no connection ({error})", kind=CONNECTION) from error
    except (requests.RequestException, unreadable, ValueError, KeyError) as error:
        raise TransientError(f"google: the answer broke off ({error})", kind=CUT_OFF, maybe_paid=True) from error


def _raise_refused(error: Any, source: str, target: str) -> NoReturn:
    code, said = int(error.code or 0), _message(error)
    low = said.lower()
    wait = _retry_after(error)
    if code == 429 or (code == 403 and "rate limit" in low and "daily" not in low):
        raise TransientError(f"google: {said}", kind=RATE_LIMIT, retry_after_s=wait) from error
    if code in (408, 504):
        raise TransientError(f"google: {said}", kind=TIMEOUT, maybe_paid=True) from error
    if code >= 500:
        kind = OVERLOADED if code == 503 else SERVER
        raise TransientError(f"google: {said} ({code})", kind=kind, retry_after_s=wait) from error
    if code == 401 or (code == 400 and "api key" in low):
        raise ProviderError(f"google: the key was refused ({said}); check {KEY} or {ACCOUNT}") from error
    if code == 403:
        raise ProviderError(
            f"google: not allowed ({said}); check that the key is right, the Cloud Translation API is enabled, and billing is on"
        ) from error
    if code == 400 and any(word in low for word in ("language", "bad pair", "target")):
        raise InputError(f"to={target}: Google does not translate from {source} to {target} ({said})") from error
    if code == 404:
        raise ProviderError(f"google: {said}; check model, base_url and the project") from error
    raise RequestRejected(f"google: {said} ({code})") from error


def _message(error: Any) -> str:
    """What Google said, with the field it complains of, without the URL that its client puts before it."""
    said = str(error.message).split(": ", 1)[-1] if "://" in str(error.message) else str(error.message)
    violations = [
        str(violation.get("description", ""))
        for detail in error.details or ()
        if isinstance(detail, dict)
        for violation in detail.get("fieldViolations", ())
    ]
    return " ".join([said, *(f"({one})" for one in violations if one and one not in said)]).strip()


def _retry_after(error: Any) -> float | None:
    headers = getattr(error.response, "headers", None) or {}
    try:
        return max(0.0, float(headers.get("retry-after", "")))
    except ValueError:
        return None
