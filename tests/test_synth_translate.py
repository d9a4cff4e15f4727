"""`synth translate` with Google's real clients, and with a model, against the loopback server."""

import asyncio
import json
import os
import random
import re
import signal
import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from fakeprovider import FakeProvider, prose
from rich.console import Console
from synth_kit import column, ids, start

from curation.cli import COMMANDS as CURATE
from curation.commands import main
from curation.errors import InputError, ProviderError, RequestRejected, TransientError
from curation.journal import Writer
from curation.records import Completion, Decision, Dialogue, Moderation, Safety, Turn, Verdict
from curation.store import Store
from curation.tables import AnyExample, example_row, verdict_row
from synth.cli import COMMANDS as SYNTH
from synth.config import TranslateSettings
from synth.progress import Progress
from synth.providers import connect
from synth.providers.base import RATE_LIMIT
from synth.translate import Report, translate
from synth.translators import google
from synth.translators.job import Job, fault
from synth.translators.llm import ByModel, load_instruction
from synth.translators.service import ByGoogle
from synth.translators.spans import NO_WORDING, Wording

TAIL = "See https://shop.sg/{n} or ask @ah_beng, #sgfood 😂, it costs S${n}.50 with `sg-1`"
LANGUAGES = ("zh", "ms", "ta")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeProvider]:
    monkeypatch.setenv("GOOGLE_API_KEY", "a-key")
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    with FakeProvider() as running:
        yield running


def post(n: int, **fields: Any) -> Moderation:
    text = (
        f"My neighbour number {n} waited for the bus at the market and then walked home in the rain. {TAIL.format(n=n)}"
    )
    bad = n % 3 == 0
    labels = {"label": "disallowed", "category": "race", "severity": 2} if bad else {"label": "allowed"}
    return Moderation(language="en", **{"text": text, **labels, **fields})


def stored(workspace: Path, examples: list[AnyExample]) -> list[AnyExample]:
    """Examples that the checks passed."""
    store = Store(workspace)
    with Writer(store) as writer:
        for example in examples:
            verdict = Verdict(example=example.id, by="check:all@1", decision=Decision.KEEP)
            writer.append([example_row(example, verdict.at), verdict_row(verdict)])
    return examples


def posts(workspace: Path, count: int = 12) -> list[AnyExample]:
    return stored(workspace, [post(n) for n in range(1, count + 1)])


def translated(workspace: Path, server: FakeProvider, **settings: Any) -> Report:
    given = {
        "workspace": workspace,
        "base_url": server.google_url,
        "to": LANGUAGES,
        "yes": True,
        "retries": 8,
        **settings,
    }
    return translate(TranslateSettings(**given), Progress(Console(file=StringIO())))


def rows(workspace: Path, sql: str) -> list[tuple[Any, ...]]:
    return Store(workspace, create=False).rows(sql)


# -- a run ---------------------------------------------------------------------------------------------------------


def test_every_example_comes_out_in_each_language(workspace: Path, server: FakeProvider) -> None:
    posts(workspace)
    report = translated(workspace, server)
    assert report.complete
    assert [(tally.prompt, tally.accepted, tally.rejected) for tally in report.tallies] == [
        (f"en to {language}", 12, {}) for language in LANGUAGES
    ]
    for language in LANGUAGES:
        found = rows(
            workspace, f"SELECT content, label, category, severity FROM examples WHERE language = '{language}'"
        )
        assert len(found) == 12
        assert (
            sum(
                label == "disallowed" and category == "race" and severity == 2 for _, label, category, severity in found
            )
            == 4
        )
        for content, *_ in found:
            n = content.split("https://shop.sg/")[1].split()[0]
            for kept in (f"https://shop.sg/{n}", "@ah_beng", "#sgfood", "😂", f"S${n}.50", "`sg-1`"):
                assert content.count(kept) == 1, f"{kept} in {content}"
            assert "walked home" not in content


