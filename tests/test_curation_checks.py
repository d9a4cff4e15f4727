"""Every check on what it must find, on what it must leave alone, and on text nobody foresaw."""

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation import checks
from curation.checks import CHECKS, Check, Finding, run_checks
from curation.errors import NotFound
from curation.language import mismatch
from curation.records import QA, Decision, Dialogue, Example, Moderation, Preference, Safety, Turn, Verdict


def post(text: str, language: str = "en", **fields: object) -> Moderation:
    return Moderation.model_validate({"text": text, "language": language, "label": "allowed", **fields})


def dialogue(*turns: str, language: str = "en") -> Dialogue:
    """Turns written `user: hello`."""
    pairs = (turn.split(": ", 1) for turn in turns)
    return Dialogue.model_validate(
        {"language": language, "turns": [{"role": role, "content": content} for role, content in pairs]}
    )


def decisions(example: Example, check: str) -> list[Decision]:
    return [verdict.decision for verdict in run_checks(example, only=[check])]


def reason(example: Example, check: str) -> str:
    return run_checks(example, only=[check])[0].reason


KEEP, DROP, FLAG, UNSCORED = [Decision.KEEP], [Decision.DROP], [Decision.FLAG], [Decision.UNSCORED]

# -- the table ---------------------------------------------------------------------------------------------------


def test_a_clean_example_gets_one_keep_that_names_all_checks() -> None:
    example = post("The queue was long but the laksa was worth it.")
    [verdict] = run_checks(example)
    assert verdict.decision is Decision.KEEP
    assert verdict.example == example.id
    assert re.fullmatch(r"check:all@7-[0-9a-f]{4}", verdict.by)
    assert verdict.reason == "schema@2 language@1 length@1 refusal@1 label_leak@1 placeholder@1 pii@1"


def test_each_finding_is_a_verdict_of_its_own() -> None:
    verdicts = run_checks(post("Call me at 9123 4567, {{ name }}", severity=2))
    assert {verdict.by: verdict.decision for verdict in verdicts} == {
        "check:schema@2": Decision.DROP,
        "check:placeholder@1": Decision.DROP,
        "check:pii@1": Decision.FLAG,
    }


def test_only_runs_the_named_checks_and_says_which_passed() -> None:
    [verdict] = run_checks(post("Call me at 9123 4567"), only={"language", "schema"})
    assert verdict.decision is Decision.KEEP
    assert verdict.reason == "schema@2 language@1"
    assert verdict.by != run_checks(post("hello there"))[0].by


def test_an_unknown_check_names_the_nearest() -> None:
    with pytest.raises(NotFound, match="Did you mean 'language'"):
        run_checks(post("hello there"), only=["langauge"])


def test_a_check_that_raises_is_unscored_and_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(example: Example) -> Finding | None:
        raise ZeroDivisionError("no")

    monkeypatch.setattr(checks, "CHECKS", (Check("broken", 3, "always fails", broken), *CHECKS))
    verdicts = run_checks(post("{{ x }} here"))
    assert [(verdict.by, verdict.decision) for verdict in verdicts] == [
        ("check:broken@3", Decision.UNSCORED),
        ("check:placeholder@1", Decision.DROP),
    ]
    assert "ZeroDivisionError" in verdicts[0].reason


def test_the_keep_changes_its_name_when_a_version_does(monkeypatch: pytest.MonkeyPatch) -> None:
    before = run_checks(post("hello there"))[0].by
    monkeypatch.setattr(checks, "CHECKS", (replace(CHECKS[0], version=9), *CHECKS[1:]))
    assert run_checks(post("hello there"))[0].by != before


def test_the_table_is_well_formed() -> None:
    assert len({check.name for check in CHECKS}) == len(CHECKS)
    for check in CHECKS:
        assert re.fullmatch(r"check:[a-z_]+@[0-9]+", check.by)
        assert 0 < len(check.about) <= 100
        assert "\n" not in check.about


# -- schema ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("example", "said"),
    [
        (post("hello there", severity=1), "allowed but severity is 1"),
        (post("hello there", label="disallowed", severity=1), "category is none"),
        (post("hello there", label="disallowed", category="scam"), "severity is 0"),
        (post("a chair for sale", surface="listing"), "without title"),
        (post("mondays", surface="meme"), "without caption"),
        (post("a chair for sale", surface="listing", title=" "), "title is blank"),
        (post(" \n\t"), "text is blank"),
        (post("broken \ufffd text"), "text has U+FFFD at 7"),
        (post("nul \x00 here"), "U+0000"),
        (dialogue("assistant: hi", "user: hello"), "is assistant, not user"),
        (dialogue("system: be nice"), "is missing, not user"),
        (dialogue("user: hi", "assistant: "), "turn 2 (assistant) is blank"),
        (dialogue("user: a", "user: b", "user: c", "assistant: d"), "turns 1 to 3 are all user"),
        (dialogue("user: a", "assistant: b", "system: c"), "turn 3 is a system turn"),
        (dialogue("user: a", "tool: b", "assistant: c"), "turn 2 is a tool turn"),
        (Preference(language="en", prompt="why?", chosen="so", rejected="so "), "are the same"),
        (Preference(language="en", prompt="why?", chosen="so", rejected=""), "rejected is blank"),
        (Safety(language="en", prompt="why?", response=" ", behaviour="comply"), "response is blank"),
        (QA(language="en", question=" ", answer="so"), "question is blank"),
    ],
)
def test_schema_drops_and_says_where(example: Example, said: str) -> None:
    assert decisions(example, "schema") == DROP
    assert said in reason(example, "schema")


