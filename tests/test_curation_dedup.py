"""Near-duplicates against brute force over the same definition, on small corpora of four languages."""

import itertools
import random
import unicodedata
from collections import defaultdict
from functools import cache
from typing import Any

import numba
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from curation.dedup import kernel
from curation.dedup.clusters import connected, keep
from curation.dedup.near import CHAR5, WORD3, Pairs, family_of, near_pairs, shingles, true_jaccard
from curation.errors import InputError
from curation.records import normalised

ALPHABETS = {
    "en": [a + b for a in "bcdfgklmnprst" for b in ("a", "e", "i", "o", "un", "est", "ing")],
    "ms": [a + b for a in "bdgjklmnprst" for b in ("a", "e", "i", "u", "ang", "ah")],
    "zh": [chr(code) for code in range(0x4E00, 0x5200)],
    "ta": [a + b for a in "கசடதநபமயரலவழளறன" for b in ("", "ா", "ி", "ு", "ெ", "ை", "்")],
}
SEPARATORS = {"en": " ", "ms": " ", "zh": "", "ta": " "}


def words_of(language: str, rng: random.Random, count: int) -> list[str]:
    return ["".join(rng.choices(ALPHABETS[language], k=rng.randint(1, 4))) for _ in range(count)]


def corpus(n: int, seed: int = 1) -> tuple[list[str], list[str]]:
    """n texts and their languages; a third are edited copies, from one word to half of the words replaced."""
    rng = random.Random(seed)
    made: list[tuple[str, str]] = []
    while len(made) < n:
        language = rng.choice(list(ALPHABETS))
        words = words_of(language, rng, rng.randint(20, 60))
        made.append((SEPARATORS[language].join(words), language))
        for _ in range(rng.choice((0, 0, 0, 1, 2))):
            copy = list(words)
            for place in rng.sample(range(len(copy)), k=max(1, int(len(copy) * rng.random() ** 2 / 2))):
                copy[place] = words_of(language, rng, 1)[0]
            made.append((SEPARATORS[language].join(copy), language))
    rng.shuffle(made)
    return [text for text, _ in made[:n]], [language for _, language in made[:n]]


def families(languages: list[str]) -> NDArray[np.uint8]:
    return np.array([family_of(language) for language in languages], np.uint8)


def truth(texts: list[str], languages: list[str], threshold: float) -> dict[tuple[int, int], float]:
    """All pairs at or over the threshold, through an inverted index: exact."""
    holders: dict[object, list[int]] = defaultdict(list)
    sizes = []
    for k, (text, language) in enumerate(zip(texts, languages, strict=True)):
        each = shingles(text, language)
        sizes.append(len(each))
        for shingle in each:
            holders[family_of(language), shingle].append(k)
    shared: dict[tuple[int, int], int] = defaultdict(int)
    for members in holders.values():
        for pair in itertools.combinations(members, 2):
            shared[pair] += 1
    scores = {(a, b): count / (sizes[a] + sizes[b] - count) for (a, b), count in shared.items()}
    return {pair: score for pair, score in scores.items() if score >= threshold}


@cache
def true_pairs_of_the_corpus() -> dict[tuple[int, int], float]:
    return truth(*corpus(3000), threshold=0.5)


def as_dict(pairs: Pairs) -> dict[tuple[int, int], float]:
    return dict(zip(zip(pairs.a.tolist(), pairs.b.tolist(), strict=True), pairs.jaccard.tolist(), strict=True))


def as_pairs(scores: dict[tuple[int, int], float]) -> Pairs:
    ordered = sorted(scores)
    a, b = np.array([p[0] for p in ordered], np.uint32), np.array([p[1] for p in ordered], np.uint32)
    return Pairs(a, b, np.array([scores[p] for p in ordered], np.float32))


# -- pairs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.8, 0.9])
def test_every_pair_is_right_and_nearly_every_one_is_found(threshold: float) -> None:
    texts, languages = corpus(3000)
    expected = {pair: score for pair, score in true_pairs_of_the_corpus().items() if score >= threshold}
    found = as_dict(near_pairs(texts, families(languages), threshold=threshold))
    assert len(expected) > 100
    assert found == {pair: pytest.approx(expected[pair], abs=1e-7) for pair in found}
    assert len(found) >= 0.99 * len(expected)