def test_a_translation_says_where_it_came_from(
    workspace: Path, server: FakeProvider, capsys: pytest.CaptureFixture[str]
) -> None:
    (parent,) = posts(workspace, 1)
    translated(workspace, server, to=("ta",))
    (child,) = column(workspace, "SELECT id FROM examples WHERE language = 'ta'")
    assert main("curate", "", CURATE, ["trace", child, f"workspace={workspace}", "--json"]) == 0
    chain = json.loads(capsys.readouterr().out)
    (origin,) = chain["origins"]
    assert (origin["kind"], origin["translator"]) == ("translated", "google:nmt")
    assert origin["parent"]["example"]["id"] == parent.id
    assert origin["completion"]["model"] == "nmt"
    assert origin["request"]["variables"] == {"source": "en", "target": "ta", "format": "html"}
    assert main("curate", "", CURATE, ["trace", child, f"workspace={workspace}"]) == 0
    assert "translated by google:nmt" in capsys.readouterr().out


def test_running_it_again_asks_nothing(workspace: Path, server: FakeProvider) -> None:
    posts(workspace)
    first = translated(workspace, server)
    before = {table: ids(workspace, table) for table in ("examples", "origins", "verdicts", "completions")}
    requests = server.stats()["requests"]
    again = translated(workspace, server)
    assert (again.traffic.asked, again.traffic.replayed) == (0, first.traffic.asked)
    assert server.stats()["requests"] == requests
    assert [tally.accepted for tally in again.tallies] == [12, 12, 12]
    assert {table: ids(workspace, table) for table in before} == before


def test_another_language_asks_only_for_that(workspace: Path, server: FakeProvider) -> None:
    posts(workspace)
    translated(workspace, server, to=("zh",))
    report = translated(workspace, server, to=("zh", "ms"))
    assert (report.traffic.asked, report.traffic.replayed) == (24, 24)


def test_cost_is_by_the_character(workspace: Path, server: FakeProvider) -> None:
    posts(workspace)
    report = translated(workspace, server)
    stats = server.stats()
    sent = sum(
        len(m["content"])
        for (m,) in [
            (message,) for (body,) in rows(workspace, "SELECT messages FROM requests") for message in json.loads(body)
        ]
    )
    assert stats["characters"] == sent
    assert report.traffic.cost_usd == pytest.approx(sent * 20 / 1e6)
    assert report.traffic.cost_usd == pytest.approx(stats["usd"])


def test_max_usd_is_a_hard_stop(workspace: Path, server: FakeProvider) -> None:
    posts(workspace, 40)
    report = translated(workspace, server, max_usd=0.1, concurrency=64)
    assert report.stopped is not None
    assert report.stopped.startswith("max_usd=0.1 is used up")
    assert not report.complete
    assert 0.05 < server.stats()["usd"] <= 0.1
    assert translated(workspace, server).complete


def test_without_the_way_back_it_costs_about_half(workspace: Path, server: FakeProvider) -> None:
    posts(workspace)
    once = translated(workspace, server, back=False)
    assert once.traffic.asked == 36
    assert not column(workspace, "SELECT id FROM verdicts WHERE author = 'check:back_translation'")
    both = translated(workspace, server, back=True)
    assert (both.traffic.asked, both.traffic.replayed) == (36, 36)
    assert len(column(workspace, "SELECT id FROM verdicts WHERE author = 'check:back_translation'")) == 36


# -- what is selected ----------------------------------------------------------------------------------------------


def test_translations_are_not_translated_and_dropped_examples_neither(workspace: Path, server: FakeProvider) -> None:
    examples = posts(workspace, 4)
    with Writer(Store(workspace)) as writer:
        writer.append([verdict_row(Verdict(example=examples[0].id, by="human:a", decision=Decision.DROP))])
    assert translated(workspace, server, to=("zh",)).tallies[0].wanted == 3
    with pytest.raises(InputError, match="translations=true"):
        translated(workspace, server, source="zh", to=("ms",))
    assert translated(workspace, server, source="zh", to=("ms",), translations=True).tallies[0].accepted == 3
    with pytest.raises(InputError, match="language=ta matches no example"):
        translated(workspace, server, source="ta", to=("ms",))


def test_selectors_and_n(workspace: Path, server: FakeProvider) -> None:
    posts(workspace, 12)
    report = translated(workspace, server, to=("zh",), label=("disallowed",), n=3)
    assert report.tallies[0].wanted == 3
    assert set(column(workspace, "SELECT label FROM examples WHERE language = 'zh'")) == {"disallowed"}


