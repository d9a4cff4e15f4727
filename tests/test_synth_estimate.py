"""What a run is said to cost before it is run, and what it costs then; asking before money is spent."""

import io
import json
import os
import pty
import random
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import date
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from fakeprovider import Spawned
from rich.console import Console
from synth_kit import WAITS, ids, write

from curation.errors import InputError, TilthError
from curation.store import Store
from synth.choice import plans
from synth.config import AskSettings, EstimateSettings, RunSettings
from synth.confirm import confirm, confirm_run, expected_cost
from synth.dialogue_prompt import GraphPrompt
from synth.estimate import Estimate, estimate
from synth.forecast import NOTHING, Forecast, Observation, Range, forecast
from synth.plan import Plan
from synth.pricing import load_prices
from synth.progress import Progress
from synth.providers import connect
from synth.providers.offline import OfflineSettings
from synth.run import Report, run
from synth.session import existing_store, prices_of
from synth.show_estimate import estimate_command, notes

FAULTS = {"malformed": 0.03, "refusal": 0.03, "max_tokens": 0.02}
MODEL = "claude-opus-4-5"
PRICES = f"anthropic:\n  {MODEL}: {{input: 1, output: 5, cache_read: 0.1, cache_write: 1.25}}\n"  # the server's own


@pytest.fixture
def server(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Spawned]:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-test")
    Path("pricing.yaml").write_text(PRICES)
    with Spawned(faults=FAULTS) as spawned:
        yield spawned


def asking(server: Spawned, workspace: Path, **settings: Any) -> EstimateSettings:
    given: dict[str, Any] = {
        "workspace": workspace, "prompt": ("general_ok",), "provider": "anthropic", "model": MODEL,
        "base_url": server.anthropic_url, "previews": 20, **settings,
    }  # fmt: skip
    return EstimateSettings(**given)


def estimated(settings: EstimateSettings) -> Estimate:
    [plan] = plans(settings)
    return estimate(plan, settings)


def ran(settings: EstimateSettings) -> Report:
    fields = settings.model_dump(exclude={"previews", "offline"}, exclude_unset=True)
    return run(RunSettings(**fields, offline=settings.offline), Progress(Console(file=StringIO())))


# -- the estimate and the bill -------------------------------------------------------------------------------------


def test_twenty_previews_foretell_the_cost_of_two_thousand_requests(server: Spawned, workspace: Path) -> None:
    settings = asking(server, workspace, n=2000, per_request=1)
    found = estimated(settings)
    asked = server.stats()
    assert (asked["paid"], found.previews, found.sample) == (20, 20, 20)
    assert found.previews_usd == pytest.approx(asked["usd"])
    assert found.live_usd is not None
    assert found.batch_usd is not None
    assert asdict(found.batch_usd.times(2)) == pytest.approx(asdict(found.live_usd))
    report = ran(settings)
    assert report.complete
    assert report.traffic.replayed == 20, "the previews were asked again"
    bill = server.stats()
    assert bill["paid"] == bill["answered"] > 2000
    assert bill["paid_twice"] == 0
    assert (found.previews_usd + found.live_usd.expected) / bill["usd"] == pytest.approx(1, abs=0.15)
    assert 20 + found.to_ask.expected == pytest.approx(bill["paid"], rel=0.15)
    left = estimated(settings)
    assert (left.previews, left.stored) == (0, 2000)
    assert (left.to_ask, left.live_usd) == (NOTHING, NOTHING)
    assert server.stats()["paid"] == bill["paid"]
    larger = estimated(settings.model_copy(update={"n": 4000, "previews": 0}))
    assert larger.live_usd is not None
    assert larger.live_usd.expected == pytest.approx(bill["usd"], rel=0.1), "earlier answers are a better sample"
    assert larger.stored == pytest.approx(2000, abs=1)


def test_previews_are_shared_out_evenly_among_the_languages_and_over_the_axes(workspace: Path) -> None:
    [plan] = plans(EstimateSettings(prompt=("general_ok",), n=10_000))
    assert plan.size == 2000
    chosen = list(islice(plan.slots(), 20))
    assert Counter(slot.language for slot in chosen) == dict.fromkeys(plan.languages, 5)
    for axis, values in plan.axes.items():
        assert len({slot.axes[axis] for slot in chosen}) >= min(len(values), 5), axis