@pytest.mark.parametrize("language", list(ALPHABETS))
def test_a_planted_twin_is_found_with_its_exact_score(language: str) -> None:
    rng = random.Random(language)
    words = words_of(language, rng, 60)
    twin = [*words[:30], *words_of(language, rng, 1), *words[31:]]
    other = words_of(language, rng, 60)
    texts = [SEPARATORS[language].join(each) for each in (words, other, twin)]
    pairs = near_pairs(texts, [family_of(language)] * 3, threshold=0.7)
    assert (pairs.a.tolist(), pairs.b.tolist()) == ([0], [2])
    assert pairs.jaccard[0] == np.float32(true_jaccard(texts[0], texts[2], language)) < 1


def test_chinese_and_tamil_twins_as_people_write_them() -> None:
    zh = "今天下午三点在学校门口集合，请大家准时到，不要迟到，记得带雨伞和水壶，谢谢合作。"
    ta = "இன்று மாலை மூன்று மணிக்கு பள்ளி வாசலில் கூடுவோம், தாமதம் வேண்டாம், குடை கொண்டு வாருங்கள்."
    texts = [zh, ta, zh.replace("雨伞", "帽子"), ta.replace("குடை", "நீர்"), "完全不同的一句话，和上面没有任何关系。"]
    found = as_dict(near_pairs(texts, threshold=0.6))
    expected = {(0, 2): true_jaccard(zh, texts[2], "zh"), (1, 3): true_jaccard(ta, texts[3], "ta")}
    assert found == {pair: pytest.approx(score, abs=1e-7) for pair, score in expected.items()}


def test_case_width_white_space_and_for_words_punctuation_do_not_tell_texts_apart() -> None:
    texts = ["Free  MONEY,\tclick here now!", "\u2003ｆｒｅｅ money click “here” now", "free money"]
    assert as_dict(near_pairs(texts, [WORD3] * 3)) == {(0, 1): 1.0}
    assert as_dict(near_pairs(["Free  MONEY,\tclick here", " ｆｒｅｅ money, click here"])) == {(0, 1): 1.0}


def test_texts_that_are_normalised_already_need_not_be_again() -> None:
    texts, languages = corpus(1500)
    raw = [f" {text.upper()}\n" for text in texts]
    clean = [normalised(text) for text in raw]
    kinds = families(languages)
    assert as_dict(near_pairs(raw, kinds)) == as_dict(near_pairs(clean, kinds, normalise=False))


def test_families_are_never_compared() -> None:
    assert {family_of(tag) for tag in ("en", "ms", "en-SG")} == {WORD3}
    assert {family_of(tag) for tag in ("zh", "zh-Hant", "ta", "th", "xx")} == {CHAR5}
    assert len(near_pairs(["the same text in both", "the same text in both"], [WORD3, CHAR5])) == 0


def test_identical_texts_are_a_star_around_the_first() -> None:
    texts = ["b b b b b b b", "a text", "b b b b b b b", "a text", "B b b b b b b"]
    assert as_dict(near_pairs(texts)) == {(0, 2): 1.0, (0, 4): 1.0, (1, 3): 1.0}


def test_short_texts_are_one_shingle_and_empty_ones_are_near_nothing() -> None:
    texts = ["hi", "", "Hi", "   ", "hi!", "", "ha"]
    assert as_dict(near_pairs(texts, threshold=0.1)) == {(0, 2): 1.0}
    assert as_dict(near_pairs(texts, [WORD3] * 7, threshold=0.1)) == {(0, 2): 1.0, (0, 4): 1.0}
    assert as_dict(near_pairs(["!!!", "???", "!!!"], [WORD3] * 3)) == {(0, 2): 1.0}
    assert true_jaccard("", "", "en") == 0
    assert len(near_pairs([])) == len(near_pairs([""])) == len(near_pairs(["one"])) == 0


def test_arrow_columns_in_any_layout_give_the_same_pairs() -> None:
    texts, _ = corpus(1500)
    texts[7] = ""
    expected = as_dict(near_pairs(texts))
    column = pa.array(["junk", *texts])[1:]
    chunks = pa.chunked_array([column[:10], column[10:10], column[10:1000], column[1000:]])
    holes = pa.array([text or None for text in texts], pa.large_string())
    layouts = [column, chunks, holes, chunks.dictionary_encode(), column.cast(pa.string_view())]
    assert expected
    assert all(as_dict(near_pairs(layout)) == expected for layout in layouts)