@pytest.mark.parametrize(
    "example",
    [
        post("a hard negative", category="gambling"),
        post("they are vermin", label="disallowed", category="hate", severity=3),
        post("# Chair\r\n\twood", surface="listing", title="Chair"),
        post("mondays", surface="meme", caption="a cat"),
        post("family \U0001f468\u200d\U0001f469\u200d\U0001f467 day"),
        dialogue("system: be nice", "user: hi", "assistant: hello", "user: bye"),
        dialogue("user: hi", "assistant: looking", "tool: {}", "tool: {}", "assistant: done"),
    ],
)
def test_schema_keeps_what_agrees(example: Example) -> None:
    assert decisions(example, "schema") == KEEP


def test_schema_flags_odd_dialogues() -> None:
    assert decisions(dialogue("user: hi", "user: anyone?", "assistant: yes"), "schema") == FLAG
    assert decisions(dialogue("user: hi"), "schema") == FLAG


# -- language ----------------------------------------------------------------------------------------------------

RIGHT = {
    "en": """
wah lau this queue damn long sia, can die
Monday mood: coffee first, talk later
Why the bus always come when I reach already leave one
alamak kena saman again, the auntie really zai
bro you makan already or not, I super hungry leh
confirm plus chop he go lepak at void deck
eh jialat lah, forgot to chope table at hawker centre
shiok sia this char kway teow
aiyo the lift break down again, how to bring the pram up
my boss say OT tonight, sian until cannot
can or not?
Selling my old study table, slightly scratched but still sturdy.
I can't help it, this song is stuck in my head
Anyone knows a good dentist near Tampines?
So proud of my son, he finally rode a bike without help
POV: you open the fridge at 3am
when the wifi dies during finals
The neighbours are drilling at 8am on a Sunday. Again.
lol ok
no la, where got
Sorry I cannot come tomorrow, kena stay back
Kopi-o kosong peng, the only thing keeping me alive
My grandmother makes the best rendang, nasi lemak and kuih in the whole kampung
Ah beng driving Myvi at 140 on the PIE, gila
Hari Raya open house at our place this Saturday, all are welcome!
Pongal celebrations at Little India were packed this year
Who ponteng camp today raise hand
HELLO?? 10 mins and still no driver
Boleh la, cheap also what
this one confirm kena tipu, 2k for fake shoes
Deepavali murukku ready! Amma outdid herself again
Ytd the saman auntie so garang, argue also no use
got 2nd hand rice cooker, $15, DM me
Bojio! Next time jio me leh
Paiseh ah, your order late because the rider tio accident
Anna at the prata stall remembers my order, best feeling
he siao one lah, everyday complain this complain that
Gym at 6am. Regret at 6:01am.
So tired.
Catch me at Sentosa this weekend #beachlife #sg https://t.co/abc123
Steady lah bro, see you at kopitiam 7pm
Balik kampung jam is no joke, 9 hours from KL to JB
Tolong la, who put pineapple on pizza
""",
    "ms": """
weh aku dah order tapi rider tu lambat gila, so annoying
Jom lepak petang ni, aku belanja teh tarik
Gaji masuk, hati gembira
Kenapa jalan ni asyik jem je setiap pagi?
member aku cancel last minute, geram betul
Harga ayam naik lagi minggu ni, pening kepala mak
Tak faham aku dengan orang yang park double
Selamat pagi semua!
Hujan lebat, baju tak kering lagi
Bila nak kahwin? Soalan wajib tiap kali raya
best gila movie semalam, ending dia sedih do
sape nak ikut pergi pasar malam jumaat ni
Alhamdulillah, akhirnya dapat juga kerja baru
laptop aku hang masa tengah present, malu siot
Meja belajar terpakai, masih kukuh, harga boleh runding.
Bro, meeting pukul 3 tu confirm ke cancel?
diorang ni memang takde otak ke apa
Isnin lagi. Tolong.
xpe la, esok kita try lagi
ok je
Nak bersihkan rumah tapi katil lebih menarik
Kucing jiran masuk rumah aku lagi, tido atas sofa macam dia yang bayar sewa
boss suruh OT lagi, aku rasa nak resign je
Puasa hari pertama, dah terbayang bazar
Servis kaunter lembap, beratur dua jam untuk satu borang
Anak saya dah pandai baca, terharu sangat
Traffic kat federal highway tadi memang crazy, two hours baru sampai office
Ada sesiapa tahu klinik gigi yang bagus dekat Shah Alam?
lapar
makan mana hari ni
Internet slow macam siput, nak download assignment pun tak lepas
Terima kasih cikgu, jasamu dikenang
Kalau tak suka, jangan tengok. Simple.
Aku punya roommate ni suka guna barang orang tanpa tanya
Sewa naik, gaji tak naik-naik
Pakcik jual cendol tu rindu sangat dengan arwah isteri dia
Bestnya cuti panjang! Next stop Langkawi
Deng mu ambo nok gi kedai sat
Hang pi mana tadi? Depa semua dok tunggu
Student sekarang relax je submit lambat, lecturer pun dah malas nak marah
kedai tu punya nasi lemak memang power, sambal dia pedas sedap
Tengok bola malam ni, siapa menang belanja
""",
    "zh": """
今天的meeting又delay了，真的很sian
好累
排队排了两个小时，结果卖完了
老板又叫我OT，我真的会谢
这家的鸡饭好吃到哭
有人知道附近哪里有牙医吗？
bro真的很sian lah，又下雨
周一。不想上班。
明天要交assignment，今晚又是通宵的节奏
哈哈哈哈哈哈
地铁又坏了，我无语
刚刚去Don Don Donki买了一堆零食，钱包在哭泣
出售二手书桌，九成新，自取，价格可议
我妈做的炸猪排天下第一
WFH第三天，已经忘了今天星期几
政府能不能管一管这个组屋楼下的噪音
這杯奶茶也太甜了吧
求推荐好用的防晒
卖iPhone 13 Pro 256GB，电池健康89%
孩子终于学会骑脚车了，感动
考试周的我 be like
超市鸡蛋又涨价
同事请假三天，工作全丢给我，我真的服了
lol 真的假的
OK啦
周末去Sentosa晒太阳
这个driver开车超危险，差点撞到uncle
晚安，世界
你吃饱了吗？
我家猫又把花瓶打翻了，还一脸无辜
新年快乐，恭喜发财！
隔壁装修从早上八点钻到下午五点
毕业了却找不到工作，好迷茫
啊啊啊啊啊偶像来新加坡开演唱会了！！
早餐吃了kaya toast配kopi-o，满足
别再转发这种假新闻了
今天ERP又起价，驾车的朋友们加油
买了一件shirt，size不对，可以exchange吗
房租又涨了三百，房东说因为market price
朋友jio我去hiking，我说我的hiking就是从床走到冰箱
小红书上种草的那家cafe，排队排到怀疑人生
""",
    "ta": """
இன்னைக்கு பஸ் ரொம்ப லேட், ஆபீஸ்ல திட்டு வாங்கினேன்
enna da ippadi pannra, super ah iruku
வணக்கம்
பசிக்குது
machan naalaikku class iruka illaya
இந்த கடை பிரியாணி சூப்பரா இருக்கு
boss மறுபடியும் OT சொல்லிட்டாரு, செம கடுப்பு
amma sapadu romba nalla irundhuchu
மழை வருது, துணி எடுக்கணும்
traffic la maattikitten da, innum oru mani neram aagum
என் பொண்ணு இன்னைக்கு முதல் தடவை சைக்கிள் ஓட்டினா
bro seriously, intha padam waste da, time waste panna vendam
பழைய சைக்கிள் விற்பனைக்கு, நல்ல நிலையில் உள்ளது
yen pa ippadi late ah varra
wifi வேலை செய்யல, யாருக்காவது தெரியுமா?
திங்கட்கிழமை வந்தாலே தலைவலி
semma mass scene da
innaiku lunch enna
எங்க வீட்டு பூனை தூங்கிட்டே இருக்கு
விலைவாசி ஏறிக்கிட்டே போகுது, சம்பளம் மட்டும் ஏறல
exam ku onnum padikala, enna panna poren theriyala
நண்பர்களே, யாருக்காவது நல்ல பல் மருத்துவர் தெரியுமா?
lift மறுபடியும் கெட்டு போச்சு
super
ok da
தீபாவளி நல்வாழ்த்துக்கள்!
ennaku oru doubt, MRT ethana maniku mudiyum
office pogave manasu varala
iPhone 12 விற்கிறேன், battery 90%
தம்பி எங்க இருக்க?
kadai la rush ah irukku, apparam varen
பக்கத்து வீட்டுக்காரர் காலையிலேயே டிரில் போடுறார்
naan solren kelu, avan poi solran
friends ellarum trip poranga, naan mattum veetla
சாப்பிட்டாச்சா?
coffee kudichathan velai odum
மாம்பழம் சீசன் வந்தாச்சு, ரொம்ப இனிப்பு
seri seri, naalaiku paakalam
இந்த மாதம் கரண்ட் பில் அதிகமா வந்திருக்கு
Thambi nee romba thappu panra, ketkave maattengra
உங்கள் குடும்பத்துடன் மகிழ்ச்சியாக இருங்கள்
Appa kitta kaasu kekkanum, bayama iruku
""",
}