def test_a_reviewers_labels_are_carried_over(workspace: Path, server: FakeProvider) -> None:
    (example,) = posts(workspace, 1)
    labels: dict[str, str | int] = {"label": "disallowed", "category": "religion", "severity": 3}
    with Writer(Store(workspace)) as writer:
        writer.append([verdict_row(Verdict(example=example.id, by="human:a", decision=Decision.KEEP, labels=labels))])
    translated(workspace, server, to=("ms",))
    assert rows(workspace, "SELECT label, category, severity FROM examples WHERE language = 'ms'") == [
        ("disallowed", "religion", 3)
    ]


def test_dialogues_listings_and_refusals_are_translated_whole(workspace: Path, server: FakeProvider) -> None:
    page = "## Condition\n\n- **Used** for one year, see https://a.sg\n\n| Item | Price |\n|---|---|\n| Lamp | $5 |\n\nCollect at the market near the station, thank you very much."
    stored(workspace, [
        post(1, surface="listing", title="A good old lamp", text=page),
        Dialogue(language="en", scenario="refund", turns=(
            Turn(role="user", content="I want my money back for the lamp that I bought."),
            Turn(role="assistant", content="I can help with that. What is the number of your order?"),
        )),
        Safety(language="en", prompt="How do I pick the lock of my neighbour?", response="I cannot help with that, sorry.", behaviour="refuse", category="crime"),
    ])  # fmt: skip
    report = translated(workspace, server, to=("zh",))
    assert report.tallies[0].accepted == 3, report.tallies[0].rejected
    bodies = {
        body["task"]: body
        for body in map(json.loads, column(workspace, "SELECT body FROM examples WHERE language = 'zh'"))
    }
    text = bodies["moderation"]["text"]
    assert [line[:2] for line in text.splitlines()] == [
        line[:2] if line[:1] in "#-|" else line[:0] or text.splitlines()[at][:2]
        for at, line in enumerate(page.splitlines())
    ]
    assert text.splitlines()[5] == "|---|---|"
    assert "**" in text.splitlines()[2]
    assert "https://a.sg" in text
    assert bodies["moderation"]["title"] != "A good old lamp"
    assert [turn["role"] for turn in bodies["dialogue"]["turns"]] == ["user", "assistant"]
    assert bodies["dialogue"]["scenario"] == "refund"
    assert (bodies["safety"]["behaviour"], bodies["safety"]["category"]) == ("refuse", "crime")


def test_nothing_to_translate_is_not_asked(workspace: Path, server: FakeProvider) -> None:
    stored(workspace, [post(1, text="https://a.sg 😂 #sg")])
    report = translated(workspace, server, to=("zh",))
    assert report.tallies[0].rejected == {"nothing to translate": 1}
    assert report.traffic.asked == 0


def test_translations_stay_in_the_split_of_their_source(workspace: Path, server: FakeProvider) -> None:
    stored(workspace, [post(n, text=prose.text("en", random.Random(n), 3)) for n in range(30)])
    translated(workspace, server, back=False)
    assert main("curate", "", CURATE, ["export", "name=all", f"workspace={workspace}", "dedup=none", "--json"]) == 0
    family = "SELECT coalesce(parent, members.example) AS root, split FROM members LEFT JOIN origins ON origins.example = members.example"
    splits = rows(workspace, f"SELECT root, count(DISTINCT split), count(*) FROM ({family}) GROUP BY root")
    assert len(splits) == 30
    assert {(splits_of, size) for _, splits_of, size in splits} == {(1, 4)}
    assert len(set(column(workspace, "SELECT split FROM members"))) >= 2


# -- what goes wrong -----------------------------------------------------------------------------------------------


