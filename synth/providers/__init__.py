"""The table of providers. Adding one is a file and a line here."""

from collections.abc import Sequence

from curation.errors import NotFound, did_you_mean
from synth.plan import Plan
from synth.providers.base import Provider
from synth.providers.offline import Offline, OfflineSettings

NAMES = ("offline",)


def connect(name: str, *, plans: Sequence[Plan], offline: OfflineSettings) -> Provider:
    """The provider of that name, ready to answer these plans."""
    if name == "offline":
        return Offline(offline, plans)
    raise NotFound(f"no provider {name!r}.{did_you_mean(name, NAMES)}")
