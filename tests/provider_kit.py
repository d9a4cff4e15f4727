"""Runs against the loopback server, for the tests of real providers."""

import os
from pathlib import Path
from typing import Any

import anthropic  # noqa: F401  # loaded once for all processes that are forked with this
import yaml

KEYS = {"anthropic": "ANTHROPIC_API_KEY", "together": "TOGETHER_API_KEY", "openai": "OPENAI_API_KEY"}
MODELS = {"anthropic": "claude-haiku-4-5", "together": "openai/gpt-oss-20b", "openai": "local-model"}
PRICE = {
    "input": 1.0, "output": 5.0, "cache_read": 0.1, "cache_write": 1.25, "batch": 0.5, "structured": False,
    "source": "the loopback server", "as_of": "2026-11-21",
}  # fmt: skip
POSTS: dict[str, Any] = {
    "task": "moderation",
    "description": "Everyday posts in four languages.",
    "labels": {"label": "allowed"},
    "per_request": 5,
    "axes": {"thing": ["bus", "parcel", "plumber"], "mood": ["glad", "cross"]},
    "language": ["en", "zh", "ms", "ta"],
    "output": {"text": "the post"},
    "system": "You write what people post in {{ language_name }}.",
    "user": "Write {{ per_request }} {{ mood }} posts on waiting for a {{ thing }}. {{ format_instructions }}",
}


def asking(provider: str, server: Any, folder: Path, **settings: Any) -> dict[str, Any]:
    """Settings that make a command ask the loopback server, with a key in the environment and the server's own prices."""
    os.environ[KEYS[provider]] = "right"
    table = folder / "pricing.yaml"
    table.write_text(yaml.safe_dump({name: {MODELS[name]: PRICE} for name in MODELS}))
    return {
        "provider": provider, "model": MODELS[provider], "base_url": getattr(server, f"{provider}_url"),
        "pricing": table, "yes": True, "max_tokens": 2000, **settings,
    }  # fmt: skip
