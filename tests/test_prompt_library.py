"""The built-in library: every prompt gives what it promises, offline, in every language."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from curation.dedup.clusters import keep
from curation.dedup.near import family_of, near_pairs
from curation.library import OTHER_KINDS, Broken
from curation.store import Store
from synth.config import RunSettings
from synth.progress import Progress
from synth.prompts import Prompt, builtin_folder, load_all, search_path
from synth.run import run
from synth.suites import load_suite, suite_folders

ALL = load_all([builtin_folder()])
PROMPTS = [prompt for prompt in ALL if isinstance(prompt, Prompt)]
WANTED = {
    "general_ok", "general_harmful", "harmful_race", "harmful_religion", "harmful_gender", "harmful_sexuality",
    "harmful_nationality", "harmful_disability", "meme_ok", "meme_harmful", "listing_ok", "listing_harassment",
    "listing_adult", "listing_spam", "listing_non_fiat_currency", "listing_weapon_components",
    "listing_government_services", "listing_gambling", "listing_iptv", "listing_phishing", "lookalike_ok",
    "identity_shift", "identity_shift_refused", "harmful_request_refused", "benign_instruction", "summarise",
}  # fmt: skip


def test_no_prompt_of_the_library_is_missing_or_broken() -> None:
    files = [path for path in builtin_folder().rglob("*.yaml") if not OTHER_KINDS & set(path.parts)]
    loaded = [prompt for prompt in ALL if not isinstance(prompt, Broken)]
    assert {prompt.name for prompt in loaded} == {path.stem for path in files}
    assert {prompt.name for prompt in PROMPTS} >= WANTED
    assert len(loaded) == len(files) >= 33  # those on documents and graphs are tested in test_synth_sop and _dialogues


@pytest.mark.parametrize("prompt", PROMPTS, ids=lambda prompt: prompt.name)
def test_a_prompt_speaks_four_languages_and_several_registers(prompt: Prompt) -> None:
    assert set(prompt.grammars) == {"en", "zh", "ms", "ta"} == set(prompt.language)
    assert "code-mixed" in prompt.axes["register"]
    assert len(prompt.axes) >= 2
    if prompt.task == "safety":
        assert prompt.labels["category"] == {"comply": "none", "refuse": "{{ harm }}"}[str(prompt.labels["behaviour"])]
    elif prompt.labels["label"] == "allowed":
        assert prompt.labels["category"] == "none"
    else:
        assert prompt.labels["category"] != "none"
        assert set(prompt.axes["severity"]) == {1, 2, 3}


@pytest.mark.parametrize("prompt", PROMPTS, ids=lambda prompt: prompt.name)
def test_400_examples_differ_and_cover_the_grid_evenly(prompt: Prompt, tmp_path: Path) -> None:
    store = _run(tmp_path, prompt.name, 400)
    assert _near_share(store) < 0.05
    _assert_even(store, prompt, 400)
    flagged = store.rows("SELECT count(*) FROM status WHERE status NOT IN ('passed', 'flagged')")[0][0]
    assert flagged <= 4  # the library's own texts pass the checks
    labels = store.rows("SELECT DISTINCT label FROM examples")
    assert labels == [(prompt.labels["behaviour" if prompt.task == "safety" else "label"],)]


def test_general_ok_gives_1000_and_then_only_what_is_missing(tmp_path: Path) -> None:
    prompt = next(prompt for prompt in PROMPTS if prompt.name == "general_ok")
    store = _run(tmp_path, "general_ok", 1000)
    assert _near_share(store) < 0.05
    _assert_even(store, prompt, 1000)
    settings = RunSettings(prompt=("general_ok",), n=1000, workspace=tmp_path)
    again = run(settings, Progress())
    assert (again.traffic.asked, again.complete) == (0, True)
    more = run(settings.model_copy(update={"n": 1200}), Progress())
    assert more.complete
    assert 40 <= more.traffic.asked <= 44  # 200 examples in fives, and what was rejected
    assert store.rows("SELECT count(*) FROM status WHERE status IN ('passed', 'flagged')")[0][0] == 1200


def test_every_suite_names_prompts_that_exist() -> None:
    folders = suite_folders(None)
    suites = [path for folder in folders for path in folder.glob("*.yaml")]
    assert suites
    for path in suites:
        assert set(load_suite(str(path), None)) <= {prompt.name for prompt in PROMPTS}


def test_the_built_in_library_is_on_the_search_path() -> None:
    assert builtin_folder() in search_path(None) or builtin_folder().samefile(search_path(None)[0])


def _run(workspace: Path, name: str, n: int) -> Store:
    report = run(RunSettings(prompt=(name,), n=n, workspace=workspace), Progress())
    assert report.complete
    assert report.tallies[0].accepted == n
    return Store(workspace)


def _near_share(store: Store) -> float:
    rows = store.rows("SELECT language, content FROM examples ORDER BY id")
    families = np.array([family_of(language) for language, _ in rows], dtype=np.uint8)
    kept, _ = keep(len(rows), near_pairs([text for _, text in rows], families, threshold=0.8))
    return 1 - float(kept.mean())


def _assert_even(store: Store, prompt: Prompt, n: int) -> None:
    languages = Counter(
        language
        for (language,) in store.rows(
            "SELECT language FROM examples JOIN status ON example = id WHERE status <> 'dropped'"
        )
    )
    assert all(abs(count - n / 4) <= 0.2 * n / 4 for count in languages.values()), languages
    for axis, values in prompt.axes.items():
        shares = Counter(
            value
            for (value,) in store.rows(
                "SELECT axes ->> ? FROM origins JOIN status USING (example) WHERE status <> 'dropped'", [f"$.{axis}"]
            )
        )
        assert set(shares) == {str(value) for value in values}
        even = n / len(values)
        assert all(0.8 * even <= count <= 1.2 * even for count in shares.values()), (axis, shares)
