"""One tree of errors. Each message says what is wrong, where, and how to put it right."""

from collections.abc import Iterable
from difflib import get_close_matches


class TilthError(Exception):
    """Root of every error Tilth raises on purpose; a command prints it as one line."""

    exit_code = 1


class InputError(TilthError, ValueError):
    """What the user gave cannot be used: a key, a file, a value. Exit code 2."""

    exit_code = 2


class NotFound(InputError, LookupError):
    """A name that stands for nothing: a prompt, a provider, an example id."""


class WorkspaceError(InputError, OSError):
    """The workspace cannot be read or written: missing, read-only, full, or from a newer Tilth."""


class ProviderError(TilthError, RuntimeError):
    """A provider failed for good: wrong key, unknown model, a request it will never take."""


class RequestRejected(ProviderError):
    """A provider will never take this one request (too long, an image too large); others may pass."""


class TransientError(ProviderError):
    """A provider failed for now; the same request may succeed later.

    Args:
        kind: what went wrong, in a word or two, as it is counted and shown: `rate limit`, `overloaded`, `timeout`, ...
        retry_after_s: how long the provider asks to be left alone.
        maybe_paid: the request was taken, so it may be on the bill although no answer came.
    """

    def __init__(
        self, message: str, *, kind: str = "failed", retry_after_s: float | None = None, maybe_paid: bool = False
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.retry_after_s = retry_after_s
        self.maybe_paid = maybe_paid


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """` Did you mean 'x'?` with the nearest known name, else the known names, else nothing."""
    names = sorted(set(known))
    if near := get_close_matches(name, names, n=1, cutoff=0.6):
        return f" Did you mean {near[0]!r}?"
    if not names:
        return ""
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else ".")
    return f" Known: {shown}"