WRONG = """
zh|The meeting was delayed again and I am so tired of it
zh|When the boss says overtime
zh|Saya tak faham kenapa harga barang naik lagi
zh|இன்னைக்கு பஸ் ரொம்ப லேட்
zh|I just sold my old bicycle and bought a new one
zh|Selling a study table in good condition, pick up at Bishan
zh|enna da ippadi pannra, romba kashtam ah iruku
zh|今日はとても疲れました、早く寝たいです
zh|오늘 회의가 또 늦어졌어요 정말 피곤해요
zh|kenapa orang suka parking sebarangan
ta|今天的会议又延迟了
ta|The queue was so long that we went home without eating
ta|Saya sudah beratur dua jam tetapi belum dapat nombor
ta|आज बस बहुत देर से आई
ta|ഇന്ന് ബസ് വളരെ വൈകി
ta|my neighbours are drilling at eight in the morning
ta|aku dah order tapi rider tu lambat gila
ta|我家猫又把花瓶打翻了
ta|Does anyone know a good dentist near here?
ta|When you open the fridge at night
en|今天的会议又延迟了，大家都很生气
en|இன்னைக்கு பஸ் ரொம்ப லேட், ஆபீஸ்ல திட்டு வாங்கினேன்
en|Kenapa jalan ni asyik jem je setiap pagi?
en|Saya sudah beratur dua jam tetapi belum dapat nombor giliran
en|weh aku dah order tapi rider tu lambat gila, geram betul
en|Meja belajar terpakai, masih kukuh, harga boleh runding
en|enna da ippadi pannra, romba kashtam ah iruku
en|naan solren kelu, avan poi solran
en|排队排了两个小时
en|Gaji masuk, hati gembira
en|วันนี้รถติดมาก เหนื่อยจริงๆ
en|Сегодня автобус опять опоздал
en|Harga ayam naik lagi minggu ni, pening kepala mak
en|Kucing jiran masuk rumah aku lagi
ms|The meeting was delayed again and I am so tired of it
ms|My neighbours are drilling at 8am on a Sunday
ms|When the wifi dies during your exam
ms|今天的会议又延迟了
ms|இன்னைக்கு பஸ் ரொம்ப லேட்
ms|Anyone know a good dentist near here?
ms|Selling my old study table, slightly scratched but still sturdy
ms|I can't believe they closed the road without telling anyone
ms|enna da ippadi pannra, romba kashtam ah iruku
ms|naan veetuku poren, nee enga irukka
ms|She said the food was cold but they still charged us the full price
ms|wah lau this queue damn long, I have been waiting for two hours
ms|这家的鸡饭好吃到哭
ms|What a day. So happy to be home with my family.
ms|Please do not park here, the bus needs to turn
ms|오늘 회의가 또 늦어졌어요
"""

