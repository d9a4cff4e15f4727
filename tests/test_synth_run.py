"""`synth run`: fills the plan, resumes, and comes to the same whatever the timing."""

import asyncio
import json
import random
import re
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from synth_kit import WAITS, accepted, column, contents, filled, ids, narrow, start, write

from curation.commands import main
from curation.errors import InputError, NotFound, TransientError, WorkspaceError
from curation.records import Completion, Request
from curation.store import Store
from synth.choice import plans
from synth.cli import COMMANDS
from synth.config import RunSettings
from synth.programs.base import Asking
from synth.programs.single import produce
from synth.providers.base import Answer
from synth.providers.offline import Offline


def synth(*words: str) -> int:
    return main("synth", "", COMMANDS, words)


# -- filling -----------------------------------------------------------------------------------------------------


def test_a_run_fills_its_plan_and_the_same_command_asks_for_nothing(workspace: Path) -> None:
    write("waits")
    first = filled(workspace, n=1000)
    assert first.complete
    assert first.stopped is None
    assert (first.traffic.asked, first.traffic.replayed) == (200, 0)
    assert first.tallies[0].accepted == len(accepted(workspace)) == 1000
    before = contents(workspace)

    again = filled(workspace, n=1000)
    assert (again.traffic.asked, again.traffic.replayed) == (0, 200)
    assert again.tallies == first.tallies
    assert contents(workspace) == before
    assert len(ids(workspace, "runs")) == len(ids(workspace, "run_events")) == 2


def test_a_larger_n_asks_for_the_rest_and_keeps_what_was_there(workspace: Path) -> None:
    write("waits")
    filled(workspace, n=203)
    small = accepted(workspace)
    larger = filled(workspace, n=1000)
    assert (larger.traffic.asked, larger.traffic.replayed) == (159, 41)
    assert len(small) == 203
    assert small < accepted(workspace)
    assert len(accepted(workspace)) == 1000

    smaller = filled(workspace, n=100)
    assert smaller.complete
    assert smaller.traffic.asked == 0


def test_growing_in_steps_comes_to_what_one_run_comes_to(workspace: Path) -> None:
    write("narrow", narrow(150))
    for n in (7, 40, 41, 90):
        filled(workspace, "narrow.yaml", n=n, max_requests=1000)
    whole = workspace.with_name("whole")
    filled(whole, "narrow.yaml", n=90, max_requests=1000)
    assert ids(workspace) == ids(whole)
    assert ids(workspace, "requests") == ids(whole, "requests")


def test_several_prompts_share_a_run(workspace: Path) -> None:
    write("waits")
    write("queues", {**WAITS, "user": WAITS["user"] + " Mention the queue."})
    report = filled(workspace, ("waits.yaml", "queues.yaml"), n=100)
    assert [(tally.prompt, tally.accepted) for tally in report.tallies] == [("waits", 100), ("queues", 100)]
    assert len(ids(workspace, "runs")) == 1
    prompts = Counter(column(workspace, "SELECT prompt FROM origins"))
    assert prompts == {"waits": 100, "queues": 100}


def test_a_suite_names_prompts_and_counts(workspace: Path) -> None:
    write("waits", folder=Path("prompts"))
    write("queues", {**WAITS, "user": WAITS["user"] + " Mention the queue."}, folder=Path("prompts"))
    suite = Path("prompts/suites/both.yaml")
    suite.parent.mkdir()
    suite.write_text("description: Two of them.\nprompts: {waits: 30, queues: 55}\n")
    report = filled(workspace, suite="both", n=7)
    assert [(tally.prompt, tally.accepted) for tally in report.tallies] == [("waits", 30), ("queues", 55)]


def test_another_seed_gives_other_examples(workspace: Path) -> None:
    write("waits")
    filled(workspace, n=100)
    first = accepted(workspace)
    report = filled(workspace, n=100, seed=1)
    assert report.traffic.asked == 20
    assert len(accepted(workspace) - first) > 95
    assert filled(workspace, n=100).traffic.asked == filled(workspace, n=100, seed=1).traffic.asked == 0


