"""A loopback server that speaks as Anthropic, Together, OpenAI and Google Translate do, with faults on demand."""

from .server import FakeProvider, Spawned

__all__ = ["FakeProvider", "Spawned"]
