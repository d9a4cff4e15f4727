"""Texts as vectors, by an encoder of the `transformers` library: a local folder or a hub id.

A text is the mean of its tokens' last hidden states, of length 1, so that a dot product is a cosine (Reimers and Gurevych 2019). Models that
want a prefix (`query: `) or another pooling are none for this.
"""

from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synth.providers.local_model import clear_errors, identity, library, must_be_a_model

MOST_TOKENS = 512  # of a text; what is longer is cut
BATCH = 32


class Embedder:
    """An encoder, its weights loaded when the first text comes.

    Args:
        name: a folder or a hub id.

    Raises:
        InputError: its libraries are not installed, or it is no model that can be loaded.
        ProviderError: the hub does not answer.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._library = library("retriever=dense", "dense")
        must_be_a_model(name, "embedder")
        with clear_errors(name, "embedder"):
            self._config = self._library.AutoConfig.from_pretrained(name)
            self._tokenizer = self._library.AutoTokenizer.from_pretrained(name)
        self.identity = identity(name, self._config)
        stated = getattr(self._config, "max_position_embeddings", None) or MOST_TOKENS
        self._most = min(MOST_TOKENS, stated, self._tokenizer.model_max_length)
        self._weights: Any = None

    def of(self, texts: list[str]) -> NDArray[np.float32]:
        """One row of length 1 for each text: float32, (texts, dimensions)."""
        torch = import_module("torch")
        if self._weights is None:
            with clear_errors(self.name, "embedder"):
                weights = self._library.AutoModel.from_pretrained(self.name, dtype=torch.float32)
            self._weights = weights.to("cuda" if torch.cuda.is_available() else "cpu").eval()
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))  # of like length, little is padded
        rows: list[Any] = [None] * len(texts)
        for start in range(0, len(order), BATCH):
            places = order[start : start + BATCH]
            given = self._tokenizer(
                [texts[place] or " " for place in places], padding=True, truncation=True, max_length=self._most, return_tensors="pt"
            ).to(self._weights.device)  # fmt: skip
            given.pop("token_type_ids", None)
            with torch.inference_mode():
                states = self._weights(**given).last_hidden_state
            mask = given["attention_mask"].unsqueeze(-1).to(states.dtype)
            means = (states * mask).sum(1) / mask.sum(1).clamp(min=1)
            means = torch.nn.functional.normalize(means, dim=1)
            for place, row in zip(places, means.cpu().numpy(), strict=True):
                rows[place] = row
        return np.stack(rows)