def test_a_changed_grammar_is_another_model_and_asks_again(workspace: Path) -> None:
    write("waits")
    filled(workspace, n=50)
    english = {"item": {"text": "{1..99999} minutes on, the {thing} has not come, and I am {mood}."}}
    write("waits", {**WAITS, "offline": {**WAITS["offline"], "en": english}})
    assert filled(workspace, n=50).traffic.asked == 10


@pytest.mark.parametrize("change", [{"system": "Be brief."}, {"labels": {"label": "allowed", "category": "none"}}])
def test_a_changed_prompt_is_asked_anew(workspace: Path, change: dict[str, Any]) -> None:
    write("waits")
    filled(workspace, n=20)
    write("waits", {**WAITS, **change})
    assert filled(workspace, n=20).traffic.asked == 4


def test_a_changed_description_is_not(workspace: Path) -> None:
    write("waits")
    filled(workspace, n=20)
    write("waits", {**WAITS, "description": "Said in other words."})
    assert filled(workspace, n=20).traffic.asked == 0


# -- the grid ----------------------------------------------------------------------------------------------------


def test_axes_and_languages_are_filled_in_equal_shares(workspace: Path) -> None:
    write("waits")
    assert filled(workspace, n=600).complete
    assert set(Counter(column(workspace, "SELECT language FROM examples")).values()) == {300}
    assert Counter(column(workspace, "SELECT axes ->> 'thing' FROM origins")) == {
        "bus": 200,
        "parcel": 200,
        "plumber": 200,
    }
    assert Counter(column(workspace, "SELECT axes ->> 'mood' FROM origins")) == {"glad": 300, "cross": 300}


def test_narrowing_keeps_to_languages_and_values(workspace: Path) -> None:
    write("waits")
    assert filled(workspace, n=60, language=("ms",), axes={"thing": ("bus", "plumber")}).complete
    assert set(column(workspace, "SELECT language FROM examples")) == {"ms"}
    assert Counter(column(workspace, "SELECT axes ->> 'thing' FROM origins")) == {"bus": 30, "plumber": 30}
    assert set(column(workspace, "SELECT axes ->> 'mood' FROM origins")) == {"glad", "cross"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"language": ("ta",)}, "language=ta: prompt 'waits' is not written for it. Known: en, ms."),
        ({"axes": {"thin": ("bus",)}}, "axes.thin: prompt 'waits' has no such axis. Did you mean 'thing'?"),
        ({"axes": {"thing": ("buss",)}}, "axes.thing: no value 'buss'. Did you mean 'bus'?"),
        ({"axes": {"thing": ()}}, "axes.thing: name one value or more, e.g. axes.thing=[bus]"),
        ({"provider": "ofline"}, "no provider 'ofline'. Did you mean 'offline'?"),
        ({"suite": "moderation"}, "give prompt=... or suite=..., not both"),
    ],
)  # fmt: skip
def test_what_cannot_be_run_is_refused_before_anything_is_made(
    workspace: Path, settings: dict[str, Any], said: str
) -> None:
    write("waits")
    with pytest.raises(InputError) as caught:
        plans_and_provider(workspace, **settings)
    assert said in str(caught.value)
    assert not workspace.exists()


def plans_and_provider(workspace: Path, **settings: Any) -> None:
    asked = RunSettings(workspace=workspace, prompt=("waits.yaml",), **settings)
    from synth.providers import connect

    connect(asked, plans=plans(asked))


def test_nothing_to_run_says_what_to_say(workspace: Path) -> None:
    with pytest.raises(InputError, match=r"say what to run: prompt=general_ok, or suite=moderation"):
        plans(RunSettings(workspace=workspace))


def test_one_prompt_under_two_names_is_refused(workspace: Path) -> None:
    write("waits")
    write("twin")
    with pytest.raises(InputError, match=r"waits\.yaml and twin\.yaml ask the same"):
        filled(workspace, ("waits.yaml", "twin.yaml"), n=10)


def test_a_language_without_a_grammar_is_refused_at_once(workspace: Path) -> None:
    write("waits", {**WAITS, "language": ["en", "ms", "ta"]})
    with pytest.raises(InputError, match=r"no offline grammar for 'ta'; add offline\.ta, or choose language=\[en,ms\]"):
        filled(workspace, n=30)


# -- limits ------------------------------------------------------------------------------------------------------


