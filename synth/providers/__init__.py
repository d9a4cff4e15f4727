"""The table of providers. Adding one is a file and a line here."""

from collections.abc import Sequence

from curation.errors import NotFound, did_you_mean
from synth.prompts import Prompt
from synth.providers.base import Provider
from synth.providers.offline import Offline, OfflineSettings

NAMES = ("offline",)


def connect(name: str, *, prompts: Sequence[Prompt], offline: OfflineSettings) -> Provider:
    """The provider of that name, ready to answer."""
    if name == "offline":
        return Offline(offline, prompts)
    raise NotFound(f"no provider {name!r}.{did_you_mean(name, NAMES)}")
