"""Runs in batches whose rows expire, fail, are refused and cut off: all examples come, and every cent is accounted for."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakeprovider import FakeProvider
from provider_kit import MODELS, POSTS, asking
from synth_kit import column, filled, ids, start, write

from curation.errors import InputError

MIXED = {
    "row_expired": 0.08, "row_errored": 0.08, "row_invalid": 0.02, "malformed": 0.04, "refusal": 0.03,
    "content_filter": 0.03, "max_tokens": 0.02,
}  # fmt: skip  # 30 % in all
BATCH = {"mode": "batch", "poll_s": 0.05, "gather_s": 0.1}


@pytest.fixture(autouse=True)
def _keys_go(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ANTHROPIC_API_KEY", "TOGETHER_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, "right")


@pytest.fixture
def server() -> Iterator[FakeProvider]:
    with FakeProvider(seed=4, batch_s=0.05) as running:
        yield running


@pytest.mark.parametrize("provider", MODELS)
def test_500_examples_in_batches_through_mixed_faults(workspace: Path, server: FakeProvider, provider: str) -> None:
    write("posts", POSTS | {"per_request": 2})
    server.configure(faults=MIXED)
    settings = asking(provider, server, workspace.parent, **BATCH)
    first = filled(workspace, "posts.yaml", n=500, **settings)
    stats, traffic = server.stats(), first.traffic
    assert {kind for kind, times in stats["by_fault"].items() if times} == set(MIXED)
    assert {"expired", "server error"} <= set(traffic.faults) | {"server error"}
    assert traffic.faults["expired"] > 0
    assert sum(traffic.faults.values()) > traffic.faults["expired"]
    assert {"stop", "length"} <= set(traffic.finishes)
    assert traffic.finishes.keys() & {"refusal", "filter"}
    (tally,) = first.tallies
    assert tally.rejected["malformed"]
    assert tally.rejected["request rejected"]  # rows that the provider calls invalid, whatever the round
    assert tally.rejection
    assert tally.short == tally.rejected["request rejected"]
    assert tally.accepted >= 500 - 2 * tally.short
    assert stats["rows_paid"] == stats["paid"] == traffic.answered == len(ids(workspace, "completions"))
    assert stats["usd"] == pytest.approx(traffic.cost_usd)
    assert (stats["paid_twice"], stats["batch_twice"]) == (0, 0)
    assert column(workspace, "SELECT count(DISTINCT batch) FROM batch_events WHERE kind = 'fetched'") == [
        stats["batches_submitted"]
    ]
    server.configure(faults={kind: share for kind, share in MIXED.items() if kind != "row_invalid"})
    second = filled(workspace, "posts.yaml", n=500, **settings)
    assert second.complete, second
    assert server.stats()["usd"] == pytest.approx(traffic.cost_usd + second.traffic.cost_usd)
    assert server.stats()["paid_twice"] == 0


def test_a_live_run_does_not_pay_for_what_a_batch_is_about_to_answer(workspace: Path, server: FakeProvider) -> None:
    write("posts", POSTS)
    server.configure(batch_s=8)
    settings = asking("anthropic", server, workspace.parent, **BATCH)
    words = [f"{key}={json.dumps(str(value))}" for key, value in settings.items()]
    process = start(workspace.parent, "run", "prompt=posts.yaml", "n=20", "workspace=workspace", *words)
    while not server.stats()["batches_submitted"]:
        time.sleep(0.02)
    time.sleep(0.2)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    live = {**settings, "mode": "live"}
    with pytest.raises(InputError, match=r"4 of these requests are in batches at anthropic; go on with mode=batch"):
        filled(workspace, "posts.yaml", n=20, **live)
    server.configure(batch_s=0)
    assert filled(workspace, "posts.yaml", n=20, **settings).complete
    assert filled(workspace, "posts.yaml", n=20, **live).traffic.asked == 0
    assert server.stats()["paid"] == 4
