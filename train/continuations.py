"""What a model goes on to write, greedily, in batches; each batch is on disk before the next, so that a stopped evaluation goes on."""

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curation.errors import WorkspaceError
from train.dialogues import Prompt
from train.runs import duration

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

EVERY_S = 10  # seconds between lines of progress


class Kept:
    """Continuations by key, in a JSONL file that only grows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.texts: dict[str, str] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = path.read_text(encoding="utf-8").split("\n") if path.is_file() else []
        except OSError as error:
            raise WorkspaceError(f"{path}: cannot be read: {error.strerror}; choose another evaluations_dir") from error
        for line in lines:
            try:
                found = json.loads(line)
                self.texts[found["key"]] = found["text"]
            except (ValueError, KeyError, TypeError):
                continue  # the last line of a process that was killed

    def add(self, found: Mapping[str, str]) -> None:
        self.texts |= found
        lines = "".join(
            json.dumps({"key": key, "text": text}, ensure_ascii=False) + "\n" for key, text in found.items()
        )
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"\n{lines}" if self._torn() else lines)

    def _torn(self) -> bool:
        if not self.path.is_file() or not self.path.stat().st_size:
            return False
        with self.path.open("rb") as file:
            file.seek(-1, 2)
            return file.read(1) != b"\n"


def continued(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", prompts: Mapping[str, Prompt], *, max_new_tokens: int,
    batch_size: int, enough: Callable[[str], bool], kept: Kept, what: str,
) -> list[str]:  # fmt: skip
    """The likeliest continuation of each prompt, in their order.

    Args:
        prompts: by a key under which the continuation is kept.
        enough: whether a text is all that is wanted, so that the model may stop before its end-of-sequence token.
        what: what is written, for the lines of progress.
    """
    from train.scoring import longest

    room = max(16, longest(model) - max_new_tokens)
    left = [key for key in prompts if key not in kept.texts]
    if len(left) < len(prompts):
        print(f"{what}: {len(prompts) - len(left):,} of {len(prompts):,} were written before", file=sys.stderr)
    ids = {key: prompts[key].ids(tokenizer, room) for key in left}
    left.sort(key=lambda key: len(ids[key]))
    began = said = time.monotonic()
    for done, batch in _batches(left, batch_size):
        texts = _written(model, tokenizer, [ids[key] for key in batch], max_new_tokens, enough)
        kept.add(dict(zip(batch, texts, strict=True)))
        now = time.monotonic()
        if now - said > EVERY_S and done < len(left):
            rate, said = done / (now - began), now
            eta = duration((len(left) - done) / rate)
            print(f"{what}: {done:,}/{len(left):,} · {rate:.1f}/s · ETA {eta}", file=sys.stderr, flush=True)
    return [kept.texts[key] for key in prompts]


def _batches(keys: Sequence[str], size: int) -> Iterator[tuple[int, Sequence[str]]]:
    for low in range(0, len(keys), size):
        yield min(low + size, len(keys)), keys[low : low + size]


def _written(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", prompts: Sequence[list[int]], max_new_tokens: int,
    enough: Callable[[str], bool],
) -> list[str]:  # fmt: skip
    import torch
    from transformers import StoppingCriteria, StoppingCriteriaList

    width = max(map(len, prompts))

    class Enough(StoppingCriteria):
        def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:  # noqa: ARG002
            texts = tokenizer.batch_decode(input_ids[:, width:], skip_special_tokens=True)
            return torch.tensor([enough(text) for text in texts], device=input_ids.device)

    pad = tokenizer.pad_token_id or 0
    ids = torch.tensor([[pad] * (width - len(one)) + one for one in prompts], device=model.device)
    mask = torch.tensor([[0] * (width - len(one)) + [1] * len(one) for one in prompts], device=model.device)
    any_model: Any = model
    with torch.inference_mode():
        said = any_model.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=max_new_tokens, do_sample=False, pad_token_id=pad,
            stopping_criteria=StoppingCriteriaList([Enough()]),
        )  # fmt: skip
    return list(tokenizer.batch_decode(said[:, width:], skip_special_tokens=True))