def test_earlier_answers_of_the_same_prompt_and_model_are_gone_by(server: Spawned, workspace: Path) -> None:
    settings = asking(server, workspace, n=120)
    ran(settings)
    paid = server.stats()["paid"]
    other = estimated(settings.model_copy(update={"seed": 7, "n": 600}))
    assert (other.previews, other.stored) == (0, 0)
    assert other.sample >= 24
    assert other.to_ask.expected == pytest.approx(120 * paid / 24, rel=0.1)
    assert server.stats()["paid"] == paid
    narrow = estimated(settings.model_copy(update={"language": ("ta",), "n": 50, "previews": 2}))
    assert narrow.sample >= 2
    assert server.stats()["paid"] == paid


def test_half_a_run_is_half_the_cost(server: Spawned, workspace: Path) -> None:
    settings = asking(server, workspace, n=400, previews=0)
    whole = estimated(settings.model_copy(update={"previews": 80}))
    ran(settings.model_copy(update={"max_requests": 40}))
    left = estimated(settings)
    assert left.stored == 80
    assert left.live_usd is not None
    assert whole.live_usd is not None
    bill = server.stats()["usd"]
    ran(settings)
    assert left.live_usd.expected == pytest.approx(server.stats()["usd"] - bill, rel=0.25, abs=0.005)


def test_nothing_is_asked_without_leave(server: Spawned, workspace: Path) -> None:
    found = estimated(asking(server, workspace, n=10_000, previews=0))
    assert server.stats()["requests"] == 0
    assert not workspace.exists()
    assert (found.sample, found.previews, found.accepted_share, found.live_s) == (0, 0, None, None)
    assert found.live_usd is not None
    assert found.live_usd.low < found.live_usd.expected < found.live_usd.high
    close = estimated(asking(server, workspace, n=10_000))
    assert close.live_usd is not None
    assert found.live_usd.low < close.live_usd.expected < found.live_usd.high


def test_a_limit_on_the_rate_makes_it_longer(server: Spawned, workspace: Path) -> None:
    free = estimated(asking(server, workspace, n=5000))
    slow = estimated(asking(server, workspace, n=5000, requests_per_minute=60))
    assert free.live_s is not None
    assert slow.live_s is not None
    assert slow.live_s.expected == pytest.approx(slow.to_ask.expected)
    assert free.live_s.expected < slow.live_s.expected / 20
    tokens = estimated(asking(server, workspace, n=5000, tokens_per_minute=10_000)).live_s
    assert tokens is not None
    assert tokens.expected > slow.live_s.expected