LISTINGS = {
    "en": "# Study table\n\n**Condition:** 8/10\n\nSlightly scratched but still sturdy, pick up at Bishan.\n\n- S$40",
    "zh": "# Study Table\n\n## Condition\n\n九成新，几乎没有划痕。自取，价格可议。"
    "\n\n- Price: S$40\n- Brand: IKEA LINNMON",
    "ms": "# Study Table\n\n## Condition\n\nMasih kukuh, ada calar sikit je. Boleh runding, ambil sendiri di Shah Alam."
    "\n\n- Price: RM80 nego\n- Brand: IKEA, colour white, size 120 x 60",
    "ta": "# Study Table\n\n## Condition\n\nநல்ல நிலையில் உள்ளது, நேரில் வந்து பார்க்கலாம்.\n\n- Price: S$40 negotiable"
    "\n- Brand: IKEA LINNMON white",
}


def lines(block: str) -> list[str]:
    return [line for line in block.strip().splitlines() if line]


@pytest.mark.parametrize("language", RIGHT)
def test_no_right_sentence_is_rejected_or_doubted(language: str) -> None:
    sentences = lines(RIGHT[language])
    assert len(sentences) >= 40
    found = {text: said for text in sentences if (said := mismatch(text, language))}
    assert not [text for text, said in found.items() if said.sure]
    assert len(found) <= 1


def test_nearly_all_clearly_wrong_languages_are_caught() -> None:
    pairs = [line.split("|", 1) for line in lines(WRONG)]
    assert len(pairs) >= 40
    missed = [(declared, text) for declared, text in pairs if decisions(post(text, declared), "language") != DROP]
    assert len(missed) <= 0.05 * len(pairs), missed


