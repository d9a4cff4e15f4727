"""How far a back-translation has drifted from its source: chrF (Popović 2015), the F-score over character n-grams."""

from collections import Counter

ORDER = 6
RECALL = 4  # beta squared: recall counts twice as much as precision


def chrf(reference: str, hypothesis: str) -> float:
    """chrF2 of a text against a reference, 0 to 1: character 1- to 6-grams without white space, recall weighs more.

    Case is folded, as what is compared went through two translations. Orders that are longer than a text do not count.
    """
    one, other = ("".join(text.casefold().split()) for text in (reference, hypothesis))
    scores = []
    for order in range(1, ORDER + 1):
        wanted, found = _grams(one, order), _grams(other, order)
        if not wanted or not found:
            continue
        shared = (wanted & found).total()
        scores.append((shared / found.total(), shared / wanted.total()))
    if not scores:
        return float(one == other)
    precision = sum(score[0] for score in scores) / len(scores)
    recall = sum(score[1] for score in scores) / len(scores)
    if not precision + recall:
        return 0.0
    return (1 + RECALL) * precision * recall / (RECALL * precision + recall)


def _grams(text: str, order: int) -> Counter[str]:
    return Counter(text[place : place + order] for place in range(len(text) - order + 1))