def test_the_result_does_not_depend_on_threads() -> None:
    texts, languages = corpus(3000)
    texts += [f"{texts[0]} {k}" for k in range(500)]
    kinds = families([*languages, *["en"] * 500])
    once, twice, thrice = (near_pairs(texts, kinds, threads=threads) for threads in (1, 2, 3))
    for other in (twice, thrice):
        assert np.array_equal(once.a, other.a)
        assert np.array_equal(once.b, other.b)
        assert np.array_equal(once.jaccard, other.jaccard)


def test_progress_reaches_the_end() -> None:
    seen: dict[str, tuple[int, int]] = {}
    near_pairs(corpus(1500)[0], progress=lambda stage, done, total: seen.update({stage: (done, total)}))
    assert seen["sketch"] == (1500, 1500)
    assert seen["compare"][0] == seen["compare"][1] > 0


def test_bad_arguments_say_what_is_wrong() -> None:
    for threshold in (0, 1.5):
        with pytest.raises(InputError, match="threshold"):
            near_pairs(["a"], threshold=threshold)
    with pytest.raises(InputError, match="2 values"):
        near_pairs(["a", "b"], [WORD3])
    with pytest.raises(InputError, match="sequence of str"):
        near_pairs([1, 2])
    with pytest.raises(InputError, match="another corpus"):
        connected(1, near_pairs(["a", "a"]))
    with pytest.raises(InputError, match="priority"):
        keep(2, near_pairs(["a", "a"]), np.arange(3))


# -- hot buckets -------------------------------------------------------------------------------------------------


def test_a_hundred_thousand_identical_texts_are_a_hundred_thousand_pairs() -> None:
    pairs = near_pairs(["one and the same text, posted over and over"] * 100_000)
    assert len(pairs) == 99_999
    assert not pairs.a.any()
    assert not connected(100_000, pairs).any()
    kept, removals = keep(100_000, pairs)
    assert kept.sum() == 1
    assert not removals.of.any()


def test_a_template_stays_one_cluster_with_few_pairs() -> None:
    rng = random.Random(5)
    words = words_of("en", rng, 60)
    texts = []
    for k in range(20_000):
        words[30] = f"{k:05d}"
        texts.append(" ".join(words))
    pairs = near_pairs(texts)
    assert len(pairs) < 20 * len(texts)
    assert not connected(len(texts), pairs).any()
    assert keep(len(texts), pairs)[0].sum() == 1


def test_many_templates_stay_apart_and_one_of_each_is_kept() -> None:
    rng = random.Random(6)
    frame = words_of("en", rng, 20)
    texts, group = [], []
    for template in range(20):
        words = frame + words_of("en", rng, 20)
        for _ in range(150):
            copy = list(words)
            copy[rng.randrange(40)] = words_of("en", rng, 1)[0]
            texts.append(" ".join(copy))
            group.append(template)
    order = rng.sample(range(len(texts)), len(texts))
    texts, group = [texts[k] for k in order], [group[k] for k in order]
    pairs = near_pairs(texts, threshold=0.7)
    label = connected(len(texts), pairs)
    assert len(set(label.tolist())) == len(set(zip(label.tolist(), group, strict=True))) == 20
    assert keep(len(texts), pairs)[0].sum() == 20


# -- clusters ----------------------------------------------------------------------------------------------------


def test_keep_says_what_each_removed_text_duplicates() -> None:
    pairs = as_pairs({(0, 1): 0.85, (1, 2): 0.9, (2, 3): 0.8, (0, 4): 0.95})
    kept, removals = keep(5, pairs)
    assert kept.tolist() == [True, False, True, False, False]
    assert removals.item.tolist() == [1, 3, 4]
    assert removals.of.tolist() == [0, 2, 0]
    assert removals.jaccard.tolist() == pytest.approx([0.85, 0.8, 0.95])
    kept, removals = keep(5, pairs, priority=np.array([2, 1, 1, 1, 0]))
    assert kept.tolist() == [False, True, False, True, True]
    assert removals.of.tolist() == [4, 1]


