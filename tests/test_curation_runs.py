"""How runs stand, as the store tells it: one that went on counts what the runs before it had come to."""

import json
from datetime import datetime, timedelta
from pathlib import Path

from curation.records import now
from curation.review.runs import RunState, runs
from curation.store import Store
from curation.tables import utc


def began(store: Store, run: str, at: datetime, examples: range, *, seed: int = 0, bad: int | None = None) -> None:
    settings = json.dumps({"prompt": ["p"], "n": 10, "seed": seed, "provider": "offline", "yes": run == "rn2"})
    with store.write() as connection:
        connection.execute("INSERT INTO runs VALUES (?, ?, 'tilth 0', ?)", [run, settings, at])
        for number in examples:
            answer = f"cp-{run}-{number}"
            connection.execute(
                "INSERT INTO completions (id, request, run, model, text, cost_usd, made_at) VALUES (?, ?, ?, 'm', '', 0.5, ?)",
                [answer, answer, run, at],
            )
            connection.execute(
                "INSERT INTO origins (id, example, completion, made_at) VALUES (?, ?, ?, ?)",
                [answer, f"ex{number}", answer, at],
            )
            if number == bad:
                connection.execute(
                    "INSERT INTO verdicts (id, example, author, decision, reason, made_at) VALUES ('v', ?, 'check:length@1', 'drop', 'x', ?)",
                    [f"ex{number}", at],
                )


def ended(store: Store, run: str, at: datetime, accepted: int) -> None:
    body = json.dumps({"tallies": [{"wanted": 10, "accepted": accepted}], "stopped": "interrupted"})
    with store.write() as connection:
        connection.execute("INSERT INTO run_events VALUES ('ev', ?, 'ended', ?, ?)", [run, body, at])


def test_a_run_that_goes_on_counts_what_was_there(workspace: Path) -> None:
    store, at = Store(workspace), utc(now())
    began(store, "rn1", at - timedelta(seconds=60), range(4), bad=1)
    ended(store, "rn1", at - timedelta(seconds=50), 3)
    began(store, "other", at - timedelta(seconds=40), range(20, 25), seed=1)
    began(store, "rn2", at - timedelta(seconds=30), range(4, 6))
    found: dict[str, RunState] = {one.id: one for one in runs(store)}
    assert list(found) == ["rn2", "other", "rn1"]
    assert [found[name].done for name in ("rn1", "other", "rn2")] == [
        3,
        5,
        5,
    ]  # 3 before and 2 now; a refused one is none
    assert [found[name].examples for name in ("rn1", "other", "rn2")] == [4, 5, 2]
    assert (found["rn1"].state, found["rn2"].state, found["rn2"].wanted, found["rn2"].cost) == (
        "stopped",
        "running",
        10,
        1.0,
    )
    left = found["rn2"].left_s
    assert left is not None
    assert 70 < left < 80  # 5 missing, at 2 in 30 seconds
    assert found["rn1"].left_s is None


def test_nobody_heard_of_it_lately(workspace: Path) -> None:
    store = Store(workspace)
    began(store, "rn1", utc(now()) - timedelta(hours=1), range(2))
    (only,) = runs(store)
    assert (only.state, only.done, only.left_s) == ("silent", 2, None)
