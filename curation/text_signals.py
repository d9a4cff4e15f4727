"""What a generator leaves in a text that a person would not: refusals, its own labels, blanks nobody filled in.

Each function reads one text and is silent where a person might well have written it so. `sure` is False where a person
could have, but seldom does: worth a look, not worth losing. Patterns come language by language, the surest first.
"""

import re
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class Signal:
    sure: bool
    excerpt: str


def refusal(text: str, *, anywhere: bool = True) -> Signal | None:
    """The generator's own voice: declining, speaking of itself as a model, or handing over what was asked for.

    `anywhere=False` looks only for an opening that declines: in an exchange with an assistant the rest is fair talk.
    """
    text = text.replace("\u2019", "'")
    if match := _DECLINES.match(text):
        return _signal(True, match)
    if not anywhere:
        return None
    if match := _HANDS_OVER.match(text):
        return _signal(match["weak"] is None or match["eager"] is not None, match)
    folded = text.casefold()
    if _mentions(folded, _MODEL_HINTS) and (match := _AS_A_MODEL.search(text)):
        quoted = text[: match.start()].rstrip().endswith(_QUOTES)
        return _signal(match.lastgroup is not None and not quoted, match)
    if _mentions(folded, _AFTERWORD_HINTS) and (match := _AFTERWORD.search(text)):
        return _signal(match["weak"] is None, match)
    return None


def label_leak(text: str, category: str = "none", *, prose: bool = True) -> Signal | None:
    """The text naming its own label: as a field, a tag, a name of the taxonomy or (if `prose`) in a sentence."""
    text = text.casefold()
    if "_" in text and (match := _taxonomy(category if "_" in category else "").search(text)):
        return _signal(True, match)
    if _mentions(text, _FIELD_HINTS) and (match := _FIELD.search(text)):
        return _signal(match["grade"] is None, match)
    if _mentions(text, _TAG_HINTS) and (match := _TAG.search(text)):
        return _signal(True, match)
    if prose and _mentions(text, _SENTENCE_HINTS) and (match := _SENTENCE.search(text)):
        return _signal(True, match)
    return None


def placeholder(text: str) -> Signal | None:
    """A blank that nobody filled in; not `sure` for what is a habit of people too (XXX, TODO, [link])."""
    doubt: re.Match[str] | None = None
    if "{" in text:
        if match := _TEMPLATE.search(text):
            return _signal(True, match)
        for match in _BRACES.finditer(text):
            name = match[1].casefold()
            if name in _BLANKS or ("_" in name and name.isidentifier()):
                return _signal(True, match)
            doubt = doubt or (match if name.isascii() and name.replace(" ", "").isalnum() else None)
    if "[" in text or "\u3010" in text:
        for match in _BRACKETS.finditer(text):
            if _ASKS.match(match[0]) or _is_blank(text, match):
                return _signal(True, match)
            if match[0].startswith("["):
                doubt = doubt or (match if _MAYBE_ASKS.match(match[1].strip()) else None)
    if "<" in text and (match := _ANGLES.search(text)):
        return _signal(True, match)
    if _FILLER_HINT.search(text):
        if match := _FILLER.search(text):
            return _signal(True, match)
        doubt = doubt or _HABIT.search(text)
    return _signal(False, doubt) if doubt else None


def _mentions(text: str, hints: tuple[str, ...]) -> bool:
    """Whether a slow search is worth it: a substring test costs a tenth of a pattern."""
    return any(map(text.__contains__, hints))


def _is_blank(text: str, match: re.Match[str]) -> bool:
    name = match[1].strip().casefold()
    if name not in _BLANKS or not match[0].startswith("["):
        return False
    line_start = text.rfind("\n", 0, match.start()) + 1
    heads_a_line = not text[line_start : match.start()].strip(" \t-*>#\u2022")
    followed = bool(text[match.end() :].partition("\n")[0].strip(" \t*_"))
    return name in _PERSONAL or not (heads_a_line and followed)  # "[Price] RM50" is how listings are set out


def _signal(sure: bool, match: re.Match[str]) -> Signal:
    excerpt = " ".join(match[0].split())
    return Signal(sure, excerpt if len(excerpt) <= 60 else excerpt[:57] + "...")


def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE)


def _or(*words: str) -> str:
    """One of these words or patterns, given as comma-separated lists."""
    return "(?:" + "|".join(word.strip() for chunk in words for word in chunk.split(",")) + ")"


# -- refusals: what is declined must be a request or a text, so that "I can't help with the move" stays a person's ----

