"""What many prompts begin with, run through a model once: its keys and values stand in front of every batch."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel
    from transformers.cache_utils import Cache

SHARE = 0.8  # of the prompts have to begin alike


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two prompts have in common at their start."""
    for at, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return at
    return min(len(one), len(other))


def most_share(prompts: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The longest start that at least four in five of the prompts (two or more) have, but for their last token."""
    ordered = sorted(prompts)
    step = max(2, int(len(ordered) * SHARE))
    best: tuple[int, ...] = ()
    for low in range(len(ordered) - step + 1):
        one = ordered[low]
        length = min(common(one, ordered[low + step - 1]), len(one) - 1)
        if length > len(best):
            best = one[:length]
    return best


def can_share(model: "PreTrainedModel") -> bool:
    """Whether all that a model keeps of past tokens is plain keys and values, which batches can read together."""
    from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

    try:
        layers = DynamicCache(config=model.config).layers
    except (AttributeError, KeyError, TypeError, ValueError):  # a configuration that no cache can be made for
        return False
    return bool(layers) and all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers)


@dataclass(frozen=True, slots=True)
class Prefix:
    """Tokens, and each layer's keys and values of them: (1, heads, tokens, width)."""

    ids: tuple[int, ...]
    layers: "tuple[tuple[torch.Tensor, torch.Tensor], ...]"

    @classmethod
    def of(cls, model: "PreTrainedModel", ids: tuple[int, ...]) -> "Prefix":
        import torch
        from transformers.cache_utils import DynamicCache

        cache = DynamicCache()
        with torch.no_grad():
            tokens = torch.tensor([ids], device=model.device)
            model(input_ids=tokens, past_key_values=cache, use_cache=True, logits_to_keep=1)
        kept: list[Any] = cache.layers
        return cls(ids, tuple((layer.keys, layer.values) for layer in kept))

    def fits(self, prompt: tuple[int, ...]) -> bool:
        """Whether a prompt starts with it and has more."""
        return len(prompt) > len(self.ids) and prompt[: len(self.ids)] == self.ids

    def reaches(self, model: "PreTrainedModel", more: int) -> bool:
        """Whether the last of `more` tokens still sees the first of the prefix.

        Padding stands between the two, so a window over the last so many places would close too early.
        """
        config: Any = model.config.get_text_config()
        windows = [getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size")]
        return all(window is None or len(self.ids) + more <= window for window in windows)

    def rows(self, model: "PreTrainedModel", most: int, least: int) -> int:
        """How many rows to give the prefix to at once. A CPU copies it for each row and each head that asks; a GPU takes them all."""
        if model.device.type != "cpu":
            return sys.maxsize
        keys = self.layers[0][0]
        config: Any = model.config.get_text_config()
        heads = int(getattr(config, "num_attention_heads", None) or keys.shape[1])
        return max(least, most // (keys[0, 0].numel() * heads * keys.element_size()))

    def cache(self) -> "Cache":
        """A cache for one forward pass over any number of rows; nothing of them stays in it."""
        from transformers.cache_utils import Cache, DynamicLayer

        plain: Any = DynamicLayer
        layers: list[Any] = []
        for keys, values in self.layers:
            layer = plain()
            layer.lazy_initialization(keys, values)
            layer.keys, layer.values, layer.update = keys, values, partial(_in_front, keys, values)
            layers.append(layer)
        return Cache(layers=layers)


def _in_front(
    keys: "torch.Tensor",
    values: "torch.Tensor",
    new_keys: "torch.Tensor",
    new_values: "torch.Tensor",
    *_: Any,
    **__: Any,
) -> "tuple[torch.Tensor, torch.Tensor]":
    """The shared states in front of each row's own. They are a copy for one layer, gone when the next is computed."""
    import torch

    rows = new_keys.shape[0]
    return (
        torch.cat([keys.expand(rows, -1, -1, -1), new_keys], dim=-2),
        torch.cat([values.expand(rows, -1, -1, -1), new_values], dim=-2),
    )
