"""The table of providers. Adding one is a file and a line here. An SDK is loaded when its provider is used, not before."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from curation.errors import NotFound, did_you_mean
from synth.plan import Plan
from synth.providers.base import Provider

if TYPE_CHECKING:
    from synth.config import AskSettings
    from synth.pricing import Price

TABLE = {
    "offline": "synth.providers.offline",
    "anthropic": "synth.providers.anthropic",
    "together": "synth.providers.together",
    "openai": "synth.providers.openai",
    "transformers": "synth.providers.transformers",
}  # each has connect(settings, plans, assets, price) -> Provider


def connect(
    settings: "AskSettings", *, plans: Sequence[Plan] = (), assets: Path | None = None, price: "Price | None" = None
) -> Provider:
    """The provider that the settings name, ready to answer these plans.

    Args:
        assets: the folder of the images that requests name by their sha256.
        price: what is known of the model; says whether it can be held to a schema.

    Raises:
        InputError: no such provider, no model or key, or a setting that it does not take.
    """
    if settings.provider not in TABLE:
        raise NotFound(f"no provider {settings.provider!r}.{did_you_mean(settings.provider, TABLE)}")
    provider: Provider = import_module(TABLE[settings.provider]).connect(settings, plans, assets, price)
    return provider
