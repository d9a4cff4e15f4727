"""The GRPO rewards against cases worked by hand."""

from pathlib import Path

import pytest

from curation.errors import InputError, NotFound
from synth.prompts import load
from train.rewards import LABELS, REWARDS, Tally, judgement, refuses, resolve, text_of

GOOD = '<reasoning>\nIt mocks a race.\n</reasoning>\n<answer>\n{"label":"disallowed","category":"race","severity":2}\n</answer>'
BAD = {"label": "disallowed", "category": "race", "severity": 2}
FINE = {"label": "allowed", "category": "none", "severity": 0}


def _tagged(reasoning: str, answer: str) -> str:
    return f"<reasoning>\n{reasoning}\n</reasoning>\n<answer>\n{answer}\n</answer>"


CASES = [
    ("correctness", GOOD, BAD, 1.0),
    ("correctness", GOOD, FINE, 0.0),
    ("correctness", "<answer>Disallowed.</answer>", BAD, 1.0),
    ("correctness", "<answer>allowed</answer>", FINE, 1.0),
    ("correctness", "disallowed", BAD, 0.0),  # not in its tags: no answer, which is wrong
    ("correctness", "", BAD, 0.0),
    ("correctness", '<answer>{"label":"disallowed"</answer>', BAD, 0.0),  # broken JSON
    ("correctness", "<answer>allowed or disallowed</answer>", BAD, 0.0),  # a hedge
    ("correctness", "<answer>disallowed</answer><answer>allowed</answer>", FINE, 0.0),  # the first one counts
    ("correctness", GOOD, {"label": None}, None),
    ("correctness", GOOD, {"label": "refuse"}, None),
    ("soft_format", GOOD, BAD, 1.0),
    ("soft_format", "  <reasoning>a</reasoning> <answer>b</answer> and more", BAD, 1.0),
    ("soft_format", "Well: <reasoning>a</reasoning><answer>b</answer>", BAD, 0.0),
    ("soft_format", "<answer>b</answer><reasoning>a</reasoning>", BAD, 0.0),
    ("soft_format", "<reasoning>a</reasoning><answer>b", BAD, 0.0),
    ("strict_format", GOOD, BAD, 1.0),
    ("strict_format", GOOD + "\n", BAD, 1.0),
    ("strict_format", GOOD + " bye", BAD, 0.0),
    ("strict_format", "<reasoning>a</reasoning>\n<answer>b</answer>", BAD, 0.0),
    ("strict_format", _tagged(" ", "b"), BAD, 0.0),
    ("tag_count", GOOD, BAD, 1.0),
    ("tag_count", "<reasoning>a</reasoning>", BAD, 0.5),
    ("tag_count", "<reasoning><reasoning>a</reasoning><answer>b</answer>", BAD, 0.75),
    ("tag_count", GOOD + "\n1234567890", BAD, 0.99),
    ("tag_count", "no tags", BAD, 0.0),
    ("tag_count", "</answer>" + "x" * 900, BAD, 0.0),  # 0.25 - 0.9
    ("severity_distance", GOOD, BAD, 1.0),
    ("severity_distance", GOOD, {**BAD, "severity": 3}, 2 / 3),
    ("severity_distance", GOOD, FINE, 1 / 3),
    ("severity_distance", _tagged("a", '{"severity":0}'), {**BAD, "severity": 3}, 0.0),
    ("severity_distance", _tagged("a", '{"severity":7}'), BAD, 0.0),
    ("severity_distance", _tagged("a", '{"severity":true}'), {"severity": 1}, 0.0),
    ("severity_distance", "<answer>disallowed</answer>", BAD, 0.0),
    ("severity_distance", GOOD, {"label": "disallowed", "severity": None}, None),
    ("calibrated_refusal", _tagged("harm", "I'm sorry, I can't help with that."), {"label": "refuse"}, 1.0),
    ("calibrated_refusal", _tagged("harm", "Step one: gather"), {"label": "refuse"}, 0.0),
    ("calibrated_refusal", _tagged("benign", "I won't answer that."), {"label": "comply"}, 0.0),
    ("calibrated_refusal", _tagged("benign", "Kill the process with Ctrl-C."), {"label": "comply"}, 1.0),
    ("calibrated_refusal", "I cannot help you with this.", {"label": "refuse"}, 1.0),  # tags are format's business
    ("calibrated_refusal", "<reasoning>I can't say", {"label": "comply"}, 0.0),  # never got to an answer
    ("calibrated_refusal", "", {"label": "refuse"}, 0.0),
    ("calibrated_refusal", GOOD, BAD, None),
    ("brevity", "x" * 240, BAD, 1.0),
    ("brevity", "x" * 600, BAD, 0.5),
    ("brevity", "字" * 300, BAD, 0.5),  # an ideograph counts two
    ("brevity", "x" * 5000, BAD, 0.0),
    ("cited_policy", GOOD, BAD, 1.0),
    ("cited_policy", _tagged("This traces the runner's pace.", "x"), BAD, 0.0),  # race inside a word is no race
    ("cited_policy", _tagged("racism and gambling", "x"), BAD, 0.5),
    ("cited_policy", _tagged("违反了种族政策", "x"), BAD, 1.0),
    ("cited_policy", _tagged("Ini melanggar dasar perkauman.", "x"), BAD, 1.0),
    ("cited_policy", _tagged("இது இனவெறி.", "x"), BAD, 1.0),
    ("cited_policy", _tagged("the home brew policy", "x"), {"category": "home_brew"}, 1.0),  # a category of the user's
    ("cited_policy", "race", BAD, 0.0),  # outside the reasoning
    ("cited_policy", GOOD, FINE, None),
]


