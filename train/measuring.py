"""What a candidate of a sweep is measured by: how it refuses, and how useful it stays."""

import math
from collections.abc import Iterable
from typing import Any

from curation.errors import InputError
from curation.records import MODERATOR
from train.config import FuseSettings
from train.data import Turn, Version, chat, label_of, rows
from train.fuse import Opened

HARNESS = "lm-eval:"


def refusal_rate(opened: Opened, version: Version, settings: FuseSettings) -> float:
    """The share of a version's requests that the model refuses."""
    from train.metrics.safety import is_refusal
    from train.subjects import generate

    asked = [chat(row)[:-1] for row in spread(version, settings.split, settings.n)]
    answers = generate(opened.model, opened.tokenizer, asked, settings.max_completion, settings.batch_size)
    return sum(map(is_refusal, answers)) / len(answers)


def spread(version: Version, split: str, n: int) -> list[dict[str, Any]]:
    """At most n rows of a split, evenly spread over it.

    Raises:
        InputError: the split is empty.
    """
    found = rows(version, split)
    if not len(found):
        raise InputError(f"{version.title} has nothing in its split {split!r}")
    taken = min(n, len(found))
    return [dict(found[at * len(found) // taken]) for at in range(taken)]


def utility_of(opened: Opened, version: Version | None, settings: FuseSettings) -> float:
    """AUROC of P(disallowed) where the rows are moderation with both labels, else the mean probability of an answer's token."""
    if version is None:
        return _harness(opened, settings)
    chosen = spread(version, settings.split, settings.n)
    turns = [chat(row) for row in chosen]
    labels = [label_of(row) == "disallowed" for row in chosen]
    if all(one[0]["content"] == MODERATOR for one in turns) and any(labels) and not all(labels):
        from train.metrics.moderation import measure
        from train.scoring import scores

        chances = scores(
            opened.model, opened.tokenizer, [one[1]["content"] for one in turns], batch_size=settings.batch_size
        )
        heard = [at for at, chance in enumerate(chances) if not math.isnan(chance)]
        measured = measure([labels[at] for at in heard], [chances[at] for at in heard], 0.5, resamples=0)["auroc"].value
        if measured is not None:
            return measured
    return _token_probability(opened, turns)


def _token_probability(opened: Opened, turns: Iterable[list[Turn]]) -> float:
    """exp(-mean loss) over the tokens of the last turns: the geometric mean of what the model gave them."""
    import torch

    from train.encode import fit, render
    from train.scoring import longest

    room = longest(opened.model)
    total, tokens = 0.0, 0
    for one in turns:
        fitted = fit(one, opened.tokenizer, room)
        whole, asked = render(opened.tokenizer, fitted)[:room], len(render(opened.tokenizer, fitted[:-1], ask=True))
        if asked >= len(whole):
            continue
        ids = torch.tensor([whole], device=opened.model.device)
        with torch.no_grad():
            logits = opened.model(input_ids=ids, use_cache=False).logits[0, asked - 1 : -1].float()
        total += float(torch.nn.functional.cross_entropy(logits, ids[0, asked:], reduction="sum"))
        tokens += len(whole) - asked
    return math.exp(-total / max(tokens, 1))


def _harness(opened: Opened, settings: FuseSettings) -> float:
    """The accuracy (else the first number) of a local task."""
    from train.config import EvalSettings
    from train.harness import utility
    from train.subjects import Subject

    task = str(settings.utility).removeprefix(HARNESS)
    subject = Subject("candidate", "", None, opened.model, opened.tokenizer, False, settings.batch_size, None)
    found = utility(subject, EvalSettings(run="candidate", dataset="none", tasks=(task,), tasks_dir=settings.tasks_dir))
    if "skipped" in found:
        raise InputError(f"utility={settings.utility}: {found['skipped']}")
    numbers = {key: value for key, value in found["tasks"][task].items() if not key.endswith("stderr")}
    return float(numbers.get("acc", next(iter(numbers.values()))))