def test_max_requests_stops_says_so_and_is_resumed_with_a_larger_one(workspace: Path) -> None:
    write("waits")
    stopped = filled(workspace, n=500, max_requests=30)
    assert stopped.stopped == "max_requests=30 is used up"
    assert not stopped.complete
    assert stopped.traffic.asked == len(ids(workspace, "completions")) == 30
    assert stopped.tallies[0].accepted == len(accepted(workspace)) == 150

    same = filled(workspace, n=500, max_requests=30)
    assert (same.traffic.asked, same.traffic.replayed) == (0, 30)
    larger = filled(workspace, n=500, max_requests=100)
    assert larger.complete
    assert (larger.traffic.asked, larger.traffic.replayed) == (70, 30)


def test_a_stopped_run_holds_part_of_what_the_whole_run_comes_to(workspace: Path) -> None:
    write("narrow", narrow(150))
    filled(workspace, "narrow.yaml", n=100, max_requests=17)
    part = contents(workspace)
    filled(workspace, "narrow.yaml", n=100, max_requests=1000)
    whole = workspace.with_name("whole")
    filled(whole, "narrow.yaml", n=100, max_requests=1000)
    assert contents(workspace) == contents(whole)
    assert part["origins"] < contents(whole)["origins"]


def test_a_poor_grammar_leaves_places_short_after_max_attempts(workspace: Path) -> None:
    write("poor", narrow(40))
    report = filled(workspace, "poor.yaml", n=100, max_attempts=4, max_requests=1000)
    tally = report.tallies[0]
    assert not report.complete
    assert report.stopped is None
    assert tally.accepted == len(accepted(workspace)) <= 40
    assert tally.accepted >= 38
    assert tally.short > 0
    assert report.traffic.asked <= 4 * 20
    assert max(column(workspace, "SELECT attempt FROM requests")) == 3
    assert filled(workspace, "poor.yaml", n=100, max_attempts=4, max_requests=1000).tallies == report.tallies

    more = filled(workspace, "poor.yaml", n=100, max_attempts=5, max_requests=1000)
    assert 0 < more.traffic.asked <= 20


