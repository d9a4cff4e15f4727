"""P(disallowed) of texts from the exact logits of the label tokens: one forward pass a batch, nothing is sampled.

The model is asked as it was trained: the chat template's rendering of a whole conversation, cut off behind `{"label":"`. What
follows there says the label. With a, d the tokens of the two labels from the first that differs on,
P = p(d) / (p(a) + p(d)); tokens that both labels begin with are part of the prompt (their factor cancels). A label of
several tokens counts with the product of them all: the later ones are fed behind the prompt in the same forward pass.

Rows are sorted by length and padded on the left. What most prompts begin with (system prompt and policy) is run through the model
once; its keys and values are read by every batch.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from curation.errors import InputError
from train.data import moderation_prompt
from train.prefix import Prefix, can_share, common, most_share

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

ANSWER = '{"label":"'
AFTER = '","category":"none","severity":0}'
LEAST_SHARED = 16  # tokens; below that a cache costs more than it saves
MOST_KEYS = (
    16 * 2**20
)  # bytes of one layer's keys that a CPU copies for a batch: of more, the time goes into fetching memory
LEAST_ROWS = 8  # of a batch, whatever its keys take
MARK = "\n[...]\n"  # stands where a long text was cut


@dataclass(frozen=True, slots=True)
class Score:
    """What came of one text: a probability, or the reason why there is none."""

    probability: float | None
    mass: float | None = None  # p(allowed) + p(disallowed): how far the model answers in this form at all
    cut: bool = False  # the text was longer than the model takes, so its middle was left out
    reason: str = ""


@dataclass(frozen=True, slots=True)
class LabelTokens:
    """The tokens that decide: `shared` begins either label, `allowed` and `disallowed` start with different tokens."""

    prefix: str  # the text before the label
    shared: tuple[int, ...]
    allowed: tuple[int, ...]
    disallowed: tuple[int, ...]
    tail: tuple[int, ...]  # of the rendering with `allowed`, all that follows the prompt and `shared`


def label_tokens(tokenizer: "PreTrainedTokenizerBase") -> LabelTokens:
    """Find the label tokens by comparing the renderings of both answers.

    Raises:
        InputError: the tokenizer has no chat template, or one that does not show the answer, or it cannot tell the labels apart.
    """
    head = _rendered(tokenizer, "text", "")
    ids = {label: _ids(tokenizer, head + ANSWER + label + AFTER) for label in ("allowed", "disallowed")}
    same = common(ids["allowed"], ids["disallowed"])
    deciding = {label: _deciding(tokenizer, ids[label], same, ANSWER + label) for label in ids}
    if not deciding["allowed"] or not deciding["disallowed"]:
        raise InputError("the tokenizer gives both labels the same tokens; use another base model")
    before = len(_ids(tokenizer, head))
    return LabelTokens(
        ANSWER,
        tuple(ids["allowed"][before:same]),
        deciding["allowed"],
        deciding["disallowed"],
        tuple(ids["allowed"][same:]),
    )


def _deciding(tokenizer: "PreTrainedTokenizerBase", ids: list[int], same: int, wanted: str) -> tuple[int, ...]:
    """The tokens from `same` on, up to the one that ends the label."""
    for end in range(same + 1, len(ids)):
        if wanted in str(tokenizer.decode(ids[:end], clean_up_tokenization_spaces=False)):
            return tuple(ids[same:end])
    return tuple(ids[same:])


def _rendered(tokenizer: "PreTrainedTokenizerBase", text: str, policy: str) -> str:
    """The conversation as it is trained on, up to where the assistant's answer starts."""
    from jinja2 import TemplateError

    system, user = moderation_prompt(text)
    if policy:
        system = {**system, "content": f"{system['content']}\n\n{policy}"}
    answer = ANSWER + "allowed" + AFTER
    try:
        whole = str(
            tokenizer.apply_chat_template([system, user, {"role": "assistant", "content": answer}], tokenize=False)
        )
    except (TemplateError, ValueError) as error:
        raise InputError(f"the tokenizer's chat template cannot be used: {error}") from error
    head, found, _ = whole.rpartition(answer)
    if not found:
        raise InputError("the tokenizer's chat template does not show the assistant's answer as it is; use another")
    return head