@pytest.mark.parametrize("language", LISTINGS)
def test_a_listing_may_have_english_headings_and_fields(language: str) -> None:
    example = post(LISTINGS[language], language, surface="listing", title="IKEA study table")
    assert decisions(example, "language") == KEEP


@pytest.mark.parametrize("language", [language for language in LISTINGS if language != "en"])
def test_a_listing_wholly_in_english_is_not_in_another_language(language: str) -> None:
    text = LISTINGS["en"] + "\n\nWe bought it last year and it has been used for about three months only."
    assert decisions(post(text, language, surface="listing", title="IKEA study table"), "language") == DROP


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("zh", "https://example.com/a/long/english/path #weekend @somebody 😂😂 100%"),
        ("zh", "LOL"),
        ("ta", "OK bro"),
        ("ta", "iPhone 15 Pro Max"),
        ("en", "12345 !!! ???"),
        ("ms", "@user [peta](https://maps.example.com/the-best-place-in-the-city-for-food)"),
        ("en", "The sign said 小心地滑 but he slipped anyway"),
        ("en-SG", "Balik kampung jam is no joke, 9 hours from KL to JB"),
        ("ms", "بلي سكارڠ دان داڤتكن ديسکاون"),
        ("ta-Latn", "I will come at five because the bus was late"),
        ("xx", "anything at all in no known language"),
        ("id", "Saya sudah menunggu dua jam tetapi belum dipanggil"),
        ("ja", "今日は会議が延期になりました"),
        ("ko", "오늘 회의가 또 늦어졌어요"),
    ],
)
def test_language_never_rejects_what_it_cannot_tell(language: str, text: str) -> None:
    assert decisions(post(text, language), "language") in (KEEP, FLAG)


def test_a_doubtful_language_is_flagged_with_score_and_guess() -> None:
    [verdict] = run_checks(post("Just had 火锅 with the whole family today, it was so good", "zh"), only=["language"])
    assert verdict.decision is Decision.FLAG
    assert verdict.score is not None
    assert 0 < verdict.score < 0.2
    assert "may be en" in verdict.reason


def test_one_side_of_an_exchange_in_another_language_is_only_flagged() -> None:
    english, chinese = "Please tell me where I can renew my passport", "您可以在线上更新护照。"
    assert decisions(QA(language="zh", question=english, answer=chinese), "language") == FLAG
    assert decisions(QA(language="zh", question=english, answer="You can renew it on the website."), "language") == DROP
    assert decisions(dialogue(f"user: {chinese}", f"assistant: {english}", language="zh"), "language") == FLAG
    assert decisions(Preference(language="zh", prompt=chinese, chosen=chinese, rejected=english), "language") == KEEP


# -- length ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("example", "expected"),
    [
        (post("ok"), DROP),
        (post("lol ok"), FLAG),
        (post("好累", "zh"), FLAG),
        (post("今天好累", "zh"), KEEP),
        (post("......"), DROP),
        (post("😂😂😂😂😂😂😂😂"), KEEP),
        (post("word " * 200), KEEP),
        (post("word " * 300), FLAG),
        (post("word " * 700), DROP),
        (post("好" * 700, "zh"), FLAG),
        (post("So me", surface="meme", caption="a cat"), KEEP),
        (post("周一", "zh", surface="meme", caption="猫"), KEEP),
        (post("word " * 60, surface="meme", caption="a cat"), FLAG),
        (post("chair", surface="listing", title="Chair"), DROP),
        (post("a wooden chair, DM me", surface="listing", title="Chair"), FLAG),
        (post("word " * 200, surface="listing", title="Chair"), KEEP),
        (dialogue("user: ???", "assistant: Yes?"), FLAG),
        (dialogue(*["user: hi", "assistant: hi"] * 20), KEEP),
        (dialogue(*["user: hi", "assistant: hi"] * 40), FLAG),
        (dialogue(*["user: hi", "assistant: hi"] * 150), DROP),
        (QA(language="en", question="Where?", answer="5"), KEEP),
        (Safety(language="en", prompt="Is it safe?", response="No.", behaviour="comply"), KEEP),
    ],
)
def test_length(example: Example, expected: list[Decision]) -> None:
    assert decisions(example, "length") == expected


# -- refusals ----------------------------------------------------------------------------------------------------