def test_twins_of_a_removed_text_go_for_the_same_reason() -> None:
    stars = as_pairs({(1, 2): 1.0, (1, 3): 1.0, (0, 1): 0.87})
    kept, removals = keep(4, stars)
    assert kept.tolist() == [True, False, False, False]
    assert removals.of.tolist() == [0, 0, 0]
    assert removals.jaccard.tolist() == pytest.approx([0.87] * 3)
    kept, removals = keep(4, stars, priority=np.array([9, 5, 5, 0]))
    assert kept.tolist() == [False, False, False, True]
    assert removals.jaccard.tolist() == pytest.approx([0.87, 1, 1])


def kept_by_brute_force(
    scores: dict[tuple[int, int], float], order: list[int]
) -> tuple[set[int], dict[int, tuple[int, float]]]:
    kept: list[int] = []
    why: dict[int, tuple[int, float]] = {}
    for i in order:
        near = [(scores[min(i, k), max(i, k)], k) for k in kept if (min(i, k), max(i, k)) in scores]
        if near:
            best = max(score for score, _ in near)
            why[i] = next((k, score) for score, k in near if score == best)
        else:
            kept.append(i)
    return set(kept), why


@settings(max_examples=150, deadline=None)
@given(st.lists(st.text("ab ", min_size=0, max_size=9), min_size=1, max_size=14), st.randoms(use_true_random=False))
def test_small_corpora_agree_with_brute_force_in_every_respect(texts: list[str], rng: random.Random) -> None:
    n, threshold = len(texts), 0.5
    scores = truth(texts, ["zh"] * n, threshold)
    pairs = near_pairs(texts, threshold=threshold)
    assert all(scores[pair] == pytest.approx(score) for pair, score in as_dict(pairs).items())
    label = list(range(n))
    for a, b in sorted(scores):
        low, high = sorted((label[a], label[b]))
        label = [low if x == high else x for x in label]
    priority = [rng.randrange(3) for _ in range(n)]
    order = sorted(range(n), key=lambda k: (priority[k], k))
    kept, why = kept_by_brute_force(scores, order)
    for found in (pairs, as_pairs(scores)):
        assert connected(n, found).tolist() == label
        flags, removals = keep(n, found, np.array(priority))
        assert set(np.flatnonzero(flags).tolist()) == kept
        reasons = zip(removals.of.tolist(), removals.jaccard.tolist(), strict=True)
        assert dict(zip(removals.item.tolist(), reasons, strict=True)) == {
            item: (of, pytest.approx(score)) for item, (of, score) in why.items()
        }


# -- normalising -------------------------------------------------------------------------------------------------

AWKWARD = st.text(
    st.one_of(
        st.sampled_from("aeo \t\u00a0…ßİﬁ①½ﷺ¨"),
        st.sampled_from("கெோி்ௗ"),  # two of these join, if they meet in that order
        st.characters(categories=["Mn", "Mc"]),
        st.characters(min_codepoint=0x1100, max_codepoint=0x11FF),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=12,
)


@settings(max_examples=150, deadline=None)
@given(st.lists(AWKWARD, min_size=1, max_size=40))
def test_compiled_normalising_is_pythons(texts: list[str]) -> None:
    """A text and its normalised form are twins in both families, whatever Unicode does in it."""
    clean = [normalised(text) for text in texts]
    stable = [k for k, text in enumerate(clean) if text and normalised(text) == text]
    both = [texts[k] for k in stable] + [clean[k] for k in stable]
    for family in (WORD3, CHAR5):
        label = connected(len(both), near_pairs(both, [family] * len(both), threshold=1.0))
        assert label[: len(stable)].tolist() == label[len(stable) :].tolist()


def test_code_points_beyond_the_table_stay_as_they_are() -> None:
    for low in range(kernel.TABLE, 0x110000, 0x10000):
        block = "".join(chr(code) for code in range(low, low + 0x10000) if not 0x2F800 <= code < 0x2FA20)
        assert unicodedata.normalize("NFKC", block).casefold() == block
        assert not any(unicodedata.combining(c) or c.isspace() for c in block)


def test_without_a_folder_to_cache_in_functions_are_compiled_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    compile_: Any = numba.njit

    def njit(**options: Any) -> Any:
        if options.get("cache"):
            raise RuntimeError("cannot cache function 'double': no locator available")
        return compile_(**options)

    monkeypatch.setattr(numba, "njit", njit)

    @kernel.jit
    def double(x: int) -> int:
        return 2 * x

    assert double(21) == 42