_QUOTES = ('"', "'", "\u201c", "\u2018", "\u300c", "\u300e", ":", "\uff1a")
_SORRY = (
    r"\W{0,3}(?:(?:(?:i'm|i am|we're|we are) (?:(?:very|really|so|truly) )?sorry|sorry|(?:my )?apologies|i apologi[sz]e"
    r"|unfortunately|i understand[^.\n]{0,80}|thank you for[^.\n]{0,80})[,.!;]?\s+(?:(?:but|however),?\s+)?)?"
)
_CANNOT = (
    r"(?:i|we)(?:'m|'re| am| are)? ?"
    + _or("can't,cannot,can not,could not,couldn't,won't,will not,unable to,not able to,not going to,not comfortable")
    + r" (?:(?:directly|actually|really|ethically) )?"
)
_THIS = r"(?:that|this|it)(?: (?:request|task|prompt|topic|one))?\s*(?:[.!;,\n]|$|(?:as|because|since) )"
_REQUEST = r"(?:your|this|that|the|such|these|those|any) (?:\w+ ){0,2}(?:requests?|prompts?|instructions?)"
_MAKE = r"(?:creat|generat|writ|produc|provid|mak)(?:e|ing)"
_TEXTS = r"(?:content|material|posts?|messages?|texts?|memes?|listings?|examples?|statements?|speech|dialogues?)"
_HARM = _or(
    "harmful,hateful,offensive,explicit,sexual,violent,abusive,toxic,discriminatory,derogatory,inappropriate,illegal",
    "such,that (?:kind|type|sort) of,this (?:kind|type|sort) of,these (?:kinds|types|sorts) of",
)
_MATERIAL = (
    rf"(?:(?:any|an?|the|this|these|that) )?(?:\w+ ){{0,2}}(?:{_HARM} (?:\w+ ){{0,2}}{_TEXTS}"
    rf"|{_TEXTS} (?:that|which|promoting|encouraging|containing|depicting|targeting|involving|designed))\b"
)
_ZH_SORRY = (
    r"\W{0,3}(?:很|非常|十分|真的|真)?(?:抱歉|对不起|對不起|不好意思|遗憾|遺憾)[\s,，。.!！]*(?:但是?|不过)?[\s,，]*"
)
_ZH_CANNOT = (
    r"(?:作[为為][^，,。\n]{2,20}[，,]\s*)?我?(?:无法|不能|無法|没办法|沒辦法|不便)"
    r"(?:继续|繼續|直接)?(?:[为為][您你])?"
)
_ZH_DO = _or("提供,创建,写,寫,制作,产生,讨论,回答,处理,执行,完成", "帮(?:助|忙)?(?:[您你])?(?:完成|生成|写)?")
_ZH_OBJECT = _or(
    "[这這此该該那](?!周|週|次|个周|个月)", "任何,相关,有关,包含,含有,涉及,您的,你的请求,帮助,协助,违法,具体"
)
_MS_SORRY = (
    r"\W{0,3}(?:mohon |minta |harap )?maaf(?: ya)?[,.!]*\s*(?:(?:tetapi|tapi|namun)\s+)?"
    r"(?:saya|kami) (?:tidak|tak) (?:dapat|boleh|mampu) "
)
_MS_MAKE = _or("menghasilkan,menjana,menulis,mencipta,menyediakan,memenuhi,membuat")
_TA_SORRY = (
    r"\W{0,3}(?:மன்னிக்கவும்|மன்னிக்க வேண்டும்|வருந்துகிறேன்)[,.!]*\s*(?:ஆனால்,?\s+)?(?:"
    + _or("என்னால்,நான்,உங்களுக்கு,இதற்கு,இதில்,இதை,அதற்கு,அதை,இந்த,அந்த,இத்தகைய,அத்தகைய,இதுபோன்ற,போன்ற")[:-1]
    + r"|வகையான|உங்கள்|கோரிக்கை\S*|உள்ளடக்க\S*|பதிவு\S*|வெறுப்\S*|தீங்கு\S*)\s+){0,7}"
)
_DECLINES = _any(
    rf"{_SORRY}(?:{_CANNOT}(?:(?:help|assist)(?:ing)?(?: you)? (?:with|in) (?:{_THIS}|{_REQUEST}|{_MAKE})"
    rf"|assist\s*(?:[.!\n]|$)|(?:fulfil|fulfill|comply with|complete|honou?r|process|engage with) {_REQUEST}"
    rf"|{_MAKE} {_MATERIAL})"
    rf"|i (?:must|have to|will have to|need to) (?:\w+ )?decline (?:{_REQUEST}|to (?:{_MAKE}|assist|help))"
    r"|(?:this|that|the|your) request (?:violates|goes against|conflicts with|is against|falls outside))",
    rf"{_ZH_SORRY}(?:我(?:无法|無法)[\s。.…]*$|{_ZH_CANNOT}(?:{_ZH_DO}{_ZH_OBJECT}|"
    + _or("协助,協助,满足,滿足,生成,创作,創作,撰写,撰寫,编写,編寫")
    + "))",
    rf"{_MS_SORRY}(?:(?:mem)?bantu(?: anda)?\s*(?:[.!,;\n]|$|dengan (?:permintaan|itu|ini)|untuk {_MS_MAKE})"
    rf"|{_MS_MAKE} (?:\w+ )?" + _or("kandungan,permintaan,contoh,teks,hantaran,siaran,mesej,ucapan,bahan") + r"\b)",
    rf"{_TA_SORRY}(?:உதவ|உருவாக்க|வழங்க|எழுத|நிறைவேற்ற|பதிலளிக்க)\S*\s*(?:முடியாது|இயலாது|முடியவில்லை|இயலவில்லை|மாட்டேன்)",
)
_MODEL_HINTS = (
    "an ai", "a ai", "artificial", "language model", "言模型", "人工智", "作为", "作為", "model bahasa",
    "kecerdasan buatan", "pembantu", "sebagai", "ஒரு ai", "நுண்ணறிவு",
)  # fmt: skip
_SELF = (
    r"(?:ai|artificial intelligence|large language|language)(?: (?:ai|language|large|text|generative|based)){0,3}"
    r"(?: (?:model|assistant|chatbot|system)|(?=,))"
)
_AS_A_MODEL = _any(
    rf"(?:as an? {_SELF}|\bi(?:'m| am) (?:just |only )?an? {_SELF})[\s,]*(?:and |so |but )?(?P<en>(?:i(?:'m| am)? )?"
    r"(?:can|cannot|can't|do not|don't|not|unable|must|have to|have no|will|won't|designed|programmed)\b)?",
    r"作[为為](?:一?[个個名款位种種])?(?:AI|人工智[能慧]|大?型?[语語]言模型|智能助手)[^，,。\n]{0,14}[，,]?\s*"
    r"(?P<zh>我(?:无法|不能|没有|不会|無法|沒有|不會))?",
    r"sebagai (?:sebuah |satu |seorang )?(?:model bahasa|kecerdasan buatan|pembantu (?:ai|maya)|ai\b)"
    r"[^.,\n]{0,30}[\s,]*(?P<ms>saya (?:tidak|tak|tiada))?",
    r"ஒரு (?:AI|செயற்கை நுண்ணறிவு)\s*(?:மொழி )?(?:மாதிரி|உதவியாளர்|மாடல்)\S*[\s,]*(?P<ta>என்னால்|நான்|எனக்கு)?",
)
_LISTED = r"\s*[:\uff1a]\s*(?:$|\n|[\d*\"'\u201c-])"
_HANDS_OVER = _any(
    r"\W{0,3}(?:(?P<eager>sure|certainly|of course|absolutely|understood)[,!.]*\s*)?"
    r"(?:here(?:'s| is| are)|below (?:is|are)) "
    r"(?:(?:the|your|an?|some) )?(?:requested |following )?(?!my |our |more )(?:[\w-]+ ){0,4}?"
    r"(?:posts?|listings|memes?|dialogues?|json|(?P<weak>examples?|captions?|messages?|samples?|variations?|texts?|listing))\b"
    rf"(?! (?:of|from|by) (?:my|our)\b)[^.:\n]{{0,80}}{_LISTED}",
    r"\W{0,3}(?:好的|[当當]然可以|[当當]然|没问题)?[，,。！!\s]*(?:以下|下面|[这這][里裡])(?:[是为為有])(?![^：:\n]{0,30}我)"
    rf"[^：:\n。]{{0,30}}?(?:帖子|[贴貼帖]文|推文|示例|样本|梗图|[对對][话話])[^：:\n。]{{0,12}}{_LISTED}",
    r"\W{0,3}(?:baik|tentu|sudah tentu|boleh)?[,.!]*\s*(?:berikut|di bawah)(?: ini)?(?: adalah| ialah| merupakan)?"
    r"(?! \w+ saya)[^.:\n]{0,40}?(?:hantaran|siaran|posting|meme|dialog|perbualan|contoh)\b(?! \w* ?saya)"
    rf"[^.:\n]{{0,60}}{_LISTED}",
    r"\W{0,3}(?:சரி|நிச்சயமாக|கண்டிப்பாக)?[,.!]*\s*(?:இதோ|இங்கே|கீழே)[^.:\n]{0,40}"
    rf"(?:பதிவு|இடுகை|உரையாடல்|எடுத்துக்காட்டு|மீம்)[^.:\n]{{0,30}}{_LISTED}",
)
_AFTERWORD_HINTS = ("note", "disclaimer", "let me know", "注", "说明", "声明", "nota")
_AFTERWORD = _any(
    r"\(?(?:note|disclaimer):? (?:this|these|the above) (?:is|are|posts?|examples?|listings?|content|messages?)\b"
    r"[^.\n]{0,40}(?:fictional|fictitious|hypothetical|for (?:training|moderation|educational) purposes|synthetic)",
    r"(?:注意?|备注|说明|声明)[：:]\s*(?:以上|此|该|这些?|本)(?:内容|帖子|示例|贴文)[^。\n]{0,10}(?:仅|纯属|为)[^。\n]{0,6}"
    r"(?:虚构|训练|示例|假设)",
    r"nota:\s*(?:hantaran|siaran|contoh|kandungan) (?:ini|di atas)[^.\n]{0,30}(?:rekaan|latihan|semata-mata)",
    r"(?P<weak>let me know if you(?:'d| would)? (?:like|want|need) (?:me to "
    r"(?:generate|write|create|rewrite|adjust|translate|revise)|(?:any )?more (?:examples|posts|variations|memes)))",
)