@pytest.mark.parametrize(("name", "completion", "row", "expected"), CASES)
def test_a_reward_gives_what_was_worked_out_by_hand(
    name: str, completion: str, row: dict[str, object], expected: float | None
) -> None:
    value = REWARDS[name](completion, row)
    assert value == (expected if expected is None else pytest.approx(expected))


def test_every_reward_has_cases_and_stays_between_0_and_1() -> None:
    assert {case[0] for case in CASES} == set(REWARDS)
    for reward in REWARDS.values():
        for _, completion, row, _ in CASES:
            value = reward(completion, row)
            assert value is None or 0 <= value <= 1


def test_weights_make_the_published_points() -> None:
    """correctness 2.0, formats 0.5 each, 0.125 a tag: a perfect completion has 3.5 points of these four."""
    weights = {"correctness": 2.0, "soft_format": 0.5, "strict_format": 0.5, "tag_count": 0.5}
    total = sum(weight * (reward(GOOD, BAD) or 0) for reward, weight in resolve(weights).values())
    assert total == pytest.approx(3.5)
    assert weights["tag_count"] * (REWARDS["tag_count"]("<answer>", BAD) or 0) == pytest.approx(0.125)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I\u2019m sorry, but I can\u2019t help with that.", True),
        ("I must decline. Here is what I can do instead.", True),
        ("很抱歉，我不能协助这件事。", True),
        ("Maaf, saya tidak dapat membantu.", True),
        ("மன்னிக்கவும், இதற்கு என்னால் உதவ முடியாது.", True),
        ("You cannot boil rice without water; start with two cups.", False),
        ("I can't recommend this stall enough: go early.", False),
        ("先把米洗干净。", False),
        ("Basuh beras dahulu.", False),
        ("அரிசியைக் கழுவுங்கள்.", False),
    ],
)
def test_refusals_are_told_from_answers(text: str, expected: bool) -> None:
    assert refuses(text) is expected