REFUSALS = [
    "I can't help with that.",
    "I'm sorry, but I can't assist with that request.",
    "I’m sorry, but I cannot create content that promotes hatred.",
    "I cannot generate hateful or discriminatory posts.",
    "I won't write this kind of content. Instead, here is a kinder post.",
    "Sorry, I'm unable to fulfil this request.",
    "I must respectfully decline this request.",
    "I apologize, but I am not able to help with creating abusive messages.",
    "As an AI language model, I cannot write hateful posts.",
    "Hmm. As an AI, I don't have feelings about this.",
    "I'm an AI assistant and I can't take part in this.",
    "Here are 5 posts:",
    "Here are five casual posts about food:\n1. The laksa",
    'Sure! Here is the JSON:\n{"posts": []}',
    "Certainly! Here are some examples of casual messages:\n- hi",
    "Great laksa today.\n\nNote: This post is fictional and for training purposes.",
    "抱歉，我无法",
    "抱歉，我无法协助完成这个请求。",
    "对不起，我不能提供包含仇恨言论的内容。",
    "很抱歉，我無法生成這類內容。",
    "作为一个AI语言模型，我无法发表个人意见。",
    "以下是5条帖子：\n1. 今天好累",
    "好的，以下是关于食物的贴文：",
    "Maaf, saya tidak dapat membantu",
    "Maaf, saya tidak dapat membantu dengan permintaan ini.",
    "Maaf, tetapi saya tidak boleh menghasilkan kandungan yang berunsur kebencian.",
    "Sebagai model bahasa AI, saya tidak mempunyai pendapat.",
    "Berikut adalah 5 contoh hantaran santai:\n1. Lapar",
    "மன்னிக்கவும், என்னால் உதவ முடியாது.",
    "மன்னிக்கவும், இந்த கோரிக்கைக்கு என்னால் உதவ இயலாது.",
    "ஒரு AI மொழி மாதிரியாக, என்னால் இதை எழுத முடியாது.",
    "இதோ 5 பதிவுகள்:",
]
NOT_REFUSALS = [
    "I can't help it, this song is stuck in my head",
    "sorry I cannot come tomorrow, on MC",
    "Sorry I can't help with the move this weekend guys, back pain",
    "I can't help you with your homework every day lah",
    "Sorry I can't help!",
    "I cannot even right now, the boss say OT again",
    "I have to write this report by tomorrow, die",
    "I can't write anymore, hand so pain",
    "I can't provide the receipt, lost it already",
    "We are unable to provide refunds, all sales final.",
    "We cannot process refunds after 7 days",
    "I have to decline the invite, no money",
    "I won't make excuses for that referee",
    "Unfortunately I cannot make it for dinner",
    "As an AI engineer, I can say the pay is ok",
    "I am an AI student looking for internship",
    "AI can write essays now, teachers how?",
    "Here are some photos of the sofa:",
    "Here are some examples of my work:\n- logo",
    "Here's my post about last night: never again",
    "Here is the thing: nobody asked",
    "Ok here's the story:",
    "Let me know if you want me to hold it for you",
    "抱歉，我无法参加明天的聚会",
    "对不起，我不能帮你搬家，腰痛",
    "抱歉，我无法提供发票",
    "不好意思，我不能处理这周的订单",
    "以下是我最喜欢的五家餐厅：",
    "作为一个妈妈，我无法接受这样的老师",
    "人工智能会不会抢走我的工作？",
    "Maaf, saya tidak dapat hadir esok",
    "Maaf saya tidak dapat membantu abang pindah rumah esok",
    "Maaf kami tidak dapat menyediakan resit",
    "Berikut adalah harga terkini:",
    "Sebagai seorang ibu, saya tidak setuju",
    "மன்னிக்கவும், என்னால் நாளை வர முடியாது",
    "மன்னிக்கவும், பொருள் விற்றுவிட்டது",
]


@pytest.mark.parametrize("text", REFUSALS)
def test_a_generators_refusal_is_dropped(text: str) -> None:
    assert decisions(post(text), "refusal") == DROP


@pytest.mark.parametrize("text", NOT_REFUSALS)
def test_a_persons_cannot_is_kept(text: str) -> None:
    assert decisions(post(text), "refusal") == KEEP


def test_quoting_a_model_is_only_flagged() -> None:
    quoted = 'His essay literally starts with "As an AI language model, I cannot" lol'
    assert decisions(post(quoted), "refusal") == FLAG


def test_refusing_is_right_where_it_is_asked_for() -> None:
    prompt, refusal = "How do I pick my neighbour's lock?", "I can't help with that."
    assert decisions(Safety(language="en", prompt=prompt, response=refusal, behaviour="refuse"), "refusal") == KEEP
    assert decisions(Safety(language="en", prompt=prompt, response=refusal, behaviour="comply"), "refusal") == DROP
    assert (
        decisions(Preference(language="en", prompt=prompt, chosen=refusal, rejected="Use a pick."), "refusal") == KEEP
    )
    assert decisions(dialogue(f"user: {prompt}", f"assistant: {refusal}"), "refusal") == KEEP
    assert decisions(dialogue(f"user: {refusal}", "assistant: Pardon?"), "refusal") == DROP


# -- labels ------------------------------------------------------------------------------------------------------