def test_drift_is_flagged(workspace: Path, server: FakeProvider) -> None:
    posts(workspace, 10)
    server.configure(faults={"drift": 1.0})
    report = translated(workspace, server, to=("zh",))
    server.configure(faults={})
    honest = translated(workspace, server, to=("ms",))
    assert (report.tallies[0].accepted, report.tallies[0].flagged) == (10, 10)
    assert (honest.tallies[0].accepted, honest.tallies[0].flagged) == (10, 0)
    found = rows(
        workspace,
        "SELECT decision, score, reason FROM verdicts WHERE author = 'check:back_translation' AND decision = 'flag'",
    )
    assert len(found) == 10
    assert all(score < 0.4 and "under 0.4: it reads back as" in reason for _, score, reason in found)
    assert set(column(workspace, "SELECT status FROM status JOIN examples ON id = example WHERE language = 'zh'")) == {
        "flagged"
    }
    laxer = translated(workspace, server, to=("zh",), drift=0.0)
    assert (laxer.traffic.asked, laxer.tallies[0].flagged) == (0, 0)
    assert set(column(workspace, "SELECT status FROM status JOIN examples ON id = example WHERE language = 'zh'")) == {
        "passed"
    }


def test_a_lost_span_is_asked_for_once_more_without_it(workspace: Path, server: FakeProvider) -> None:
    posts(workspace, 6)
    server.configure(faults={"drop_span": 1.0})
    report = translated(workspace, server, to=("zh",), back=False)
    assert report.tallies[0].accepted == 6
    assert report.traffic.asked == 12
    reasons = column(workspace, "SELECT reason FROM malformed")
    assert len(reasons) == 6
    assert all(reason.startswith("text: lost span") for reason in reasons)
    assert set(
        column(
            workspace,
            "SELECT attempt FROM requests JOIN completions ON requests.id = request JOIN origins ON completion = completions.id",
        )
    ) == {1}
    for content in column(workspace, "SELECT content FROM examples WHERE language = 'zh'"):
        assert "#sgfood" in content
        assert "https://shop.sg/" in content


@pytest.mark.parametrize(
    "kinds", [("rate_limit", "rate_limit_after"), ("overloaded", "server_error"), ("reset", "cut_off", "wrong_json")]
)
def test_what_passes_is_waited_out(workspace: Path, server: FakeProvider, kinds: tuple[str, ...]) -> None:
    posts(workspace, 6)
    server.configure(faults=dict.fromkeys(kinds, 0.5 / len(kinds)), stubborn=1)
    report = translated(workspace, server, to=("zh", "ms"), concurrency=3)
    assert report.complete
    assert [tally.accepted for tally in report.tallies] == [6, 6]
    assert sum(report.traffic.faults.values()) > 0
    assert not report.traffic.failed


@pytest.mark.parametrize(
    ("key", "settings", "kind", "words"),
    [
        ("wrong", {}, ProviderError, "google: .*check"),
        ("", {}, InputError, "set GOOGLE_API_KEY"),
        ("a-key", {"to": ("xx",)}, InputError, "to=xx: Google does not translate from en to xx"),
        ("a-key", {"to": ("en",)}, InputError, "that is the source already"),
        ("a-key", {"to": ()}, InputError, "say into which languages"),
        ("a-key", {"mode": "batch"}, InputError, "mode=batch"),
        ("a-key", {"translator": "llm"}, InputError, "the offline provider cannot translate"),
        ("a-key", {"glossary": Path("none.yaml")}, InputError, "none.yaml: cannot be read"),
    ],
    ids=["wrong key", "no key", "no such language", "source", "nowhere", "batch", "offline", "no glossary"],
)  # fmt: skip
def test_what_cannot_be_is_said_in_a_line(
    workspace: Path, server: FakeProvider, monkeypatch: pytest.MonkeyPatch, key: str, settings: dict[str, Any],
    kind: type[Exception], words: str,
) -> None:  # fmt: skip
    posts(workspace, 3)
    monkeypatch.setenv("GOOGLE_API_KEY", key)
    with pytest.raises(kind, match=words) as caught:
        translated(workspace, server, **settings)
    assert "\n" not in str(caught.value)
    if key == "wrong":  # after the fix it goes on
        monkeypatch.setenv("GOOGLE_API_KEY", "a-key")
        assert translated(workspace, server, to=("zh",)).complete