# -- labels: a listing may well have a category, but not one of these ---------------------------------------------

_LABELS = _or(
    r"(?:dis)?allowed,(?:un)?safe,harmful,harmless,benign,(?:non-?)?toxic,hate(?: speech)?,hateful,harassment",
    r"violence,violent,self[- _]harm,sexual,scams?,fraud,gambling,drugs?,weapons?,spam",
    "misinformation,extremism,terrorism,profanity",
    "bullying,racism,discrimination,comply,refuse",
    "不?允[许許],禁止,[违違][规規],合[规規],有害,[无無]害,有毒,仇恨(?:言[论論])?,[骚騷][扰擾],暴力,自[残殘],色情",
    "[诈詐][骗騙],[赌賭]博,毒品,武器,歧[视視],正常",
    "(?:tidak )?dibenarkan,berbahaya,(?:tidak )?selamat,perjudian,judi,kebencian,ucapan benci,ujaran kebencian",
    "keganasan,lucah,penipuan,dadah,senjata,perkauman",
    r"அனுமதிக்கப்பட்ட\S*,அனுமதிக்கப்படா\S*,தீங்கு\S*,பாதுகாப்பான\S*,வெறுப்பு\S*(?: பேச்சு)?,சூதாட்டம்,வன்முறை,மோசடி",
)
_KEYS = (
    "label,category,classification,verdict,behaviour,moderation,标签,標籤,类别,類別,分类,分類,标注,判定,kategori,klasifikasi"
    ",வகை,பிரிவு,லேபிள்,குறிச்சொல்"
)
_FIELD_HINTS = (*_KEYS.split(","), "severity", "harmful", "disallowed", "hateful")
_MARK = r"[\"'*`_\[(]{0,3}"
_FIELD = _any(
    r"[\"'](?:label|category|severity|behaviour)[\"']\s*:",
    rf"(?<![a-z]){_or(_KEYS)}{_MARK}\s*[:=\uff1a]{_MARK}\s*{_MARK}{_LABELS}(?=[\"'*`_\])]{{0,3}}\s*(?:$|[\n,，;；。.|/)}}\]]))",
    rf"(?<![a-z])(?:harmful|disallowed|hateful) (?:post|meme|listing|example|message)(?: \d+)?{_MARK}\s*:",
    rf"(?P<grade>(?<![a-z])severity{_MARK}\s*[:=]\s*{_MARK}[0-3](?![0-9.]))",
)
_TAG_HINTS = ("[", "<", "{", "\u3010", "(disallowed)")
_TAG = _any(
    r"[\[<\u3010{](?:(?:dis)?allowed|harmful|harmless|hateful|unsafe|benign|hate ?speech|不?允[许許]|[违違][规規]"
    r"|有害|[无無]害|(?:tidak )?dibenarkan|berbahaya)[\]>\u3011}]",
    r"\(disallowed\)",
)
_POST = r"(?:post|message|meme|comment|text|content|caption|example)"
_SENTENCE_HINTS = (
    "harm", "hate", "offensive", "allowed", "benign", "acceptable", "inappropriate", "discriminatory", "toxic", "safe",
    "derogatory", "violat", "breach", "complies", "有害", "无害", "無害", "仇恨", "违", "違", "不当", "不當",
    "允许", "允許", "歧", "准则", "规范", "政策", "berbahaya", "berunsur", "menyinggung", "dibenarkan", "selamat",
    "benci", "தீங்கு", "வெறுப்பு", "அனுமதி", "பாதுகாப்ப",
)  # fmt: skip
_JUDGED = _or(
    "harmful,harmless,hateful,hate speech,offensive,disallowed,allowed,benign,acceptable,unacceptable,inappropriate",
    "discriminatory,toxic,derogatory,safe",
)
_ZH_POST = r"(?:[这這此该該本]|上述)[条篇则个段张條則個張]?(?:社交媒体)?" + _or(
    "帖子?,[贴貼帖]文,[内內]容,信息,消息,言[论論],表情包,梗[图圖],文本,推文,示例,例子"
)
_SENTENCE = _any(
    rf"\b(?:this|the above) (?:[\w-]+ ){{0,2}}{_POST} (?:is|would be|can be|should be) (?:[\w-]+ ){{0,4}}?{_JUDGED}\b"
    r"[^.\n]{0,40}?\b(?:because|since it|as it|due to|under)\b",
    r"\b(?:this|the above) (?:\w+ )?(?:is|would be|serves as) an? (?:[\w-]+ )?example of (?:an? )?(?:[\w-]+ )?"
    r"(?:hate ?speech|harmful|disallowed|allowed|harmless|benign)",
    rf"\b(?:this|the above) (?:[\w-]+ )?(?:{_POST}|listing) (?:clearly )?"
    r"(?:violates|breaches|does not violate|complies with) "
    r"(?:[\w-]+ ){0,3}(?:guidelines|polic(?:y|ies)|standards|rules)",
    r"should be (?:flagged|classified|labell?ed|marked|moderated|categori[sz]ed) as "
    r"(?:hate|harm|disallowed|allowed|unsafe|safe\b|toxic|inappropriate)",
    rf"{_ZH_POST}(?:是|[属屬]于|被[视視][为為]|[应應][该該]?被|可被|含有|包含|[违違]反|构成|構成)[^。！？\n]{{0,12}}"
    r"(?:有害|[无無]害|仇恨|[违違][规規]|不[当當]|允[许許]|歧[视視]|准则|[规規]范|政策)[^。！？\n]{0,20}(?:因[为為]|由[于於])",
    r"[这這]就?是(?:一[个条则篇個條則])?[^。\n]{0,6}(?:仇恨言[论論]|(?:有害|[违違][规規]|[无無]害)[内內]容|歧[视視]性?言[论論])"
    r"的?(?:一个)?(?:典型)?(?:例子|示例)",
    r"\b(?:hantaran|siaran|posting|mesej|kandungan|meme|komen|teks) ini "
    r"(?:(?:adalah|ialah|dianggap|dikategorikan|tergolong|sebagai|kandungan|mengandungi) ){0,3}"
    r"(?:berbahaya|berunsur|menyinggung|(?:tidak )?dibenarkan|(?:tidak )?selamat|kebencian)"
    r"[^.\n]{0,40}\b(?:kerana|sebab)\b",
    r"\bini (?:adalah|ialah|merupakan) (?:satu |sebuah )?contoh (?:ucapan|ujaran|kandungan) "
    r"(?:benci|kebencian|berbahaya)",
    r"இந்த (?:பதிவு|செய்தி|கருத்து|உள்ளடக்கம்|மீம்|இடுகை)[^.\n]{0,30}(?:தீங்கு|வெறுப்பு|அனுமதிக்க|பாதுகாப்ப)"
    r"[^.\n]{0,40}(?:ஏனெனில்|ஏனென்றால்|காரணம்)",
    r"இது (?:ஒரு )?வெறுப்பு(?:ப்)? ?பேச்சு\S* (?:ஒரு )?(?:எடுத்துக்காட்டு|உதாரணம்)",
)