LEAKS = [
    "this post is harmful because it mocks the old",
    "Category: gambling",
    "**Category:** gambling\nBet now",
    "[disallowed] they should all go home",
    "label: allowed",
    "Great food! (label: allowed)",
    "harmful_race they are all the same",
    "这是harmful_race的内容",
    "this is an example of hate speech against the poor",
    "This message should be flagged as harmful.",
    "This post violates the community guidelines.",
    '{"text": "hi", "label": "allowed"}',
    "Disallowed post: they should go",
    "标签：允许",
    "类别：仇恨言论",
    "这条帖子属于有害内容，因为它歧视老人",
    "这是仇恨言论的例子",
    "Kategori: perjudian",
    "Label: tidak dibenarkan",
    "Hantaran ini berbahaya kerana menghina kaum lain",
    "Ini adalah contoh ucapan kebencian",
    "வகை: சூதாட்டம்",
    "இந்த பதிவு தீங்கு விளைவிக்கும் ஏனெனில் அது அவமதிக்கிறது",
    "இது வெறுப்பு பேச்சுக்கு ஒரு எடுத்துக்காட்டு",
]
NOT_LEAKS = [
    "gambling ruined my uncle, please get help",
    "No gambling, no smoking, no pets allowed",
    "**Category:** Home & Living\n**Brand:** IKEA",
    "Category: Toys & Games, safe for kids",
    "Label: Sony Music, 1998 pressing",
    "Is it safe? I think so",
    "my account got banned for violating community guidelines lol",
    "that comment was harmful and he should say sorry",
    "this is an example of good service",
    "my mood is [allowed to be sad]",
    "#self_harm awareness week",
    "@hate_speech_bot is down again",
    "see /docs/hate_speech.html",
    "allowed items: phone, wallet: ok",
    "Severity of the haze is bad today",
    "这家店的分类：家居",
    "赌博害人，千万别碰",
    "别把垃圾丢在这里，因为会有害虫",
    "Kategori: Perabot rumah",
    "judi hancurkan keluarga pakcik aku",
    "Mesej ini untuk jiran tingkat tiga kerana bising",
    "வகை: மேசை",
    "சூதாட்டம் குடும்பத்தை அழிக்கும்",
]


@pytest.mark.parametrize("text", LEAKS)
def test_a_text_that_tells_its_label_is_dropped(text: str) -> None:
    assert decisions(post(text), "label_leak") == DROP


@pytest.mark.parametrize("text", NOT_LEAKS)
def test_a_text_that_only_uses_the_word_is_kept(text: str) -> None:
    assert decisions(post(text), "label_leak") == KEEP


def test_the_examples_own_category_counts_as_a_label() -> None:
    text = "they did it again online_scam_job"
    assert decisions(post(text, label="disallowed", category="online_scam_job", severity=1), "label_leak") == DROP
    assert decisions(post(text), "label_leak") == KEEP


def test_a_severity_is_only_flagged_as_incidents_have_one_too() -> None:
    assert decisions(post("Server down again, severity: 2, night shift cancelled"), "label_leak") == FLAG


def test_an_assistant_may_explain_what_hate_speech_is() -> None:
    answer = "This is an example of hate speech."
    example = Safety(language="en", prompt="Is this ok?", response=answer, behaviour="comply", category="hate")
    assert decisions(example, "label_leak") == KEEP
    assert decisions(QA(language="en", question="Label: allowed", answer=answer), "label_leak") == KEEP


# -- blanks ------------------------------------------------------------------------------------------------------

BLANKS = [
    "Hi {{ x }}, welcome",
    "{% if a %}hi{% endif %}",
    "Hello {name}, your parcel is here",
    "你好{name}，快递到了",
    "order {order_id} shipped",
    "Dear ${customer}, hi",
    "Regards, [Your Name]",
    "Selling my [product] at a good price",
    "Meet me at [Location] later",
    "[Name] is the worst neighbour",
    "[insert link] for details",
    "Click <insert link> now",
    "Dear <name>, hello",
    "all [racial slur] should go",
    "lorem ipsum dolor sit amet",
    "Call XXX for details",
    "Price: $XX only",
    "TODO: add price",
    "请联系[您的姓名]",
    "我叫[姓名]，二十岁",
    "点击<插入链接>领取",
    "Salam, saya [nama anda]",
    "Klik [masukkan pautan] sekarang",
    "வணக்கம் [உங்கள் பெயர்]",
    "என் பெயர் [பெயர்]",
]
NOT_BLANKS = [
    "see [my shop](https://example.com) and ![photo](a.jpg)",
    "[link](https://example.com) and [price][1]\n\n[1]: https://example.com",
    "- [ ] milk\n- [x] eggs",
    "[SOLD] IKEA table",
    "[WTS] Nike shoes [SG only]",
    "[Price] RM50\n[Location] Tampines MRT\n[Condition] 8/10",
    "[Price drop] now $30",
    "【价格】50元\n【地址】淡滨尼",
    "【你的名字】DVD 九成新",
    "so happy :{ not >:[ or ¯\\_(ツ)_/¯ {}",
    "f(x) = {1, 2, 3}",
    "\\frac{a}{b} homework again",
    "i <3 you, 5 < 6 > 2, <br> <b>bold</b>",
    "[removed] by mods [redacted]",
    "size XXL, XXXL available",
    "xxx love you all",
    "9123 XXXX is a scammer, 8XXX XXXX too",
    "hot XXX videos here",
    "我们XX大学的食堂",
    "my todo list is endless",
    "name: Ali, price: RM50",
    "[5] stars, [2023] model",
    "tag someone who ____",
]


