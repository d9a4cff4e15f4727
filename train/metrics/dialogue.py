"""How well a model understands a task-oriented dialogue, turn by turn: intents, slots, citations, and a judge's word on its answers.

The measures are those of SynTOD (Samarinas et al. 2024, arXiv:2404.14772) with the usual averages; docs/dialogue-evaluation.md defines
each with a worked example, and says where SynTOD's own script averages otherwise (`as_syntod`). Turns of one dialogue depend on each
other, so intervals come from resampling whole dialogues. What cannot be measured is undefined and says why; it is never 0 or nan.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from train.metrics.moderation import RESAMPLES, Estimate
from train.metrics.slots import INTENT, TOLERANCE, exact_counts, slots_of, token_scores

Floats = NDArray[np.float64]
UNREADABLE = "(unreadable)"  # what a model called that wrote no note
OTHER = "(other)"  # an intent that no turn has
RELEVANCE = (0, 2)  # the judge's scale
_CELLS = 4_000_000  # of a block of resamples

NO_INTENT, NO_SLOT, NO_CITATION = "no turn has an intent", "no turn has a slot", "no turn cites"


@dataclass(frozen=True, slots=True)
class Reading:
    """A turn of the assistant: what it was to note and cite, and what a model noted and cited."""

    dialogue: str
    wanted: Mapping[str, Any] | None = None  # intent, and slots by name; None: there is nothing to note here
    heard: Mapping[str, Any] | None = None  # None: the model's note cannot be read
    cites: frozenset[str] = frozenset()
    cited: frozenset[str] | None = None  # None: the model gave no answer to look at
    relevance: float | None = None  # 0 to 2; None: not scored


def measure(
    readings: Sequence[Reading],
    *,
    tolerance: float = TOLERANCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
    judged: bool = False,
) -> dict[str, Estimate]:
    """All measures of these turns.

    Args:
        tolerance: two numbers count as equal within this, relative to the larger.
        resamples: bootstrap resamples of dialogues for the 95 % intervals; 0 leaves them out.
        judged: whether a judge was asked at all.

    Returns:
        `intent_accuracy`, `intent_accuracy_by_dialogue`, precision, recall and F1 as `intent_*_micro` and `intent_*_macro`, as
        `slot_*_token`, `slot_*_exact` and `cite_*`; `note_exact` (intent and all slots right); `relevance` (0 to 2).

    Source:
        Cluster bootstrap by dialogue, percentiles: Davison and Hinkley 1997, 3.8.
    """
    sums, names = _sums(readings, tolerance)
    counts = {name: values.sum(axis=0) for name, values in sums.items()}
    why = _undefined(counts, judged=judged)
    found: dict[str, Estimate] = {}
    whole = np.ones((1, len(names)))
    drawn: dict[str, list[Floats]] = {name: [] for name in MEASURES}
    generator = np.random.default_rng(seed)
    left = resamples if names else 0
    while left > 0:
        width = len(names) + sum(values.shape[1] for values in sums.values())
        block = min(left, max(1, _CELLS // width))
        weights = generator.multinomial(len(names), np.full(len(names), 1 / len(names)), size=block).astype(np.float64)
        totals = {name: weights @ values for name, values in sums.items()}
        for name, of in MEASURES.items():
            if not why[name]:
                drawn[name].append(of(totals))
        left -= block
    once = {name: whole @ values for name, values in sums.items()}
    for name, of in MEASURES.items():
        value = None if why[name] else float(of(once)[0])
        found[name] = _estimate(value, why[name], drawn[name])
    return found


def _undefined(counts: Mapping[str, Floats], *, judged: bool) -> dict[str, str | None]:
    """Why each measure says nothing of these turns; None: it does."""
    intents = None if counts["turns"][0] else NO_INTENT
    slots = None if counts["token_turns"][0] else NO_SLOT
    cites = None if counts["cite_there"][0] else NO_CITATION
    unread = intents or (None if counts["called"][0] else "no note could be read")
    reasons: dict[str, str | None] = {}
    for name in MEASURES:
        reasons[name] = slots if name.startswith("slot_") else cites if name.startswith("cite_") else intents
    reasons["intent_precision_micro"] = unread
    if not counts["exact_said"][0]:
        reasons["slot_precision_exact"] = slots or "no slot was noted"
    if not counts["cite_said"][0]:
        reasons["cite_precision"] = cites or "nothing was cited"
    scored = counts["relevance_turns"][0]
    reasons["relevance"] = None if scored else "the judge scored none" if judged else "no judge's scores given"
    return reasons


# -- sums by dialogue ----------------------------------------------------------------------------------------------

Sums = dict[str, Floats]  # name -> (dialogues, 1), or (dialogues, intents)


def _sums(readings: Sequence[Reading], tolerance: float) -> tuple[Sums, list[str]]:
    names = list(dict.fromkeys(one.dialogue for one in readings))
    row_of = {name: row for row, name in enumerate(names)}
    classes = sorted({str(one.wanted[INTENT]) for one in readings if one.wanted})
    column_of = {name: column for column, name in enumerate(classes)}
    single = (
        "turns", "right", "called", "exact_note", "token_precision", "token_recall", "token_f1", "token_turns", "exact_same",
        "exact_said", "exact_there", "cite_same", "cite_said", "cite_there", "relevance", "relevance_turns",
    )  # fmt: skip
    sums = {name: np.zeros((len(names), 1)) for name in single}
    sums |= {name: np.zeros((len(names), len(classes))) for name in ("hits", "predicted", "gold")}
    for one in readings:
        row = row_of[one.dialogue]
        if one.wanted is not None:
            intent, said = str(one.wanted[INTENT]), None if one.heard is None else str(one.heard.get(INTENT))
            sums["turns"][row] += 1
            sums["right"][row] += intent == said
            sums["called"][row] += said is not None
            sums["gold"][row, column_of[intent]] += 1
            sums["hits"][row, column_of[intent]] += intent == said
            if said in column_of:
                sums["predicted"][row, column_of[said]] += 1
            same, noted, there = exact_counts(one.wanted, one.heard, tolerance)
            for name, value in (("same", same), ("said", noted), ("there", there)):
                sums[f"exact_{name}"][row] += value
            sums["exact_note"][row] += intent == said and same == noted == there
            if there:
                for name, score in zip(
                    ("precision", "recall", "f1"), token_scores(one.wanted, one.heard, tolerance), strict=True
                ):
                    sums[f"token_{name}"][row] += score
                sums["token_turns"][row] += 1
        if one.cited is not None:
            sums["cite_same"][row] += len(one.cites & one.cited)
            sums["cite_said"][row] += len(one.cited)
            sums["cite_there"][row] += len(one.cites)
        if one.relevance is not None:
            sums["relevance"][row] += one.relevance
            sums["relevance_turns"][row] += 1
    noted_turns = np.maximum(sums["turns"], 1)
    sums["dialogue_accuracy"] = sums["right"] / noted_turns
    sums["dialogues"] = (sums["turns"] > 0).astype(np.float64)
    return sums, names


def _ratio(above: str, below: str) -> Callable[[Sums], Floats]:
    return lambda totals: _quotient(totals[above], totals[below])[:, 0]


def _f1(same: str, one: str, other: str) -> Callable[[Sums], Floats]:
    return lambda totals: _quotient(2 * totals[same], totals[one] + totals[other])[:, 0]


def _macro(of: Callable[[Sums], Floats]) -> Callable[[Sums], Floats]:
    """The plain mean over the intents that occur; an intent that is never called has precision 0."""

    def mean(totals: Sums) -> Floats:
        there = totals["gold"] > 0
        values = np.where(there, np.nan_to_num(of(totals)), 0.0)
        return _quotient(values.sum(axis=1), there.sum(axis=1).astype(np.float64))

    return mean


def _quotient(above: Floats, below: Floats) -> Floats:
    result: Floats = np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below > 0)
    return result


MEASURES: dict[str, Callable[[Sums], Floats]] = {
    "intent_accuracy": _ratio("right", "turns"),
    "intent_accuracy_by_dialogue": _ratio("dialogue_accuracy", "dialogues"),
    "intent_precision_micro": _ratio("right", "called"),
    "intent_recall_micro": _ratio("right", "turns"),
    "intent_f1_micro": _f1("right", "called", "turns"),
    "intent_precision_macro": _macro(lambda totals: _quotient(totals["hits"], totals["predicted"])),
    "intent_recall_macro": _macro(lambda totals: _quotient(totals["hits"], totals["gold"])),
    "intent_f1_macro": _macro(lambda totals: _quotient(2 * totals["hits"], totals["predicted"] + totals["gold"])),
    "slot_precision_token": _ratio("token_precision", "token_turns"),
    "slot_recall_token": _ratio("token_recall", "token_turns"),
    "slot_f1_token": _ratio("token_f1", "token_turns"),
    "slot_precision_exact": _ratio("exact_same", "exact_said"),
    "slot_recall_exact": _ratio("exact_same", "exact_there"),
    "slot_f1_exact": _f1("exact_same", "exact_said", "exact_there"),
    "note_exact": _ratio("exact_note", "turns"),
    "cite_precision": _ratio("cite_same", "cite_said"),
    "cite_recall": _ratio("cite_same", "cite_there"),
    "cite_f1": _f1("cite_same", "cite_said", "cite_there"),
    "relevance": _ratio("relevance", "relevance_turns"),
}  # fmt: skip


def _estimate(value: float | None, why: str | None, drawn: list[Floats]) -> Estimate:
    values = np.concatenate(drawn) if drawn else np.zeros(0)
    values = values[~np.isnan(values)]
    if value is None or not values.size:
        return Estimate(value, undefined=why)
    low, high = np.percentile(values, [2.5, 97.5])
    return Estimate(value, float(low), float(high))


# -- tables --------------------------------------------------------------------------------------------------------


def confusion(readings: Iterable[Reading]) -> dict[str, dict[str, int]]:
    """Counts: intent -> what the model called it; intents that no turn has are one column, unreadable notes another."""
    noted = [(str(one.wanted[INTENT]), one.heard) for one in readings if one.wanted]
    known = {intent for intent, _ in noted}
    table: dict[str, Counter[str]] = {intent: Counter() for intent in sorted(known)}
    for intent, heard in noted:
        called = UNREADABLE if heard is None else str(heard.get(INTENT))
        table[intent][called if called in known or heard is None else OTHER] += 1
    return {intent: dict(sorted(row.items())) for intent, row in table.items()}


def by_intent(readings: Iterable[Reading]) -> dict[str, dict[str, Any]]:
    """Precision (None: never called), recall and F1 of each intent, with its number of turns."""
    table = confusion(readings)
    called = Counter[str]()
    for row in table.values():
        called.update(row)
    found = {}
    for intent, row in table.items():
        hits, turns = row.get(intent, 0), sum(row.values())
        found[intent] = {
            "turns": turns,
            "precision": hits / called[intent] if called[intent] else None,
            "recall": hits / turns,
            "f1": 2 * hits / (called[intent] + turns),
        }
    return found


def as_syntod(readings: Sequence[Reading], tolerance: float = TOLERANCE) -> dict[str, float]:
    """The figures as SynTOD's evaluation script averages them, to be set beside published ones.

    Its macro figures are means over intents of means over dialogues, its macro F1 the harmonic mean of the two, and an unreadable note
    is an intent NONE of its own. Its omissions and mergers of intents, and its nearest-neighbour repair of unknown names, are left out.

    Source:
        `src/evaluation/evaluation_script.py` of the SynTOD repository.
    """
    precision: dict[str, list[float]] = defaultdict(list)
    recall: dict[str, list[float]] = defaultdict(list)
    slots: dict[str, list[list[float]]] = defaultdict(list)
    accuracies, every_slot, right, turns = [], [], 0, 0
    by_dialogue: dict[str, list[Reading]] = defaultdict(list)
    for one in readings:
        if one.wanted is not None:
            by_dialogue[one.dialogue].append(one)
    for own in by_dialogue.values():
        of_called: dict[str, list[float]] = defaultdict(list)
        of_true: dict[str, list[float]] = defaultdict(list)
        of_slots: dict[str, list[list[float]]] = defaultdict(list)
        for one in own:
            assert one.wanted is not None
            true, called = str(one.wanted[INTENT]), "NONE" if one.heard is None else str(one.heard.get(INTENT))
            of_called[called].append(float(true == called))
            of_true[true].append(float(true == called))
            if slots_of(one.wanted):
                of_slots[true].append(list(token_scores(one.wanted, one.heard, tolerance)))
                every_slot.append(of_slots[true][-1])
        hits = [value for values in of_true.values() for value in values]
        accuracies.append(np.mean(hits))
        right, turns = right + int(sum(hits)), turns + len(hits)
        for table, values in ((precision, of_called), (recall, of_true)):
            for name, scores in values.items():
                table[name].append(float(np.mean(scores)))
        for name, lists in of_slots.items():
            slots[name].append(list(np.mean(lists, axis=0)))
    if not turns:
        return {}
    p, r = (float(np.mean([np.mean(values) for values in table.values()])) for table in (precision, recall))
    found = {
        "macro_intent_accuracy": float(np.mean(accuracies)), "macro_intent_precision": p, "macro_intent_recall": r,
        "macro_intent_f1": 2 * p * r / (p + r) if p + r else 0.0,
        **{f"micro_intent_{name}": right / turns for name in ("accuracy", "precision", "recall", "f1")},
    }  # fmt: skip
    by_intent_means = [list(np.mean(lists, axis=0)) for lists in slots.values()]
    for average, means_of in (("macro", by_intent_means), ("micro", every_slot)):
        if means_of:
            means = np.mean(means_of, axis=0)
            found |= {
                f"{average}_slot_tagging_{name}": float(means[at])
                for at, name in enumerate(("precision", "recall", "f1"))
            }
    return found
