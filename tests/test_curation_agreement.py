"""Cohen's kappa against figures from the literature, and where it has nothing to say."""

from math import sqrt

import pytest

from curation.agreement import Z_95, Agreement, agreement


def pairs(*rows: tuple[int, ...]) -> list[tuple[str | None, str | None]]:
    """The pairs behind a table of counts."""
    words = "abcdef"
    return [(words[i], words[j]) for i, row in enumerate(rows) for j, count in enumerate(row) for _ in range(count)]


@pytest.mark.parametrize(
    ("table", "kappa", "error"),
    [
        # Fleiss, Statistical Methods for Rates and Proportions (1981), table 13.1: kappa 0.68, standard error 0.087
        (((75, 1, 4), (5, 4, 1), (0, 0, 10)), 0.676, 0.0877),
        (((88, 14, 18), (10, 40, 10), (2, 6, 12)), 0.492, None),  # Cohen (1960), table 1
        (((20, 5), (10, 15)), 0.4, None),
        (((45, 15), (25, 15)), 0.1304, None),  # the same raw agreement as the next,
        (((25, 35), (5, 35)), 0.2593, None),  # with other margins
        (((0, 5), (5, 0)), -1.0, None),
    ],
)
def test_kappa_is_what_the_textbooks_say(table: tuple[tuple[int, ...], ...], kappa: float, error: float | None) -> None:
    found = agreement(pairs(*table))
    assert found.kappa == pytest.approx(kappa, abs=6e-4)
    assert found.n == sum(map(sum, table))
    assert found.same == sum(row[i] for i, row in enumerate(table))
    if error is not None:
        assert found.interval is not None
        assert (found.interval[1] - found.interval[0]) / 2 / Z_95 == pytest.approx(error, abs=1e-4)


def test_the_interval_of_two_words_is_the_simple_formula_where_margins_are_even() -> None:
    """With both margins at one half the large-sample variance of kappa is 4 p (1 - p) / n."""
    found = agreement(pairs((40, 10), (10, 40)))
    error = sqrt(4 * 0.8 * 0.2 / 100)
    assert found.interval == pytest.approx((0.6 - Z_95 * error, 0.6 + Z_95 * error))
    assert found.described() == "kappa 0.60 (95 % interval 0.44 to 0.76), 80 of 100 the same (80%)"


def test_the_interval_stays_between_minus_one_and_one() -> None:
    found = agreement(pairs((9, 1), (0, 2)))
    assert found.interval is not None
    assert -1 <= found.interval[0] < found.interval[1] == 1


@pytest.mark.parametrize(
    ("said", "described"),
    [
        ([], "kappa undefined: no pairs to compare"),
        ([("a", "a")], "kappa undefined (one pair is too few), 1 of 1 the same (100%)"),
        ([("a", "a")] * 5, "kappa undefined (both only ever said 'a'), 5 of 5 the same (100%)"),
    ],
)
def test_where_kappa_is_undefined(said: list[tuple[str | None, str | None]], described: str) -> None:
    found = agreement(said)
    assert (found.kappa, found.interval) == (None, None)
    assert found.described() == described


def test_perfect_agreement_has_no_interval_as_its_variance_says_nothing() -> None:
    found = agreement(pairs((3, 0), (0, 4)))
    assert (found.kappa, found.interval) == (1.0, None)
    assert found.described() == "kappa 1.00, 7 of 7 the same (100%)"


def test_one_who_says_the_same_throughout_agrees_by_chance_alone() -> None:
    assert agreement(pairs((5, 5), (0, 0))).kappa == 0
    assert agreement(pairs((0, 7), (0, 0))).kappa == 0


def test_what_one_of_them_did_not_say_is_left_out_and_counted() -> None:
    found = agreement([*pairs((3, 1), (1, 3)), ("a", None), (None, "b"), (None, None)])
    assert (found.n, found.left_out) == (8, 3)
    assert found == Agreement(
        {("a", "a"): 3, ("a", "b"): 1, ("b", "a"): 1, ("b", "b"): 3}, 3, found.kappa, found.interval
    )
    assert found.kappa == pytest.approx(0.5)
    assert found.words == ["a", "b"]
