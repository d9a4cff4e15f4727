"""The plan: even shares of every axis at any size, and a prefix that never changes."""

from collections import Counter
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from synth.plan import Plan, Slot, cell
from synth.prompts import Prompt

LANGUAGES = ("en", "zh", "ms", "ta")
PROMPT = Prompt(
    name="any", path=Path("any.yaml"), task="moderation", description="Any prompt at all.", labels={"label": "allowed"},
    axes={"a": ("x", "y")}, output={"text": "the post"}, user="Write.",
)  # fmt: skip


def plan(n: int, sizes: list[int], languages: int = 4, per_request: int = 5, seed: int = 0, name: str = "any") -> Plan:
    axes = {f"axis{number}": tuple(range(size)) for number, size in enumerate(sizes)}
    prompt = PROMPT.model_copy(update={"name": name})
    return Plan(prompt, n, LANGUAGES[:languages], axes, per_request, seed)


def shares(slots: list[Slot], axis: str) -> Counter[object]:
    count: Counter[object] = Counter()
    for slot in slots:
        count[slot.language if axis == "language" else slot.axes[axis]] += slot.want
    return count


SIZES = st.lists(st.integers(2, 12), min_size=1, max_size=4)
SEEDS = st.integers(0, 2**31)


@settings(max_examples=400, deadline=None)
@given(SIZES, st.integers(1, 4), st.integers(1, 5), SEEDS)
@example([7, 11, 12], 3, 5, 0)
@example([12, 12, 12, 12], 4, 5, 1)
def test_at_400_every_value_of_every_axis_has_its_share_to_within_a_fifth(
    sizes: list[int], languages: int, per_request: int, seed: int
) -> None:
    slots = list(plan(400, sizes, languages, per_request, seed).slots())
    assert sum(slot.want for slot in slots) == 400
    for number, size in enumerate(sizes):
        count = shares(slots, f"axis{number}")
        assert set(count) == set(range(size))
        assert all(0.8 * 400 / size <= got <= 1.2 * 400 / size for got in count.values()), count
    count = shares(slots, "language")
    assert max(count.values()) - min(count.values()) <= per_request


@settings(max_examples=200, deadline=None)
@given(SIZES, st.integers(1, 4), SEEDS, st.integers(1, 300))
def test_any_prefix_of_a_language_covers_an_axis_to_within_one_request(
    sizes: list[int], languages: int, seed: int, n: int
) -> None:
    slots = list(plan(n, sizes, languages, 1, seed).slots())
    for number, size in enumerate(sizes):
        for language in LANGUAGES[:languages]:
            of_language = [slot for slot in slots if slot.language == language]
            count = Counter(dict.fromkeys(range(size), 0))
            count.update(slot.axes[f"axis{number}"] for slot in of_language)
            assert max(count.values()) - min(count.values()) <= 1


@settings(max_examples=200, deadline=None)
@given(SIZES, st.integers(1, 4), st.integers(1, 9), SEEDS, st.integers(1, 400), st.integers(0, 400))
def test_a_larger_n_only_appends(
    sizes: list[int], languages: int, per_request: int, seed: int, n: int, more: int
) -> None:
    small = list(plan(n, sizes, languages, per_request, seed).slots())
    large = list(plan(n + more, sizes, languages, per_request, seed).slots())
    assert [(slot.number, slot.language, slot.axes) for slot in small] == [
        (slot.number, slot.language, slot.axes) for slot in large[: len(small)]
    ]
    assert all(few.want <= many.want for few, many in zip(small, large, strict=False))
    assert all(slot.want == per_request for slot in large[:-1])
    assert 1 <= large[-1].want <= per_request


def test_the_size_is_the_number_of_requests_when_nothing_goes_wrong() -> None:
    assert [plan(n, [2]).size for n in (1, 5, 6, 10, 11)] == [1, 1, 2, 2, 3]
    assert [slot.want for slot in plan(11, [2]).slots()] == [5, 5, 1]


def test_pairs_of_values_are_level_too() -> None:
    slots = list(plan(4800, [3, 4], languages=2, per_request=1).slots())
    pairs = Counter((slot.axes["axis0"], slot.axes["axis1"]) for slot in slots)
    assert len(pairs) == 12
    assert all(0.8 * 400 <= got <= 1.2 * 400 for got in pairs.values()), pairs
    by_language = Counter((slot.language, slot.axes["axis1"]) for slot in slots)
    assert set(by_language.values()) == {600}


def test_axes_of_one_size_are_dealt_apart() -> None:
    slots = list(plan(1200, [12, 12], languages=1, per_request=1).slots())
    assert len({(slot.axes["axis0"], slot.axes["axis1"]) for slot in slots}) > 120


def test_seeds_and_prompts_are_dealt_apart() -> None:
    def deal(seed: int, name: str) -> list[object]:
        return [slot.axes for slot in plan(100, [5, 7], seed=seed, name=name).slots()]

    assert deal(0, "one") == deal(0, "one")
    assert deal(0, "one") != deal(1, "one")
    assert deal(0, "one") != deal(0, "two")


def test_the_deal_is_what_it_always_was() -> None:
    """Another deal would ask for everything anew in the stores that are out there."""
    axes = {"topic": ["a", "b", "c", "d", "e"], "mood": ["x", "y"]}
    dealt = [cell(number, seed=0, salt="general_ok", languages=LANGUAGES, axes=axes) for number in range(8)]
    assert [language for language, _ in dealt] == list(LANGUAGES) * 2
    assert ["".join(map(str, values.values())) for _, values in dealt] == [
        "ey",
        "by",
        "cx",
        "ax",
        "bx",
        "cx",
        "ay",
        "dy",
    ]