@lru_cache(maxsize=256)
def _taxonomy(category: str) -> re.Pattern[str]:
    names = r"(?:harmful|disallowed)_[a-z][a-z_]+|hate_speech|self_harm|hard_negative|general_ok"
    own = f"|{re.escape(category)}" if category else ""
    return re.compile(rf"(?<![a-z0-9_#@/.-])(?:{names}{own})(?![a-z0-9_/])")


# -- blanks: what a template asks for. "[Price] RM50" and "[SOLD]" are how people set out a listing -----------------


def _names(*lists: str) -> frozenset[str]:
    return frozenset(name for names in lists for name in names.split(","))


_PERSONAL = _names(
    "name,names,username,user name,first name,last name,full name,your name,seller name,nama,nama penuh",
    "姓名,名字,用户名,பெயர்",
)
_BLANKS = _PERSONAL | _names(
    "product,product name,item name,brand,brand name,company,company name,price,amount,number,phone,phone number",
    "contact number,contact info,email,email address,address,location,city,country,url,website,link here,store name",
    "shop name,event name,topic,race,religion,ethnicity,ethnic group,racial group,religious group,target group,slur",
    "racial slur,insult,nationality,placeholder,school name,insert,produk,nama produk,harga,nombor telefon,alamat",
    "tarikh,lokasi,pautan,产品,产品名称,商品名称,价格,电话,电话号码,地址,日期,地点,链接,公司名,公司名称,种族",
    "விலை,பொருள்,தொலைபேசி எண்,முகவரி,தேதி,இடம்,இணைப்பு",
)
_SLOTS = "name,link,url,date,price,amount,product,item,brand,company,location,place,city,phone,number,e-?mail,username"
_SLOT = _or(_SLOTS, "address,time,photo,image,race,group")
_TEMPLATE = _any(r"\{\{[^{}\n]{0,80}\}\}", r"\{%[^%\n]{0,80}%\}", r"\$\{[a-z_][\w.]{0,40}\}", r"%\([a-z_]\w{0,30}\)s")
_BRACES = re.compile(r"(?<![A-Za-z0-9\\}^_$])\{\s*([^{}\n|,:;]{2,30}?)\s*\}(?![A-Za-z0-9])")
_BRACKETS = re.compile(r"[\[\u3010]([^\[\]\u3010\u3011\n]{1,60})[\]\u3011](?![(\[:\uff1a])")
_ASKS = _any(
    rf"\[\s*(?:your (?:own )?|(?:insert|enter|add|fill in) )(?:[\w-]+ ){{0,3}}{_SLOT}s?\b",
    r"\[\s*(?:你的|您的|插入|填写|填入|请输入|输入|此处|masukkan |isikan |nama (?:anda|penuh|kamu)|உங்கள் |இங்கே )",
    r"\u3010\s*(?:您的(?:姓名|名字|电话|地址)|插入|请输入|此处填)",
)
_MAYBE_ASKS = _any(r"(?:your|insert|enter) \w", r"(?:link|date|time|text|title|item|contact|place|event|group)$")
_ANGLES = _any(  # no <time> and <address>, which are HTML
    rf"<\s*(?:(?:insert|enter|your|add) [^<>\n]{{1,40}}|{_or(_SLOTS)}(?: here)?|masukkan [^<>\n]{{1,30}}|nama|harga"
    r"|(?:插入|请输入|您的|你的)[^<>\n]{1,20}|姓名|உங்கள் [^<>\n]{1,30})\s*>",
)
_FILLER_HINT = re.compile(r"XX|TODO|FIXME|[Ll]orem|LOREM")
_FILLER = re.compile(
    r"(?i:lorem ipsum)|(?<![A-Za-z])FIXME(?![A-Za-z])|(?<![A-Za-z])TODO(?=\s*(?:[:\uff1a\])]|$))"
    r"|(?:[$\u00a5\u20b9]|\bRM ?|\bSGD ?|\bRs\.? ?|[:\uff1a] *)X{2,6}(?![A-Za-z0-9])"
    # kisses, sizes, films and numbers that somebody hid are people's own
    r"|(?<![\w$.-])(?<![0-9X] )X{3,6}(?![\w-])(?!\s*[^\w\s]*\s*(?:\n|$))"
    r"(?! ?(?:(?i:videos?|vids?|movies?|films?|porn|rated|clips?|pics?|content|sites?|large)|[0-9X]))"
)
_HABIT = re.compile(r"(?<![A-Za-z0-9])(?:X{3,6}|TODO)(?![A-Za-z0-9])")