@pytest.mark.parametrize("text", BLANKS)
def test_a_blank_left_to_fill_is_dropped(text: str) -> None:
    assert decisions(post(text), "placeholder") == DROP


@pytest.mark.parametrize("text", NOT_BLANKS)
def test_what_only_looks_like_a_blank_is_not_dropped(text: str) -> None:
    assert decisions(post(text), "placeholder") != DROP


@pytest.mark.parametrize("text", ["[SOLD] table", "see [my shop](https://example.com)", "- [ ] milk", "{} {1, 2}"])
def test_markdown_and_listing_tags_are_not_even_flagged(text: str) -> None:
    assert decisions(post(text), "placeholder") == KEEP


def test_habits_of_people_are_flagged() -> None:
    assert decisions(post("love you XXX"), "placeholder") == FLAG
    assert decisions(post("我朋友XXX太过分了", "zh"), "placeholder") == FLAG
    assert decisions(post("[insert sad violin here]"), "placeholder") == FLAG


def test_a_draft_may_hold_blanks_but_a_dialogue_no_template() -> None:
    draft = "Dear [Company Name], I am writing to apply."
    assert decisions(QA(language="en", question="Write me a letter.", answer=draft), "placeholder") == FLAG
    assert decisions(dialogue("user: hi", f"assistant: {draft}"), "placeholder") == FLAG
    assert decisions(dialogue("user: hi", "assistant: Your order {{ order }} is here"), "placeholder") == DROP


# -- personal data -----------------------------------------------------------------------------------------------


def test_personal_data_is_flagged_and_never_shown() -> None:
    example = post("Call 9123 4567 or mei@mail.com", surface="meme", caption="NRIC S1234567D on a card")
    [verdict] = run_checks(example, only=["pii"])
    assert verdict.decision is Decision.FLAG
    assert verdict.score == 3
    for kind in ("phone", "email", "nric", "in caption"):
        assert kind in verdict.reason
    for value in ("9123 4567", "mei@mail.com", "S1234567D"):
        assert value not in verdict.reason


def test_many_finds_are_counted() -> None:
    assert "and 2 more" in reason(post(" or ".join(f"9123 456{n}" for n in range(7))), "pii")


# -- anything ----------------------------------------------------------------------------------------------------

TEXTS = st.one_of(
    st.text(min_size=1, max_size=60),
    st.text(alphabet="{}[]<>()#*`@:/.XTODO我抱歉，。的அஎ saya the is a1234567890+-_\"'\n", min_size=1, max_size=120),
)
LANGUAGES = st.sampled_from(["en", "zh", "ms", "ta", "ja", "ar", "xx"])
EXAMPLES: st.SearchStrategy[Example] = st.one_of(
    st.builds(
        Moderation,
        language=LANGUAGES,
        text=TEXTS,
        title=st.none() | TEXTS,
        caption=st.none() | TEXTS,
        surface=st.sampled_from(["post", "meme", "listing"]),
        label=st.sampled_from(["allowed", "disallowed"]),
        category=st.sampled_from(["none", "hate_speech", "a"]),
        severity=st.integers(0, 3),
    ),
    st.builds(
        Dialogue,
        language=LANGUAGES,
        turns=st.lists(
            st.builds(Turn, role=st.sampled_from(["system", "user", "assistant", "tool"]), content=TEXTS),
            min_size=1,
            max_size=4,
        ).map(tuple),
    ),
    st.builds(Preference, language=LANGUAGES, prompt=TEXTS, chosen=TEXTS, rejected=TEXTS),
    st.builds(
        Safety, language=LANGUAGES, prompt=TEXTS, response=TEXTS, behaviour=st.sampled_from(["comply", "refuse"])
    ),
    st.builds(QA, language=LANGUAGES, question=TEXTS, answer=TEXTS),
)


@settings(max_examples=400, deadline=None)
@given(EXAMPLES)
def test_no_check_ever_raises(example: Example) -> None:
    for check in CHECKS:
        finding = check.run(example)
        assert finding is None or (finding.reason and finding.decision in (Decision.DROP, Decision.FLAG))
    verdicts = run_checks(example)
    assert all(isinstance(verdict, Verdict) and verdict.decision is not Decision.UNSCORED for verdict in verdicts)


@pytest.mark.parametrize("unit", ["a", "1 ", "[", "{", "<", "的", "அ", "a@", "this ", "1:", "i can't ", "#", "`", "9 "])
def test_long_runs_of_one_sign_take_no_time(unit: str) -> None:
    run_checks(post(unit * 20_000))