def test_a_host_that_is_not_there(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_API_KEY", "a-key")
    posts(workspace, 1)
    settings = TranslateSettings(workspace=workspace, base_url="http://127.0.0.1:9", to=("zh",), yes=True, retries=1)
    report = translate(settings, Progress(Console(file=StringIO())))
    assert report.tallies[0].rejected == {"no answer": 1}
    assert not report.complete


# -- the glossary --------------------------------------------------------------------------------------------------


def test_names_stay_and_terms_have_their_translation(workspace: Path, server: FakeProvider) -> None:
    stored(workspace, [post(1, text="We went to the hawker centre at the HDB block of Ah Seng and then walked home.")])
    path = workspace.parent / "glossary.yaml"
    path.write_text("keep: [HDB, Ah Seng]\nterms: {zh: {hawker centre: 小贩中心}}\n", encoding="utf-8")
    report = translated(workspace, server, to=("zh", "ms"), glossary=path)
    assert [(tally.accepted, tally.flagged) for tally in report.tallies] == [(1, 0), (1, 0)]
    contents = dict(rows(workspace, "SELECT language, content FROM examples"))
    assert all("HDB" in contents[language] and "Ah Seng" in contents[language] for language in ("zh", "ms"))
    assert "小贩中心" in contents["zh"]
    assert "小贩中心" not in contents["ms"]


# -- the clients ---------------------------------------------------------------------------------------------------


def account(folder: Path) -> Path:
    """A service account's file, with a key that was made just now."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    path = folder / "account.json"
    path.write_text(json.dumps({
        "type": "service_account", "project_id": "tilth-test", "private_key_id": "1", "private_key": pem,
        "client_email": "robot@tilth-test.iam.gserviceaccount.com", "client_id": "1", "token_uri": "http://127.0.0.1:9/token",
    }))  # fmt: skip
    return path


def test_a_service_account_uses_v3(workspace: Path, server: FakeProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    posts(workspace)
    monkeypatch.delenv("GOOGLE_API_KEY")
    path = account(workspace.parent)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    report = translated(workspace, server)
    assert [tally.accepted for tally in report.tallies] == [12, 12, 12]
    assert report.traffic.cost_usd == pytest.approx(server.stats()["usd"])
    with pytest.raises(InputError, match="to=xx: Google does not translate from en to xx"):
        translated(workspace, server, to=("xx",))
    path.write_text("{}")
    with pytest.raises(InputError, match="not the JSON key of a service account"):
        translated(workspace, server)
    path.unlink()
    with pytest.raises(InputError, match=r"account\.json: cannot be read"):
        translated(workspace, server)


async def answers(server: FakeProvider, jobs: list[Job], *, timeout_s: float = 20) -> list[Any]:
    settings = TranslateSettings(to=("zh",), base_url=server.google_url, timeout_s=timeout_s)
    provider = google.connect(settings)
    translator = ByGoogle("nmt")
    try:
        return await asyncio.gather(
            *(provider.answer(translator.request(job, 0)) for job in jobs), return_exceptions=True
        )
    finally:
        await provider.close()


def job(text: str, number: int = 0, target: str = "zh") -> Job:
    return Job("en", target, {"text": text}, NO_WORDING, number)


def test_requests_share_calls_within_the_limits(server: FakeProvider) -> None:
    found = asyncio.run(answers(server, [job(f"the market of day {number}", number) for number in range(300)]))
    assert all(len(json.loads(answer.text)) == 1 for answer in found)
    assert len({answer.text for answer in found}) == 300
    assert server.stats()["requests"] == 3  # of 128, 128 and 44 segments


def test_long_texts_take_more_calls(server: FakeProvider) -> None:
    lines = "\n".join(f"the market of day {number} is open and the people come home from work" for number in range(700))
    (answer,) = asyncio.run(answers(server, [job(lines)]))
    assert len(json.loads(answer.text)) == 700
    assert server.stats()["requests"] == 6
    assert answer.usage.characters == sum(map(len, lines.splitlines()))
    (error,) = asyncio.run(answers(server, [job("word " * 6_001)]))
    assert isinstance(error, RequestRejected)
    assert "a line of 30,004 characters" in str(error)


def test_languages_do_not_share_a_call_and_a_bad_one_does_not_spoil_the_others(server: FakeProvider) -> None:
    found = asyncio.run(answers(server, [job("the market", 1), job("the market", 2, "ta"), job("the market", 3, "xx")]))
    assert [isinstance(answer, InputError) for answer in found] == [False, False, True]
    assert found[0].text != found[1].text


def test_a_rate_limit_says_how_long(server: FakeProvider) -> None:
    server.configure(faults={"rate_limit_after": 1.0})
    (error,) = asyncio.run(answers(server, [job("the market")]))
    assert isinstance(error, TransientError)
    assert error.kind == RATE_LIMIT
    assert error.retry_after_s == pytest.approx(0.2, abs=1)


def test_a_slow_answer_is_given_up(server: FakeProvider) -> None:
    server.configure(latency_ms=2000)
    began = time.monotonic()
    (error,) = asyncio.run(answers(server, [job("the market")], timeout_s=0.3))
    assert isinstance(error, TransientError)
    assert error.maybe_paid
    assert time.monotonic() - began < 1.5


# -- kill and interrupt ----------------------------------------------------------------------------------------------


def wait_for(server: FakeProvider, calls: int) -> None:
    """Return when so many calls were answered."""
    give_up = time.monotonic() + 60
    while server.stats()["answered"] < calls:
        assert time.monotonic() < give_up
        time.sleep(0.02)


def test_a_killed_run_goes_on_without_asking_twice(workspace: Path, server: FakeProvider) -> None:
    posts(workspace, 24)
    words = ("translate", "to=[zh,ta]", f"base_url={server.google_url}", "concurrency=4", "yes=true")
    server.configure(latency_ms=60)
    for calls in (4, 10):
        process = start(workspace.parent, *words)
        wait_for(server, calls)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    server.configure(latency_ms=0)
    with Writer(Store(workspace)):
        pass  # takes in what the killed processes left
    before = ids(workspace, "completions")
    report = translated(workspace, server, to=("zh", "ta"))
    assert report.traffic.replayed == len(before)
    assert report.traffic.asked == 96 - len(before)
    assert 0 < len(before) < 96
    assert len(column(workspace, "SELECT DISTINCT request FROM completions")) == 96
    assert len(ids(workspace, "completions")) == 96
    assert [tally.accepted for tally in report.tallies] == [24, 24]
    assert translated(workspace, server, to=("zh", "ta")).traffic.asked == 0


def test_an_interrupt_keeps_what_is_in_flight(workspace: Path, server: FakeProvider) -> None:
    posts(workspace, 60)
    server.configure(latency_ms=100)
    process = start(workspace.parent, "translate", "zh", f"base_url={server.google_url}", "concurrency=4", "yes=true")
    wait_for(server, 5)
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130, err
    assert "Stopped: interrupted. Nothing answered is lost." in out
    assert "will be kept" in err
    paid = server.stats()["characters"]
    kept = sum(
        len(message["content"])
        for body in column(workspace, "SELECT messages FROM requests")
        for message in json.loads(body)
    )
    assert kept == paid


# -- a model ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "how", [{"structured": True}, {"structured": False}, {"mode": "batch", "poll_s": 0.1, "gather_s": 0.2}], ids=str
)
def test_a_model_translates(
    workspace: Path, server: FakeProvider, monkeypatch: pytest.MonkeyPatch, how: dict[str, Any]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "a-key")
    posts(workspace, 4)
    settings = {
        "translator": "llm",
        "provider": "openai",
        "model": "loopback-model",
        "base_url": server.openai_url,
        **how,
    }
    report = translated(workspace, server, **settings)
    assert [(tally.accepted, tally.rejected) for tally in report.tallies] == [(4, {})] * 3
    assert set(column(workspace, "SELECT body ->> '$.translator' FROM origins")) == {"llm:openai/loopback-model"}
    for content in column(workspace, "SELECT content FROM examples WHERE language = 'ta'"):
        assert content.count("#sgfood") == content.count("😂") == content.count("`sg-1`") == 1
        assert "⟦" not in content
    assert translated(workspace, server, **settings).traffic.asked == 0


def test_a_model_is_told_what_to_keep(tmp_path: Path, server: FakeProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "a-key")
    provider = connect(TranslateSettings(to=("zh",), provider="openai", model="m", base_url=server.openai_url))
    files = sorted((Path(__file__).parent.parent / "prompts/translate").glob("*.yaml"))
    assert [path.stem for path in files] == ["faithful"]
    wording = Wording(("HDB",), {"kopi": "咖啡"})
    told = Job("en", "zh", {"title": "Kopi at the HDB", "text": " 😂 #sg\n\nno 'quotes' \"here\" "}, wording, 7)
    for path in files:
        translator = ByModel(path.stem, load_instruction(path.stem), provider, "m")
        request = translator.request(told, 0)
        system, user = (message.content for message in request.messages)
        assert "from English into Chinese" in system
        assert "between ⟦ and ⟧" in system
        assert "simplified Chinese" in system
        assert '"⟦咖啡⟧ at the ⟦HDB⟧"' in user
        assert "Copied as they stand: 咖啡  HDB  😂  #sg" in user
        assert '- "title"\n- "text"' in user
        answer = '```json\n{"title": "⟦HDB⟧的⟦咖啡⟧", "text": "⟦😂⟧ ⟦#sg⟧\\n\\n没有“引号”"}\n```'
        found = translator.read(told, 0, Completion(request=request.id, text=answer))
        assert found == {"title": "HDB的咖啡", "text": " 😂 #sg\n\n没有“引号” "}
        assert fault(told, found) is None
        assert isinstance(translator.read(told, 0, Completion(request=request.id, text="Sorry.")), str)
    broken = tmp_path / "mine.yaml"
    broken.write_text("description: something or other\nsystem: x\nuser: y\nusr: z\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"mine\.yaml: unknown key 'usr'"):
        load_instruction(str(broken))
    with pytest.raises(InputError, match=r"no translation instruction 'faithfull'.*Did you mean 'faithful'"):
        load_instruction("faithfull")


def test_refusals_are_counted_and_not_asked_again(
    workspace: Path, server: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "a-key")
    posts(workspace, 4)
    server.configure(faults={"refusal": 1.0})
    settings = {
        "translator": "llm",
        "provider": "anthropic",
        "model": "claude-haiku-4-5",
        "base_url": server.anthropic_url,
        "to": ("zh",),
    }
    report = translated(workspace, server, **settings)
    assert report.tallies[0].rejected == {"refusal": 4}
    assert report.traffic.asked == 4
    assert translated(workspace, server, **settings).traffic.asked == 0


# -- the command -----------------------------------------------------------------------------------------------------


def test_the_command_prints_counts_and_what_is_next(
    workspace: Path, server: FakeProvider, capsys: pytest.CaptureFixture[str]
) -> None:
    posts(workspace, 5)
    words = ["translate", "to=[zh,ms]", f"workspace={workspace}", f"base_url={server.google_url}", "yes=true"]
    assert main("synth", "", SYNTH, words) == 0
    shown = capsys.readouterr()
    assert "5 examples" in shown.err
    assert "from en to zh, ms, and back, by google:nmt" in shown.err
    assert "en to zh" in shown.out
    assert "20 requests asked, 0 answered before" in shown.out
    assert "curate export" in shown.out
    assert main("synth", "", SYNTH, [*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["complete"]
    assert found["traffic"]["replayed"] == 20


def test_it_asks_before_it_costs_much(workspace: Path, server: FakeProvider) -> None:
    posts(workspace, 12)
    with pytest.raises(InputError, match=r"36 translations \([0-9,]+ characters\) may cost \$.*yes=true") as caught:
        translated(workspace, server, yes=False, confirm_usd=0.01)
    assert not server.stats()["requests"]
    paid = translated(workspace, server, yes=False, confirm_usd=2).traffic.cost_usd
    low, high = (float(number) for number in re.findall(r"[0-9.]+", str(caught.value).split("$")[1])[:2])
    assert low < paid < high
    assert translated(workspace, server, yes=False, confirm_usd=0).traffic.asked == 0  # nothing is left to pay for
    with pytest.raises(InputError, match="unknown sum"):
        translated(workspace, server, yes=False, model="base", to=("fr",))