def test_what_has_no_price_costs_an_unknown_sum(
    server: Spawned, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = asking(server, workspace, n=100, model="claude-next", previews=4)
    found = estimated(settings)
    assert (found.live_usd, found.batch_usd, found.previews_usd) == (None, None, None)
    assert found.to_ask.expected >= 16
    assert estimate_command(settings) == 0
    shown = capsys.readouterr().out
    assert "unknown" in shown
    assert "The price of 'claude-next' is not known; give it in pricing.yaml" in shown
    assert "$0" not in shown


def test_offline_previews_cost_nothing_and_leave_nothing(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("waits")
    settings = EstimateSettings(
        workspace=workspace, prompt=("waits.yaml",), n=500, previews=20, offline={"fault_rate": 0.3}
    )
    assert estimate_command(settings) == 0
    assert "thrown away" in capsys.readouterr().out
    assert not workspace.exists()
    steady = settings.model_copy(update={"offline": OfflineSettings()})
    found = estimated(steady)
    assert found.live_usd == NOTHING
    assert found.to_ask.expected == pytest.approx(ran(steady).traffic.asked, rel=0.1)


def test_the_output_says_what_the_previews_cost_and_how_old_the_prices_are(
    server: Spawned, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = asking(server, workspace, n=1000, prompt=("general_ok", "meme_ok"), previews=4)
    assert estimate_command(settings) == 0
    shown = capsys.readouterr().out
    assert "8 previews were asked for this and cost $0.0" in shown
    assert "kept, and the run does not ask for them again" in shown
    assert "within 24 h" in shown
    assert [line.split()[0] for line in shown.splitlines()[1:4]] == ["general_ok", "meme_ok", "all"]
    assert estimate_command(settings.model_copy(update={"as_json": True})) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert (first["prompt"], second["prompt"]) == ("general_ok", "meme_ok")
    assert first["live_usd"]["low"] < first["live_usd"]["expected"] < first["live_usd"]["high"]
    dated = replace(estimated(settings.model_copy(update={"prompt": ("general_ok",)})), prices_as_of="2026-01-05")
    assert "Prices as of 2026-01-05." in notes([dated], date(2026, 6, 1))
    assert "Prices as of 2026-01-05: more than half a year ago; check them." in notes([dated], date(2026, 8, 1))


# -- the forecast ----------------------------------------------------------------------------------------------------


def seen(usable: int, language: str = "en", *, count: int = 4, refused: bool = False) -> Observation:
    return Observation(language, count, usable, 100, 40, 3e-4, 2e-4, 1.0, refused)


def means(found: Forecast) -> tuple[float, ...]:
    return found.requests.expected, found.input_tokens.expected, found.output_tokens.expected, found.usd.expected


def test_retries_are_counted_for_what_is_lacking() -> None:
    sure = forecast([seen(4)] * 20, {("en", 4, 0): 10}, max_attempts=6)
    assert means(sure) == pytest.approx((10, 1000, 400, 3e-3))
    half = forecast([seen(4), seen(0)] * 10, {("en", 4, 0): 10}, max_attempts=100)
    assert half.requests.expected == pytest.approx(20)
    assert half.usd.expected == pytest.approx(6e-3)
    shorter = forecast(
        [seen(2)] * 20, {("en", 4, 0): 10}, max_attempts=6
    )  # asks for 4, then 2, then 1, half of that a text
    assert shorter.requests.expected == pytest.approx(10 * (3 + 1 / 2 + 1 / 4 + 1 / 8))
    refusing = forecast([seen(0, refused=True)] * 20, {("en", 4, 0): 10}, max_attempts=6)
    assert means(refusing) == pytest.approx((60, 6000, 2400, 1.8e-2))
    assert forecast([seen(4)] * 20, {("en", 0, 1): 10, ("en", 2, 6): 5}, max_attempts=6).requests.expected == 0


def test_a_larger_sample_gives_a_narrower_range() -> None:
    widths = []
    for number in (1, 5, 20, 100):
        sample = [seen(4 if place % 5 else 2) for place in range(number)]
        usd = forecast(sample, {("en", 4, 0): 500}, max_attempts=6).usd
        assert usd.low < usd.expected < usd.high
        widths.append((usd.high - usd.low) / usd.expected)
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > 1
    assert widths[-1] < 0.2


def test_a_language_is_reckoned_by_its_own_answers_where_there_are_enough() -> None:
    long = [replace(seen(4, "ta"), output_tokens=400, usd=2.1e-3, output_usd=2e-3)] * 5
    places = {("en", 4, 0): 10, ("ta", 4, 0): 1}
    both = forecast([seen(4)] * 5 + long, places, max_attempts=6)
    assert means(both) == pytest.approx((11, 1100, 10 * 40 + 400, 10 * 3e-4 + 2.1e-3))
    failing = forecast([seen(4)] * 5 + [seen(0)] * 5 + long, places, max_attempts=100)
    assert failing.requests.expected == pytest.approx(11 * 1.5), "how often answers fail is judged by all of them"


LENGTHS = {"en": 20, "zh": 35, "ms": 25, "ta": 60}


def simulated(dice: random.Random, language: str, count: int) -> Observation:
    """An answer of which one in ten is a refusal, unreadable, or cut off."""
    luck, tokens = dice.random(), sum(dice.randint(LENGTHS[language], 2 * LENGTHS[language]) for _ in range(count))
    usable, tokens = (0, 12) if luck < 0.03 else (0 if luck < 0.06 else count * 2 // 3 if luck < 0.1 else count, tokens)
    return Observation(
        language, count, usable, 150, tokens, (150 + 5 * tokens) / 1e6, 5 * tokens / 1e6, 1.0, luck < 0.03
    )


def test_the_range_holds_and_the_middle_is_near_in_most_of_many_runs() -> None:
    within = near = 0
    for seed in range(40):
        dice = random.Random(seed)
        sample, places, cost = [], Counter[tuple[str, int, int]](), 0.0
        for number in range(2000):
            language, lacking, attempts = list(LENGTHS)[number % 4], 5, 0
            while lacking and attempts < 6:
                answer = simulated(dice, language, lacking)
                lacking, attempts = lacking - answer.usable, attempts + 1
                if number < 20 and attempts == 1:
                    sample.append(answer)
                    places[language, lacking, 1] += 1
                else:
                    cost += answer.usd
            places[language, 5, 0] += number >= 20
        usd = forecast(sample, places, max_attempts=6).usd
        within += usd.low <= cost <= usd.high
        near += abs(usd.expected / cost - 1) <= 0.15
    assert within >= 34
    assert near >= 38


# -- asking first ------------------------------------------------------------------------------------------------------


def test_what_is_cheap_or_agreed_to_goes_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    confirm(0.1, 1.0, AskSettings(), "this")
    confirm(0.1, 7.0, AskSettings(confirm_usd=7), "this")
    confirm(100, 200, AskSettings(yes=True), "this")
    confirm(None, None, AskSettings(yes=True), "this")
    confirm(100, 200, AskSettings(max_usd=0.5), "this")


def test_without_a_terminal_it_says_how_to_go_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    with pytest.raises(
        InputError, match=r"^500 examples may cost \$1\.20-3\.40; go ahead with yes=true, or set max_usd$"
    ):
        confirm(1.2, 3.4, AskSettings(), "500 examples")
    with pytest.raises(InputError, match=r"unknown sum; .* in pricing\.yaml, as openai: \{mine: \{input: "):
        confirm(None, None, AskSettings(provider="openai", model="mine"), "this")


@pytest.mark.parametrize(
    ("typed", "goes"), [("y\n", True), ("YES\n", True), ("\n", False), ("n\n", False), ("yolo\n", False)]
)
def test_on_a_terminal_it_asks(typed: str, goes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "r+b", buffering=0) as raw, os.fdopen(ours, "r+b", buffering=0) as keyboard:
        terminal = io.TextIOWrapper(raw, write_through=True)
        monkeypatch.setattr(sys, "stdin", terminal)
        monkeypatch.setattr(sys, "stderr", terminal)
        keyboard.write(typed.encode())
        if goes:
            confirm(1.2, 3.4, AskSettings(), "500 examples")
        else:
            with pytest.raises(TilthError, match="nothing was asked"):
                confirm(1.2, 3.4, AskSettings(), "500 examples")
        shown = b""
        while b"[y/N] " not in shown:  # what is typed comes back before or after it
            shown += keyboard.read(4096)
        assert b"500 examples may cost $1.20-3.40. Go ahead? [y/N] " in shown
        terminal.detach()


def chosen(settings: RunSettings) -> list[Plan]:
    return plans(settings)


def test_a_run_is_asked_about_before_it_spends(
    server: Spawned, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    dear = asking(server, workspace, n=100_000)
    with pytest.raises(InputError, match=r"^100,000 examples may cost \$[\d.,]+-[\d.,]+; go ahead with yes=true"):
        confirm_run(chosen(dear), dear)
    cheap = asking(server, workspace, n=5)
    confirm_run(chosen(cheap), cheap)
    unknown = asking(server, workspace, n=5, model="claude-next")
    with pytest.raises(InputError, match="unknown sum"):
        confirm_run(chosen(unknown), unknown)
    offline = RunSettings(workspace=workspace, prompt=("general_ok",), n=1_000_000)
    confirm_run(chosen(offline), offline)
    assert server.stats()["requests"] == 0
    assert not workspace.exists()


def test_what_is_stored_is_not_counted_and_what_it_cost_is_learnt_from(server: Spawned, workspace: Path) -> None:
    settings = asking(server, workspace, n=100)
    prices = {MODEL: load_prices().of("anthropic", MODEL)}
    provider = connect(settings, plans=chosen(settings), price=prices[MODEL])
    guessed = expected_cost(chosen(settings), provider, prices, None, settings)
    report = ran(settings)
    store = Store(workspace, create=False)
    assert expected_cost(chosen(settings), provider, prices, store, settings) == (0, 0)
    larger = settings.model_copy(update={"n": 200})
    known = expected_cost(chosen(larger), provider, prices, store, larger)
    assert guessed is not None
    assert known is not None
    assert guessed[0] < known[0] <= report.traffic.cost_usd * 1.1
    assert report.traffic.cost_usd * 0.9 <= known[1] < guessed[1]
    batches = expected_cost(chosen(larger), provider, prices, store, larger.model_copy(update={"mode": "batch"}))
    assert batches == pytest.approx((known[0] / 2, known[1] / 2))
    assert expected_cost(chosen(settings), provider, {MODEL: None}, store, settings) is None
    assert len(ids(workspace, "completions")) == report.traffic.asked


def test_several_models_are_priced_each_by_its_share(server: Spawned, workspace: Path) -> None:
    """Ten times the price for a model of two, and a user that costs nothing next to them."""
    cheap, dear, user = "claude-cheap", "claude-dear", "claude-user"
    own = {cheap: "1, output: 5", dear: "10, output: 50", user: "0.001, output: 0.005"}
    Path("pricing.yaml").write_text(
        "anthropic:\n" + "".join(f"  {name}: {{input: {words}, batch: 0.5}}\n" for name, words in own.items())
    )

    def cost(n: int = 20, **more: Any) -> tuple[float, float]:
        settings = asking(server, workspace, prompt=("returns",), n=n, previews=0, language=("en",), **more)
        table = prices_of(settings, "anthropic", settings.model)
        provider = connect(settings, plans=chosen(settings), price=table[settings.model or ""])
        found = expected_cost(chosen(settings), provider, table, existing_store(settings), settings)
        assert found is not None
        return found

    one, ten = cost(model=cheap), cost(model=dear)
    assert ten == pytest.approx((10 * one[0], 10 * one[1]))
    both = cost(model=[cheap, dear])
    assert both == pytest.approx((5.5 * one[0], 5.5 * one[1]))
    assert cost(model=[dear, cheap]) == pytest.approx(both)  # whichever comes first
    prompt = chosen(asking(server, workspace, prompt=("returns",), n=1))[0].prompt
    assert isinstance(prompt, GraphPrompt)
    assert 0.4 < prompt.users_share < 0.6
    spared = cost(model=dear, user_model=user)
    assert spared == pytest.approx(((1 - prompt.users_share) * ten[0], (1 - prompt.users_share) * ten[1]), rel=0.01)
    assert cost(model=[cheap, dear], mode="batch") == pytest.approx((both[0] / 2, both[1] / 2))
    settings = asking(server, workspace, prompt=("returns",), n=8, language=("en",), model=[cheap, dear], yes=True)
    report = ran(settings)  # and from what was answered before: what it really cost
    again = cost(16, model=[cheap, dear])
    assert again[0] <= report.traffic.cost_usd * 1.3
    assert again[1] >= report.traffic.cost_usd * 0.7
    found = estimated(
        asking(server, workspace, prompt=("returns",), n=16, language=("en",), model=[cheap, dear], previews=0)
    )
    assert (found.model, found.sample > 0, found.stored) == (f"{cheap} + {dear}", True, 8)
    unknown = asking(server, workspace, prompt=("returns",), n=4, model=[cheap, "claude-next"])
    with pytest.raises(InputError, match=r"unknown sum.*anthropic: \{claude-next: "):
        confirm_run(chosen(unknown), unknown)
    [line] = [line for line in notes([estimated(unknown)], date.today()) if "price" in line]
    assert "'claude-next' is not known" in line


def test_a_plan_of_millions_is_reckoned_at_once(server: Spawned, workspace: Path) -> None:
    settings = asking(server, workspace, n=50_000_000)
    prices = {MODEL: load_prices().of("anthropic", MODEL)}
    provider = connect(settings, plans=chosen(settings), price=prices[MODEL])
    cost = expected_cost(chosen(settings), provider, prices, None, settings)
    assert cost is not None
    assert 1_000 < cost[0] < cost[1] < 10_000_000


def test_ranges_add_up() -> None:
    assert Range(1, 2, 3).plus(Range(1, 1, 1)).times(2) == Range(4, 6, 8)
    assert WAITS["per_request"] == 5