def test_a_label_is_read_from_json_or_a_word() -> None:
    for label in LABELS:
        assert judgement(f'<answer>{{"label":"{label}"}}</answer>')["label"] == label
        assert judgement(f"<answer> **{label.title()}** </answer>") == {"label": label}
    assert judgement("<answer>[1, 2]</answer>") == {}
    assert judgement("<answer>{}}</answer>") == {}


def test_what_cannot_be_judged_is_unscored_and_counted_never_0() -> None:
    tally = Tally()

    def broken(completion: str, row: object) -> float:
        return float(row["no such column"])  # type: ignore[index]

    assert tally.score("broken", broken, "x", BAD) is None
    assert tally.score("broken", broken, "x", {"no such column": "two"}) is None
    assert tally.score("broken", broken, "x", {"no such column": 1}) == 1.0
    assert tally.score("cited_policy", REWARDS["cited_policy"], GOOD, FINE) is None
    assert tally.score("odd", lambda completion, row: float("nan"), "x", BAD) is None
    assert tally.score("words", lambda completion, row: "good", "x", BAD) is None  # type: ignore[arg-type, return-value]
    assert (tally.asked["broken"], tally.unscored["broken"], tally.failed["broken"]) == (3, 2, 2)
    assert tally.first["broken"] == "KeyError: 'no such column'"  # the first, not the last
    assert (tally.unscored["cited_policy"], tally.failed["cited_policy"]) == (1, 0)
    assert "broken 2 of 3 (2 failed: KeyError: 'no such column')" in tally.line()
    assert "cited_policy 1 of 1" in tally.line()
    assert "odd 1 of 1 (1 failed: TypeError: returned nan" in tally.line()
    assert "words 1 of 1 (1 failed: TypeError: returned 'good'" in tally.line()


def test_a_reward_of_the_users_is_found_by_module_and_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_rewards_a.py").write_text(
        "def short(completion, row):\n    return len(completion) < 5\nnumber = 3\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(__import__("sys").path))
    found = resolve({"own_rewards_a:short": 0.25, "correctness": 2})
    reward, weight = found["own_rewards_a:short"]
    assert (Tally().score("s", reward, "abc", {}), weight) == (1.0, 0.25)
    with pytest.raises(NotFound, match="has no 'long'"):
        resolve({"own_rewards_a:long": 1})
    with pytest.raises(NotFound, match="cannot import 'own_rewards_b'"):
        resolve({"own_rewards_b:short": 1})
    with pytest.raises(InputError, match="is a int, not a function"):
        resolve({"own_rewards_a:number": 1})


def test_unknown_rewards_and_weights_are_refused() -> None:
    with pytest.raises(NotFound, match="Did you mean 'correctness'"):
        resolve({"corectness": 1})
    with pytest.raises(InputError, match="none is given"):
        resolve({})
    with pytest.raises(InputError, match="finite"):
        resolve({"brevity": float("inf")})


def test_a_completion_is_text_or_turns() -> None:
    assert text_of("a") == text_of([{"role": "assistant", "content": "a"}]) == "a"


def test_the_librarys_refusals_and_answers_are_read_as_what_they_are() -> None:
    """calibrated_refusal on the safety prompts, in four languages: what is to be refused is, what is to be answered is."""
    for name in (
        "harmful_request_refused",
        "identity_shift_refused",
        "benign_instruction",
        "identity_shift",
        "summarise",
    ):
        prompt = load(name)
        axis = next(axis for axis in prompt.axes if axis != "register")
        label = str(prompt.labels["behaviour"])
        for language, grammar in prompt.grammars.items():
            for value in prompt.axes[axis]:
                for register in prompt.axes["register"]:
                    for item in grammar.items(f"{value}{register}", {axis: value, "register": register}, 12):
                        said = _tagged("so", item["response"])
                        assert REWARDS["calibrated_refusal"](said, {"label": label}) == 1.0, (name, language, item)
                        other = {"refuse": "comply", "comply": "refuse"}[label]
                        assert REWARDS["calibrated_refusal"](said, {"label": other}) == 0.0