def _ids(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def scores(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    texts: Sequence[str],
    *,
    policy: str = "",
    max_length: int | None = None,
    batch_size: int = 64,
    batch_tokens: int = 4096,
    share_prefix: bool = True,
) -> "np.ndarray[Any, np.dtype[np.float64]]":
    """P(disallowed) of each text, shape (len(texts),), float64; NaN for an empty text.

    Args:
        policy: text that is added to the system prompt.
        max_length: tokens of a prompt; of longer texts the middle is left out. As many as the model takes, if not given.
        batch_size, batch_tokens: the most rows of a batch, and the most tokens that it may have with its padding.
        share_prefix: whether what most prompts begin with is computed once.

    Raises:
        InputError: the labels cannot be told apart, or the policy leaves no room for a text.
    """
    import numpy as np

    scorer = Scorer(
        model, tokenizer, policy=policy, max_length=max_length, batch_size=batch_size, batch_tokens=batch_tokens,
        share_prefix=share_prefix,
    )  # fmt: skip
    found = [score.probability for score in scorer.score(texts)]
    return np.array([math.nan if p is None else p for p in found], dtype=np.float64)


@dataclass(frozen=True, slots=True)
class _Row:
    place: int  # in the texts given
    ids: tuple[int, ...]  # prompt, answer's beginning and shared label tokens
    cut: bool


class Scorer:
    """Scores texts by a causal language model. The arguments are those of `scores`."""

    def __init__(
        self,
        model: "PreTrainedModel",
        tokenizer: "PreTrainedTokenizerBase",
        *,
        policy: str = "",
        max_length: int | None = None,
        batch_size: int = 64,
        batch_tokens: int = 4096,
        share_prefix: bool = True,
    ) -> None:
        self.model, self.tokenizer, self.policy = model, tokenizer, policy
        self.labels = label_tokens(tokenizer)
        self._special = special_tokens(tokenizer)
        room = longest(model) - len(self.labels.tail)
        self.max_length = min(max_length or room, room)
        self._batch_size, self._batch_tokens = batch_size, batch_tokens
        empty = len(self._encoded([""])[0])
        if empty + 16 > self.max_length:
            raise InputError(
                f"system prompt and policy are {empty} tokens, which leaves no room for texts in max_length={self.max_length}"
            )
        self._sharing = share_prefix and can_share(model)
        self._prefixes: list[
            Prefix
        ] = []  # the one that all prompts have, and the longest that most of the last window had
        a, z = self._encoded(["a", "?"])
        self._remember(tuple(a[: common(a, z)]), keep=0)

    def score(self, texts: Sequence[str]) -> list[Score]:
        """One score a text, in order."""
        import torch

        found: list[Score | None] = [None] * len(texts)
        rows: list[_Row] = []
        for place, row in zip(range(len(texts)), self._rows(texts), strict=True):
            if isinstance(row, Score):
                found[place] = row
            else:
                rows.append(row)
        model: Any = self.model
        training = model.training
        model.eval()
        with torch.no_grad():  # not inference mode: a model in training may keep what it makes here
            for prefix, group in self._groups(rows):
                size = (
                    min(self._batch_size, prefix.rows(self.model, MOST_KEYS, LEAST_ROWS))
                    if prefix
                    else self._batch_size
                )
                for batch in batches(group, len(prefix.ids) if prefix else 0, size, self._batch_tokens):
                    for row, (probability, mass) in zip(batch, self._forward(batch, prefix), strict=True):
                        bad = not math.isfinite(probability)
                        reason = "the model's logits are not finite" if bad else ""
                        found[row.place] = Score(None if bad else probability, mass, row.cut, reason)
        model.train(training)
        return [score for score in found if score is not None]

    # -- tokens --------------------------------------------------------------------------------------------------

    def _encoded(self, texts: Sequence[str]) -> list[list[int]]:
        """The token ids of prompts, without what follows the label's shared tokens; [] if the label is split otherwise there."""
        if not texts:
            return []
        ends = ANSWER + "allowed" + AFTER
        whole = [_rendered(self.tokenizer, text, self.policy) + ends for text in texts]
        tail = list(self.labels.tail)
        encoded = self.tokenizer(whole, add_special_tokens=False)["input_ids"]
        return [list(ids[: -len(tail)]) if list(ids[-len(tail) :]) == tail else [] for ids in encoded]

    def _rows(self, texts: Sequence[str]) -> Iterator[_Row | Score]:
        step = 256  # renderings held at a time
        for start in range(0, len(texts), step):
            plain = [disarmed(text, self._special) for text in texts[start : start + step]]
            sized = [shortened(text, 4 * self.max_length) for text in plain]
            for offset, ids in enumerate(self._encoded(sized)):
                text, cut = sized[offset], sized[offset] != plain[offset]
                if not text.strip():
                    yield Score(None, reason="the text is empty")
                elif not ids:
                    yield Score(None, reason="the tokenizer splits the label otherwise behind this text")
                elif len(ids) > self.max_length:
                    yield _Row(start + offset, tuple(self._fitted(text, len(ids))), True)
                else:
                    yield _Row(start + offset, tuple(ids), cut)

    def _fitted(self, text: str, length: int) -> list[int]:
        """The prompt of a text whose middle is left out so that it fits."""
        own = _ids(self.tokenizer, text)
        keep = len(own) - (length - self.max_length) - len(_ids(self.tokenizer, MARK))
        while True:
            keep = max(keep, 2)
            first, last = own[: keep // 2], own[-(keep - keep // 2) :]
            parts = [str(self.tokenizer.decode(ids, skip_special_tokens=True)).strip("\ufffd") for ids in (first, last)]
            ids = self._encoded([disarmed(MARK.join(parts), self._special)])[0]
            if len(ids) <= self.max_length or keep == 2:
                return ids[: self.max_length]
            keep -= max(len(ids) - self.max_length, 4)

    # -- what prompts share --------------------------------------------------------------------------------------

    def _groups(self, rows: list[_Row]) -> Iterator[tuple[Prefix | None, list[_Row]]]:
        """The rows that start with the longest known prefix of most of them, and the others."""
        if self._sharing and len(rows) >= 8:
            shared = most_share([row.ids for row in rows])
            if (
                len(shared)
                >= max([len(prefix.ids) for prefix in self._prefixes if prefix.fits(shared)], default=0) + 16
            ):
                self._remember(shared, keep=1)
        left = rows
        for prefix in sorted(self._prefixes, key=lambda prefix: -len(prefix.ids)):
            inside = [row for row in left if prefix.fits(row.ids)]
            if inside:
                yield prefix, inside
                left = [row for row in left if not prefix.fits(row.ids)]
        yield None, left

    def _remember(self, ids: tuple[int, ...], keep: int) -> None:
        if self._sharing and len(ids) >= LEAST_SHARED:
            del self._prefixes[keep:]
            self._prefixes.append(Prefix.of(self.model, ids))

    # -- the model -----------------------------------------------------------------------------------------------

    def _forward(self, rows: list[_Row], prefix: Prefix | None) -> list[tuple[float, float]]:
        """(P(disallowed), mass) of each row; in halves where memory does not hold them all."""
        try:
            return self._pass(rows, prefix)
        except (RuntimeError, MemoryError) as error:
            if not isinstance(error, MemoryError) and "memory" not in str(error):
                raise
            if len(rows) == 1:
                return [(math.nan, math.nan)]
        half = len(rows) // 2
        self._batch_size = min(self._batch_size, half)
        return [*self._forward(rows[:half], prefix), *self._forward(rows[half:], prefix)]

    def _pass(self, rows: list[_Row], prefix: Prefix | None) -> list[tuple[float, float]]:
        import torch

        allowed, disallowed = self.labels.allowed, self.labels.disallowed
        logits = self._logits(rows, prefix, disallowed)
        log_a = _log_probability(logits[:, 0], allowed[0])
        log_d = sum(_log_probability(logits[:, at], token) for at, token in enumerate(disallowed))
        if len(allowed) > 1:
            logits = self._logits(rows, prefix, allowed)
            log_a = sum(_log_probability(logits[:, at], token) for at, token in enumerate(allowed))
        probability, mass = torch.sigmoid(log_d - log_a), log_a.exp() + log_d.exp()
        return list(zip(probability.tolist(), mass.tolist(), strict=True))

    def _logits(self, rows: list[_Row], prefix: Prefix | None, label: tuple[int, ...]) -> "torch.Tensor":
        """Logits, (rows, len(label), vocabulary), where the label's first token is due, its second behind the first, ..."""
        import torch

        skip = len(prefix.ids) if prefix else 0
        ids = [row.ids[skip:] + label[:-1] for row in rows]
        width = max(map(len, ids))
        if prefix and not prefix.reaches(self.model, width):
            return self._logits(rows, None, label)
        pad = self.tokenizer.pad_token_id or 0
        device = self.model.device
        tokens = torch.tensor([[pad] * (width - len(one)) + list(one) for one in ids], device=device)
        mask = torch.tensor([[0] * (width - len(one)) + [1] * len(one) for one in ids], device=device)
        positions = (mask.cumsum(-1) - 1).clamp(min=0) + skip
        if prefix:
            mask = torch.cat([mask.new_ones(len(rows), skip), mask], dim=-1)
        out = self.model(
            input_ids=tokens,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=prefix.cache() if prefix else None,
            use_cache=prefix is not None,
            logits_to_keep=len(label),
        )
        logits: torch.Tensor = out.logits[:, -len(label) :]
        return logits


def _log_probability(logits: "torch.Tensor", token: int) -> Any:
    return logits[:, token].double() - logits.float().logsumexp(-1).double()


# -- shared with the classifier ------------------------------------------------------------------------------------


def batches(rows: list[_Row], skip: int, size: int, tokens: int) -> Iterator[list[_Row]]:
    """Rows of like length together: at most `size`, and at most `tokens` with their padding, `skip` of each left out."""
    batch: list[_Row] = []
    for row in sorted(rows, key=lambda row: len(row.ids)):
        if batch and (len(batch) >= size or (len(batch) + 1) * (len(row.ids) - skip) > tokens):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def longest(model: "PreTrainedModel") -> int:
    """Tokens that the model takes."""
    config: Any = model.config
    inner = config.get_text_config() if hasattr(config, "get_text_config") else config
    return int(getattr(inner, "max_position_embeddings", None) or 4096)


def special_tokens(tokenizer: "PreTrainedTokenizerBase") -> "re.Pattern[str] | None":
    """What would be read as markup, not as text, by this tokenizer."""
    words = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special and len(str(token)) > 1}
    return re.compile("|".join(map(re.escape, sorted(words, key=len, reverse=True)))) if words else None


def disarmed(text: str, special: "re.Pattern[str] | None") -> str:
    """A text that cannot end its own turn and answer for the model: a space in each special token."""
    return special.sub(lambda match: f"{match[0][0]} {match[0][1:]}", text) if special else text


def shortened(text: str, half: int) -> str:
    """Without the middle of what is far longer than any model takes, so that no tokenizer has to read a megabyte."""
    return text if len(text) <= 2 * half + len(MARK) else text[:half] + MARK + text[-half:]
