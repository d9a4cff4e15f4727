"""What a translation must carry over: found, shown to a translator, found again."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.errors import InputError
from synth.translators.drift import chrf
from synth.translators.glossary import load_glossary
from synth.translators.layout import Segment, from_html, joined, needs_html, plain, split, to_html
from synth.translators.spans import Wording, changed, marked, marks_for, pieces, set_apart, unmarked

WORDING = Wording(("Tilth", "HDB", "Ah Seng", "C++"), {"hawker centre": "小贩中心", "kopi": "咖啡"})

NASTY = [
    ("See https://x.com/a_(b)?q=1&r=2#top, ok", ["https://x.com/a_(b)?q=1&r=2#top"]),
    ("(see http://a.com/b).", ["http://a.com/b"]),
    ("go to www.shop.sg.", ["www.shop.sg"]),
    ("**https://a.sg/x**", ["https://a.sg/x"]),
    ("[here](https://a.sg/x) now", ["https://a.sg/x"]),
    ("看https://x.com/a吧", ["https://x.com/a"]),
    ("bit.ly/3xYz and t.me/joinus now", ["bit.ly/3xYz", "t.me/joinus"]),
    ("shopee.com.my has it", ["shopee.com.my"]),
    ("evil[.]com, hxxp://a.b/c", ["evil[.]com", "hxxp://a.b/c"]),
    ("so good.my mum, e.g. this. In it.in", []),
    ("mail a.b+c@d.com.sg.", ["a.b+c@d.com.sg"]),
    ("hi @ah.beng_88, @小明 bye", ["@ah.beng_88", "@小明"]),
    ("#sgfood #新加坡美食 #தமிழ்நாடு #1", ["#sgfood", "#新加坡美食", "#தமிழ்நாடு", "#1"]),
    ("a#b and R&#39;s", []),
    ("#sgfood😂", ["#sgfood", "😂"]),
    ("👍🏽 ok", ["👍🏽"]),
    ("👨‍👩‍👧‍👦", ["👨‍👩‍👧‍👦"]),
    ("🇸🇬🇲🇾", ["🇸🇬", "🇲🇾"]),
    ("1️⃣ #️⃣", ["1️⃣", "#️⃣"]),
    ("🏴󠁧󠁢󠁥󠁮󠁧󠁿 ❤️‍🔥 ☕️ ✌🏿", ["🏴󠁧󠁢󠁥󠁮󠁧󠁿", "❤️‍🔥", "☕️", "✌🏿"]),
    ("haha 😂😂😂", ["😂", "😂", "😂"]),
    (":smile: at 10:30:45", [":smile:"]),
    ("call +65 9123 4567 or 012-345 6789", ["+65 9123 4567", "012-345 6789"]),
    ("S$12.50, RM9, $5k, US$1,000", ["S$12.50", "RM9", "$5k", "US$1,000"]),
    ("₹500 or Rs. 500 or 20 SGD", ["₹500", "Rs. 500", "20 SGD"]),
    ("20% off, 5kg, 5 km, 128GB, 30°C", ["20%", "5kg", "5 km", "128GB", "30°C"]),
    ("5 mangoes for 3 friends", []),
    ("run `pip x` {name} {{user}} ${HOME} %s [NAME]", ["`pip x`", "{name}", "{{user}}", "${HOME}", "%s", "[NAME]"]),
    ("<b>hi</b> a < b", ["<b>", "</b>"]),
    ("```py\nx = 1\n``` end", ["```py\nx = 1\n```"]),
    ("Tilth at HDB with Ah Seng, in C++", ["Tilth", "HDB", "Ah Seng", "C++"]),
    ("hdb HDBs Tilthy tilth", []),
    ("HDB楼下", ["HDB"]),
    ("two Hawker Centres, one kopi", ["小贩中心", "咖啡"]),
    ("kopitiam", []),
    ("HDB is at https://hdb.gov.sg/HDB #HDB", ["HDB", "https://hdb.gov.sg/HDB", "#HDB"]),
    ("", []),
]  # fmt: skip


@pytest.mark.parametrize(("text", "kept"), NASTY, ids=[text or "nothing" for text, _ in NASTY])
def test_what_is_kept(text: str, kept: list[str]) -> None:
    assert [piece.text for piece in pieces(text, WORDING) if piece.kept] == kept


def test_there_are_enough_nasty_cases() -> None:
    assert len(NASTY) >= 30


NASTY_TEXT = st.lists(
    st.one_of(st.sampled_from([text for text, _ in NASTY]), st.text(max_size=20), st.sampled_from(list("*`<>&|#- \n⟦⟧⟪"))),
    max_size=8,
).map("".join)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(NASTY_TEXT)
def test_pieces_are_the_text_and_are_all_found_again(text: str) -> None:
    cut = pieces(text)
    assert "".join(piece.text for piece in cut) == text
    assert changed(cut, text) is None


@settings(max_examples=300, deadline=None)
@given(NASTY_TEXT)
def test_marks_can_be_taken_off_again(text: str) -> None:
    marks = marks_for([text])
    shown = marked(pieces(text), marks)
    assert unmarked(shown, marks) == text
    if marks and any(piece.kept for piece in pieces(text)):
        assert marks[0] in shown


@settings(max_examples=400, deadline=None)
@given(NASTY_TEXT, st.booleans())
def test_layout_and_html_give_the_text_back(text: str, cut: bool) -> None:
    frame = split(text, cut=cut)
    segments = [part for part in frame if isinstance(part, Segment)]
    assert joined(frame, [plain(segment) for segment in segments]) == text
    assert joined(frame, [from_html(to_html(segment)) for segment in segments]) == text
    for segment in segments:
        assert plain(segment) == plain(segment).strip()
        assert "\n" not in plain(segment)
        assert not (cut and any(piece.kept for piece in segment.pieces))


@pytest.mark.parametrize(
    ("source", "translation", "problem"),
    [
        ("Go to https://a.sg 😂", "去 https://a.sg 😂", None),
        ("Go to https://a.sg 😂", "去 😂", "lost span 'https://a.sg' (url)"),
        ("😂😂", "😂", "lost span '😂' (emoji): 1 of 2"),
        ("👍", "👍🏽", "lost span '👍' (emoji)"),
        ("great", "好 😂", None),
        ("great 😂", "好 😂😂", "added span '😂'"),
        ("$5 off", "减 $5.50", "lost span '$5'"),
        ("#sg", "#sgfood", "lost span '#sg'"),
        ("HDB flat", "HDB 组屋,HDB 很好", None),
        ("kopi please", "请给我咖啡", None),
        ("kopi please", "请给我一杯", "lost span '咖啡' (term)"),
    ],
)
def test_what_became_of_the_spans(source: str, translation: str, problem: str | None) -> None:
    found = changed(pieces(source, WORDING), translation)
    assert found is None if problem is None else found is not None and found.startswith(problem)


def test_an_address_is_set_apart_from_letters_and_a_name_is_not() -> None:
    source = pieces("See https://a.sg/x at HDB #sg", WORDING)
    translation = set_apart(source, "请看https://a.sg/x了解HDB楼下#sg好")
    assert translation == "请看 https://a.sg/x 了解HDB楼下 #sg 好"
    assert changed(source, translation) is None
    assert set_apart(source, translation) == translation


def test_a_listing_is_sent_without_its_markdown() -> None:
    page = "## Lamp\n\n- **Price**: $12, R&B <lamp>\n\n| Item | Cost |\n|---|:--|\n| Lamp | $5 |\n\n1. See https://a.sg\n```\nleave me\n```\n"
    segments = [part for part in split(page) if isinstance(part, Segment)]
    assert needs_html(segments)
    assert [to_html(segment) for segment in segments] == [
        "Lamp",
        '<b>Price</b>: <span translate="no">$12</span>, R&amp;B <span translate="no">&lt;lamp&gt;</span>',
        "Item",
        "Cost",
        "Lamp",
        'See <span translate="no">https://a.sg</span>',
    ]
    assert [plain(part) for part in split(page, cut=True) if isinstance(part, Segment)] == [
        "Lamp", "**Price**:", ", R&B", "Item", "Cost", "Lamp", "See",
    ]  # fmt: skip


def test_html_as_a_service_sends_it_back() -> None:
    assert (
        from_html('买 <span translate="no" class="x">A&amp;B</span>&#39;s <b>灯</b><br>&quot;好&quot;')
        == '买 A&B\'s **灯**\n"好"'
    )


def test_chrf() -> None:
    assert chrf("the cat sat", "the cat sat") == 1
    assert chrf("The Cat  sat", "the cat sat") == 1
    assert chrf("abc", "xyz") == 0
    assert chrf("", "") == 1
    assert chrf("abc", "") == 0
    # by hand: of "ab", 1-grams a b; of "ac", a c: 1/2 both ways; of 2-grams none; precision = recall = 1/4
    assert chrf("ab", "ac") == pytest.approx(0.25)
    # "abcd" against "ab": precision 1, 1 of the orders 1, 2; recall 2/4, 1/3; F2 of P = 1, R = 5/12
    assert chrf("abcd", "ab") == pytest.approx(5 * (5 / 12) / (4 + 5 / 12))
    source = "Went to the hawker centre last night and the queue was crazy long, but worth it lah."
    honest = "I went to the hawker centre last night and the queue was very long, but it was worth it."
    assert (
        chrf(source, honest) > 0.55 > 0.35 > chrf(source, "My neighbour sells an old lamp, pick up on Sunday please.")
    )


def test_a_glossary_file(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "glossary.yaml"
    path.write_text("keep: [HDB, 1234]\nterms:\n  zh: {hawker centre: 小贩中心}\n", encoding="utf-8")
    glossary = load_glossary(path)
    assert glossary.keep == ("HDB", "1234")
    assert [p.text for p in pieces("a hawker centre", glossary.there("zh")) if p.kept] == ["小贩中心"]
    assert not any(piece.kept for piece in pieces("a hawker centre", glossary.there("ms")))
    assert [piece.text for piece in pieces("去小贩中心吃", glossary.back("zh"))] == ["去", "hawker centre", "吃"]
    path.write_text("kept: [HDB]\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"glossary\.yaml: unknown key 'kept'.*keep"):
        load_glossary(path)
    path.write_text("terms: {zh: {'': x}}\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"glossary\.yaml: terms\.zh"):
        load_glossary(path)