def test_the_command_says_how_a_run_ended(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("waits")
    assert synth("run", "prompt=waits.yaml", "n=50", "max_requests=4") == 1
    assert "Stopped: max_requests=4 is used up. 30 examples are missing" in capsys.readouterr().out
    assert synth("run", "waits.yaml", "n=50") == 0
    assert "6 requests asked, 4 answered before" in capsys.readouterr().out
    assert synth("run", "waits.yaml", "n=50", "--json") == 0
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert report["complete"]
    assert report["traffic"]["replayed"] == 10
    assert not err
    write("poor", narrow(10))
    assert synth("run", "poor.yaml", "n=50", "max_requests=100") == 1
    out = capsys.readouterr().out
    assert "40 examples are missing:" in out
    assert re.search(r"poor: \d+ places of the plan got too little in 6 attempts", out)
    assert synth("run", "poor.yaml", "nn=5") == 2
    assert capsys.readouterr().err == "synth: unknown key 'nn'. Did you mean 'n'?\n"


# -- what is stored ----------------------------------------------------------------------------------------------


def test_origins_lead_from_an_example_to_its_request(workspace: Path) -> None:
    write("waits")
    filled(workspace, n=50)
    rows = Store(workspace).rows(
        "SELECT examples.content, origins.axes, origins.prompt, origins.provider, completions.text, requests.variables "
        "FROM examples JOIN origins ON origins.example = examples.id JOIN completions ON completions.id = origins.completion "
        "JOIN requests ON requests.id = completions.request"
    )
    assert len(rows) == 50
    for content, axes, prompt, provider, answer, variables in rows:
        assert content in [item["text"] for item in json.loads(answer)]
        assert json.loads(axes).items() <= json.loads(variables).items()
        assert (prompt, provider) == ("waits", "offline")


def test_every_example_has_a_verdict_of_the_checks(workspace: Path) -> None:
    write("waits")
    filled(workspace, n=50)
    assert set(column(workspace, "SELECT example FROM verdicts")) == ids(workspace)
    assert set(column(workspace, "SELECT status FROM status")) == {"passed"}


def test_dropped_examples_are_kept_with_the_reason(workspace: Path) -> None:
    item = {"text": "{say}"}
    say = [
        "We waited {1..9999} minutes for the bus.",
        "Hello [insert name here], we waited {1..9999} minutes for the bus.",
    ]
    write("blanks", {**WAITS, "language": ["en"], "offline": {"en": {"item": item, "say": say}}})
    report = filled(workspace, "blanks.yaml", n=60, max_attempts=30, max_requests=1000)
    assert report.complete
    assert len(accepted(workspace)) == 60
    dropped = Store(workspace).rows(
        "SELECT examples.content, verdicts.author, verdicts.reason FROM examples JOIN status ON status.example = examples.id "
        "JOIN verdicts ON verdicts.example = examples.id WHERE status.status = 'dropped'"
    )
    assert len(dropped) == report.tallies[0].rejected["check:placeholder@1"] > 20
    for content, author, reason in dropped:
        assert "[insert name here]" in content
        assert author == "check:placeholder"
        assert "[insert name here]" in reason


def test_what_cannot_be_read_is_kept_as_malformed(workspace: Path) -> None:
    write("waits")
    report = filled(workspace, n=300, offline={"fault_rate": 1.0}, max_attempts=20, max_requests=10_000)
    assert report.complete
    reasons = Counter(reason.split(" at ")[0] for reason in column(workspace, "SELECT reason FROM malformed"))
    assert set(reasons) == {"no JSON in the answer", "broken JSON"} or "broken JSON" in str(reasons)
    assert sum(reasons.values()) == report.tallies[0].rejected["malformed"]
    finishes = Counter(column(workspace, "SELECT finish FROM completions"))
    assert finishes["refusal"] == report.tallies[0].rejected["refusal"] > 0
    assert finishes["length"] > 0
    assert report.traffic.retries > 0
    cut = Store(workspace).rows(
        "SELECT count(*) FROM origins JOIN completions ON completions.id = origins.completion WHERE finish = 'length'"
    )
    assert cut[0][0] > 0, "the whole items of a cut-off answer are used"


def test_the_end_of_a_run_is_recorded(workspace: Path) -> None:
    write("waits")
    report = filled(workspace, n=20)
    (run, kind, body) = Store(workspace).rows("SELECT run, kind, body FROM run_events")[0]
    assert (run, kind) == (report.run, "ended")
    assert json.loads(body)["tallies"][0]["accepted"] == 20
    settings = json.loads(column(workspace, "SELECT settings FROM runs")[0])
    assert settings["n"] == 20
    assert "workspace" not in settings


# -- faults and timing -------------------------------------------------------------------------------------------


def test_faults_and_concurrency_do_not_change_what_is_accepted(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("waits")
    monkeypatch.setattr("synth.ask.FIRST_BACKOFF_S", 0.02)
    outcomes = []
    for concurrency, latency in ((1, 0), (7, 4), (64, 0), (64, 10)):
        folder = workspace.with_name(f"{concurrency}-{latency}")
        report = filled(
            folder, n=200, concurrency=concurrency, offline={"fault_rate": 0.3, "latency_ms": latency}, retries=5
        )  # fmt: skip
        assert report.complete
        outcomes.append((contents(folder), report.tallies, report.traffic.asked))
    assert outcomes.count(outcomes[0]) == len(outcomes)


class Shuffled:
    """Lets the offline provider's answers overtake each other, differently for each seed, and counts the requests."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
        self.asked: Counter[str] = Counter()
        self._random = random.Random(seed)
        self._answer = Offline.answer
        outer = self

        async def answer(self: Offline, request: Request) -> Answer:
            return await outer._late(self, request)

        monkeypatch.setattr(Offline, "answer", answer)

    async def _late(self, provider: Offline, request: Request) -> Answer:
        for _ in range(self._random.choice((0, 1, 3, 30, 100))):
            await asyncio.sleep(0)
        answer = await self._answer(provider, request)
        self.asked[request.id] += 1
        return answer


def in_order(workspace: Path, prompt: str, **settings: Any) -> dict[str, set[Any]]:
    """What a run must come to: the slots one after another, each filled before the next is begun."""
    asked = RunSettings(workspace=workspace, prompt=(prompt,), **settings)
    plan = plans(asked)[0]
    provider = Offline(asked.offline, [plan])
    found: dict[str, set[Any]] = {"requests": set(), "origins": set(), "accepted": set(), "dropped": set()}

    async def ask(request: Request) -> Completion:
        found["requests"].add(request.id)
        while True:
            try:
                answer = await provider.answer(request)
            except TransientError:
                continue
            return Completion(request=request.id, text=answer.text, finish=answer.finish, model=answer.model)

    asking = Asking(provider, provider.model(plan.prompt), plan.seed)

    async def fill() -> None:
        for slot in plan.slots():
            owned = usable = 0
            for attempt in range(asked.max_attempts):
                if owned == slot.want:
                    break
                wanted = max(1, plan.per_request - usable)
                produced = await produce(plan.prompt, slot, attempt, wanted, asking=asking, ask=ask)
                usable += sum(candidate.dropped_by is None for candidate in produced.candidates)
                for candidate in produced.candidates:
                    if owned == slot.want:
                        break
                    example = candidate.example.id
                    found["origins"].add((example, candidate.origin.completion, candidate.origin.position))
                    if candidate.dropped_by is not None:
                        found["dropped"].add(example)
                    elif example not in found["accepted"]:
                        found["accepted"].add(example)
                        owned += 1

    asyncio.run(fill())
    return found


SAY = ["We waited {1..90} minutes for the bus.", "Hello [insert name here], we waited {1..30} minutes for the bus."]
CROWDED = [
    (narrow(300), {"n": 220}),
    (narrow(60), {"n": 100, "max_attempts": 4}),
    (narrow(700, per_request=1), {"n": 150, "concurrency": 40}),
    (narrow(90, per_request=7), {"n": 60, "offline": {"fault_rate": 0.4}, "concurrency": 11}),
    ({**narrow(0), "offline": {"en": {"item": {"text": "{say}"}, "say": SAY}}}, {"n": 60, "max_attempts": 9}),
    (narrow(250), {"n": 73, "per_request": 10}),
]


@pytest.mark.parametrize("case", range(len(CROWDED)))
def test_slots_that_come_up_with_the_same_texts_settle_the_same_way_in_any_order(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, case: int
) -> None:
    prompt, settings = CROWDED[case]
    settings = {**settings, "max_requests": 100_000, "retries": 50}
    write("crowded", prompt)
    monkeypatch.setattr("synth.ask.FIRST_BACKOFF_S", 0.001)
    wanted = in_order(workspace, "crowded.yaml", **settings)
    tallies = []
    for seed in range(3):
        folder = workspace.with_name(f"seed-{seed}")
        with monkeypatch.context() as patched:
            shuffled = Shuffled(patched, seed)
            report = filled(folder, "crowded.yaml", **settings)
        assert max(shuffled.asked.values()) == 1, "a request was asked twice"
        assert ids(folder, "requests") == wanted["requests"]
        assert accepted(folder) == wanted["accepted"]
        assert ids(folder) == wanted["accepted"] | wanted["dropped"]
        origins = Store(folder).rows("SELECT example, completion, body ->> 'position' FROM origins")
        assert {(example, completion, int(at)) for example, completion, at in origins} == wanted["origins"]
        assert len(origins) == len(wanted["origins"])
        assert report.tallies[0].accepted == len(wanted["accepted"])
        tallies.append(report.tallies)
    replay = filled(folder, "crowded.yaml", **settings)  # meets the answers in yet another order
    assert (replay.traffic.asked, replay.traffic.replayed) == (0, len(wanted["requests"]))
    tallies.append(replay.tallies)
    assert tallies.count(tallies[0]) == len(tallies)
    rejected = tallies[0][0].rejected
    assert rejected["duplicate"] > 5, "the case is not crowded"


def test_a_crowded_run_that_is_stopped_again_and_again_settles_the_same_way(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt, settings = CROWDED[0]
    write("crowded", prompt)
    wanted = in_order(workspace, "crowded.yaml", **settings)
    asked: Counter[str] = Counter()
    for round_ in range(1, 100):
        with monkeypatch.context() as patched:
            shuffled = Shuffled(patched, round_)
            report = filled(workspace, "crowded.yaml", **settings, max_requests=13 * round_)
        asked += shuffled.asked
        if report.stopped is None:
            break
    assert set(asked) == wanted["requests"]
    assert max(asked.values()) == 1
    assert accepted(workspace) == ids(workspace) == wanted["accepted"]
    assert len(ids(workspace, "origins")) == len(wanted["origins"])


# -- other processes, signals ------------------------------------------------------------------------------------


def wait_for_answers(workspace: Path, count: int = 3) -> None:
    """Until so many answers are stored: the run is under way, its signal handlers are in place."""
    for _ in range(600):
        if (workspace / "tilth.duckdb").is_file() and len(ids(workspace, "completions")) >= count:
            return
        time.sleep(0.05)
    raise AssertionError("the run did not start")


SLOW = ("run", "prompt=waits.yaml", "n=1200", "workspace=workspace", "concurrency=8")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_keeps_what_is_in_flight(workspace: Path, number: signal.Signals) -> None:
    write("waits")
    process = start(workspace.parent, *SLOW, "offline.latency_ms=300")
    wait_for_answers(workspace)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "answers in flight will be kept; Ctrl-C again stops at once" in err
    assert "Stopped: interrupted." in out
    answered = len(ids(workspace, "completions"))
    event = json.loads(column(workspace, "SELECT body FROM run_events")[0])
    assert event["traffic"]["asked"] == answered == event["traffic"]["finishes"]["stop"]
    assert 3 <= answered < 240
    assert len(accepted(workspace)) == 5 * answered
    assert not list(workspace.glob("journal/*"))
    rest = filled(workspace, n=1200)
    assert (rest.traffic.asked, rest.traffic.replayed) == (240 - answered, answered)


def test_a_second_signal_stops_at_once(workspace: Path) -> None:
    write("waits")
    process = start(workspace.parent, *SLOW, "offline.latency_ms=4000")
    wait_for_answers(workspace, 1)  # the place it frees is taken at once, by a request of 2 seconds or more
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, out + err
    event = json.loads(column(workspace, "SELECT body FROM run_events")[0])
    answered = len(ids(workspace, "completions"))
    assert 1 <= answered < event["traffic"]["asked"], "it waited for the answers in flight"
    rest = filled(workspace, n=400)
    assert rest.complete
    assert rest.traffic.replayed == answered


def test_the_first_signal_drains_even_after_a_limit_stopped_the_run(workspace: Path) -> None:
    write("waits")
    process = start(workspace.parent, *SLOW, "offline.latency_ms=800", "max_requests=16")
    wait_for_answers(workspace, 9)  # from here on nothing more is asked, and 7 are in flight
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert len(ids(workspace, "completions")) == 16


def test_one_prompt_is_run_by_one_process_at_a_time_and_others_beside_it(workspace: Path) -> None:
    write("waits")
    write("queues", {**WAITS, "user": WAITS["user"] + " Mention the queue."})
    process = start(workspace.parent, *SLOW, "offline.latency_ms=500")
    wait_for_answers(workspace, 1)
    said = rf"a run of prompt 'waits' with provider 'offline' is going on in process {process.pid}; wait for it"
    with pytest.raises(WorkspaceError, match=said):
        filled(workspace, n=10)
    assert filled(workspace, "queues.yaml", n=100).complete
    assert filled(workspace, n=10, seed=1).complete
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)


def test_a_store_that_fails_stops_the_run_with_its_error(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write("waits")

    def full(*_: Any) -> int:
        raise WorkspaceError("the disk is full")

    monkeypatch.setattr(Store, "insert", full)
    with pytest.raises(WorkspaceError, match="the disk is full"):
        filled(workspace, n=2000, offline={"latency_ms": 100})
    monkeypatch.undo()
    kept = sum(path.read_text().count('["completions"') for path in workspace.glob("journal/*"))
    assert kept > 0
    monkeypatch.chdir(workspace.parent)
    again = filled(workspace, n=2000)
    assert again.complete
    assert again.traffic.replayed == kept


def test_a_missing_prompt_names_the_nearest(workspace: Path) -> None:
    write("waits", folder=Path("prompts"))
    with pytest.raises(NotFound, match=r"no prompt 'wait' in .*Did you mean 'waits'\?"):
        filled(workspace, "wait")
    assert filled(workspace, "waits", n=10).complete


def test_prompt_files_of_the_tests_are_what_they_say() -> None:
    assert yaml.safe_load(yaml.safe_dump(WAITS)) == WAITS
