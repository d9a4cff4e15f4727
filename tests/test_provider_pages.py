"""Pages of documents as images: within the provider's limits, each once, and cached; and SOP prompts asked of a real SDK."""

import hashlib
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from fakeprovider import FakeProvider
from PIL import Image as Picture
from provider_kit import asking

from curation.documents import Document
from curation.errors import InputError, RequestRejected
from curation.records import EXAMPLE, Dialogue, Message, Request
from curation.shelf import keep_document
from curation.store import Store
from synth.choice import plans
from synth.config import RunSettings
from synth.progress import Progress
from synth.providers.anthropic import TOGETHER, _params
from synth.providers.chat_shape import ChatBody
from synth.providers.images import Images, Together
from synth.providers.openai import TOGETHER as OPENAI
from synth.run import Report, run
from tests.sop_kit import document


def picture(assets: Path, seed: int, side: int = 300) -> str:
    """A page image in the assets; its name."""
    made = BytesIO()
    Picture.new("RGB", (side, side * 7 // 5), (seed % 256, seed // 256, 90)).save(made, "PNG")
    name = hashlib.sha256(made.getvalue()).hexdigest()
    assets.mkdir(parents=True, exist_ok=True)
    (assets / name).write_bytes(made.getvalue())
    return name


def drawn(workspace: Path, name: str, *, alike: tuple[int, ...] = (), side: int = 300) -> Document:
    """A shipped SOP whose pages have images; those of `alike` look the same."""
    made = document(name)
    pages = tuple(
        page.model_copy(
            update={"image": picture(workspace / "assets", 0 if page.number in alike else page.number, side)}
        )
        for page in made.pages
    )
    kept = Document.model_validate(made.model_copy(update={"pages": pages}).model_dump())
    keep_document(Store(workspace), kept)
    return kept


def write(server: FakeProvider, workspace: Path, prompt: str, n: int, **more: Any) -> Report:
    settings = asking(
        "anthropic", server, workspace.parent, **{"max_tokens": 20_000, "documents": ("returns_abuse",), **more}
    )
    return run(RunSettings(prompt=(prompt,), n=n, workspace=workspace, **settings), Progress())


@pytest.mark.parametrize("prompt", ["sop_dialogue", "sop_reasoning", "sop_robustness", "sop_understanding"])
def test_pages_go_along_once_and_are_read_from_the_cache(workspace: Path, prompt: str) -> None:
    pages = drawn(workspace, "returns_abuse", alike=(2, 4)).pages
    with FakeProvider() as server:
        report = write(server, workspace, prompt, 6, language=("en",), axes={"pages": ("image",)}, concurrency=1)
        seen = server.stats()
    assert (report.complete, report.tallies[0].accepted) == (True, 6)
    assert seen["images_repeated"] == 0
    assert seen["images"] == report.traffic.asked * (len(pages) - 1)
    assert seen["by_status"] == {"200": report.traffic.asked}
    once = (len(pages) - 1) * 1_500  # tokens of the images, and the outline comes on top
    assert once < seen["cache_write_tokens"] < once + 5_000
    assert seen["cache_read_tokens"] == (report.traffic.asked - 1) * seen["cache_write_tokens"]
    found = Store(workspace).rows("SELECT DISTINCT json_array_length(body, '$.images') FROM examples")
    assert found == [(len(pages) - 1,)]


def test_each_document_has_a_prefix_of_its_own_whatever_the_language(workspace: Path) -> None:
    for name in ("returns_abuse", "account_takeover"):
        drawn(workspace, name)
    with FakeProvider() as server:
        names = ("returns_abuse", "account_takeover")
        report = write(
            server, workspace, "sop_dialogue", 16, documents=names, axes={"pages": ("image",)}, concurrency=1
        )
        seen = server.stats()
    assert report.complete
    assert seen["cache_read_tokens"] > 6 * seen["cache_write_tokens"]  # two writes, and all others read


def test_without_images_the_pages_are_text(workspace: Path) -> None:
    drawn(workspace, "refund_late_parcel")
    with FakeProvider() as server:
        report = write(
            server, workspace, "sop_dialogue", 4, documents=("refund_late_parcel",), axes={"pages": ("text",)}
        )
        seen = server.stats()
    assert report.complete
    assert seen["images"] == 0
    (messages,) = Store(workspace).rows("SELECT messages FROM requests LIMIT 1")[0]
    assert "[page 2]" in messages
    assert "neighbours, the guard house" in messages


def test_faults_of_a_provider_and_of_its_model_are_survived(workspace: Path) -> None:
    drawn(workspace, "account_takeover")
    faults = {"overloaded": 0.2, "cut_off": 0.1, "malformed": 0.15, "refusal": 0.1, "off_procedure": 0.3}
    with FakeProvider(faults=faults, stubborn=1) as server:
        report = write(server, workspace, "sop_dialogue", 12, documents=("account_takeover",), max_attempts=20)
    assert report.complete
    assert report.tallies[0].rejected["check:conformance@1"] > 0
    assert report.tallies[0].rejected["malformed"] > 0
    store = Store(workspace)
    dropped = store.rows("SELECT reason FROM verdicts WHERE author = 'check:conformance' AND decision = 'drop'")
    assert dropped
    assert all("turn " in reason for (reason,) in dropped)
    for (body,) in store.rows("SELECT body FROM examples SEMI JOIN status ON example = id AND status <> 'dropped'"):
        assert isinstance(EXAMPLE.validate_json(body), Dialogue)


def test_limits_on_images_are_known_before_anything_is_sent(tmp_path: Path) -> None:
    images = Images(tmp_path, most_bytes=5 * 2**20, encoded=True, most_px=8000, together=TOGETHER)

    def body(names: list[str]) -> dict[str, Any]:
        message = Message(role="user", content="What is it?", images=tuple(names))
        return _params(
            Request(
                prompt="p", prompt_id="pr", variables={}, messages=(message, message), provider="anthropic", model="m",
                sampling={"max_tokens": 10},
            ), images,
        )  # fmt: skip

    small = [picture(tmp_path, seed, 40) for seed in range(101)]
    shown = body([small[0], small[1], small[0]])["messages"]
    assert [len(message["content"]) for message in shown] == [
        3,
        len("What is it?"),
    ]  # each image once, and words alone after that
    assert [("cache_control" in block) for block in shown[0]["content"]] == [False, True, False]
    assert len(body(small[:100])["messages"][0]["content"]) == 101
    with pytest.raises(RequestRejected, match="101 images in one request, the provider's limit is 100"):
        body(small)
    wide = picture(tmp_path, 7, 2100)
    assert body([*small[:19], wide])
    with pytest.raises(RequestRejected, match="with more than 20 images in a request the provider's limit is 2000"):
        body([*small[:20], wide])


@pytest.mark.parametrize("provider", ["openai", "together"])
def test_chat_services_get_each_page_once_too(workspace: Path, provider: str) -> None:
    pages = drawn(workspace, "returns_abuse", alike=(2, 4)).pages
    with FakeProvider() as server:
        settings = asking(provider, server, workspace.parent, max_tokens=20_000, documents=("returns_abuse",))
        report = run(
            RunSettings(prompt=("sop_dialogue",), n=3, language=("en",), axes={"pages": ("image",)}, workspace=workspace, **settings),
            Progress(),
        )  # fmt: skip
        seen = server.stats()
    assert report.complete
    assert (seen["images"], seen["images_repeated"]) == (report.traffic.asked * (len(pages) - 1), 0)


def test_limits_of_chat_services_on_images_are_known_before_anything_is_sent(tmp_path: Path) -> None:
    names = [picture(tmp_path, seed, 40) for seed in range(501)]
    size = (tmp_path / names[0]).stat().st_size

    def body(shown: list[str], together: Together | None) -> dict[str, Any]:
        message = Message(role="user", content="What is it?", images=tuple(shown))
        request = Request(
            prompt="p", prompt_id="pr", variables={}, messages=(message, message), provider="openai", model="m", sampling={"max_tokens": 10}
        )  # fmt: skip
        images = Images(tmp_path, most_bytes=20 * 2**20, together=together)
        return ChatBody(images, strict=True, limit_name="max_tokens").of(request)

    first, second = body([names[0], names[1], names[0]], OPENAI)["messages"]
    assert [part["type"] for part in first["content"]] == ["image_url", "image_url", "text"]
    assert second["content"] == "What is it?"  # each image once
    assert len(body(names[:500], OPENAI)["messages"][0]["content"]) == 501
    with pytest.raises(RequestRejected, match="501 images in one request, the provider's limit is 500"):
        body(names, OPENAI)
    assert body(names, None)  # a server of one's own says itself what it takes
    some = Together(most_bytes=10 * (size + 20))
    assert body(names[:8], some)
    with pytest.raises(
        RequestRejected, match=r"50 images of 0\.\d MB in one request, the provider's limit is 0\.\d MB; render"
    ):
        body(names[:50], some)


def test_a_document_of_too_many_pages_is_refused_at_once(workspace: Path) -> None:
    steps = "\n".join(
        f"{number}. Do the thing with number {number} now.{' ' * 3}" + "\n" * 23 for number in range(1, 120)
    )
    from tests.sop_kit import of_text

    keep_document(Store(workspace), of_text(f"# Procedure\n\n{steps}", name="long"))
    settings = {
        "prompt": ("sop_dialogue",),
        "workspace": workspace,
        "documents": ("long",),
        "provider": "anthropic",
        "model": "m",
    }
    with pytest.raises(InputError, match=r"pages have steps, a request shows 100 at most; use axes.pages=\[text\]"):
        plans(RunSettings(**settings))
    assert plans(RunSettings(**settings, axes={"pages": ("text",)}))
