"""What an SOP tells an agent to do, as the agent would say it to the customer: a little English and Chinese grammar.

Only wording changes, and only where a form is known. Sentences that are for the agent alone (`Do not name a suspicion`) are left out. In
another language than the SOP's nothing is rewritten; the text is quoted as it stands.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

_SENTENCES = re.compile(r"(?<=[.!?])\s+(?=[A-Z“\"])|(?<=[。！？；])\s*")
_PERSON = r"(?:buyer|customer|reporter|seller|person|user|caller|client|guest|member|claimant)"
_PERSON_ZH = "买家|顾客|客户|用户|举报人|卖家|会员|对方"
_INTERNAL = re.compile(
    r"\b(?:do not|don't|never|must not|only the|suspicion)\b|^(?:put|write|keep) it\b|^(?:it|this|that|theirs|otherwise|if|in all other)\b|\bgo to step\b|不要|切勿|不得|请勿|绝不|转到第|转至第|^即|视为",
    re.IGNORECASE,
)
_FOR_THE_AGENT = re.compile(
    r",? without (?:saying|naming|telling)\b|,? and (?:close|hand|attach|name)\b|[，,](?:然后|并)(?:关闭|附)"
)
_CONDITION = re.compile(
    r"^\s*(?:only\s+)?(?:if|when)\s+[^:,]+[:,]\s*|^\s*(?:仅当|只有当|如果|若)[^:：，,]+[:：，,]\s*", re.IGNORECASE
)
_VERBS = {
    "is": "are", "has": "have", "was": "were", "wants": "want", "reports": "report", "says": "say", "does": "do", "worries": "worry",
    "sends": "send", "agrees": "agree", "needs": "need", "states": "state", "found": "found", "writes": "write", "asks": "ask",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Spoken:
    """`will`: what the agent does, as a verb phrase after `I will`; `tell`: a sentence; `please`: what the customer should do;
    `ask`: an indirect question; `want`: a thing asked for."""

    form: Literal["will", "tell", "please", "ask", "want"]
    text: str


@lru_cache(maxsize=4096)
def spoken(text: str, language: str) -> tuple[Spoken, ...]:
    """A step's instructions as things to say; empty where none of them is for the customer's ears."""
    found = []
    of_customer = bool(re.search(rf"\bthe {_PERSON}\b", text, re.I))
    for whole in _SENTENCES.split(_CONDITION.sub("", " ".join(text.split()))):
        sentence = _FOR_THE_AGENT.split(whole)[0].strip(" .。，")
        one = None
        if sentence and not _INTERNAL.search(sentence):
            one = _zh(sentence) if language == "zh" else _en(sentence, of_customer=of_customer)
        if one is not None:
            found.append(one)
    return tuple(found[:2])


def instruction(text: str) -> str:
    """The first sentence of a step that a customer may hear, word for word; empty where there is none."""
    for sentence in _SENTENCES.split(_CONDITION.sub("", " ".join(text.split()))):
        if sentence.strip() and not _INTERNAL.search(sentence):
            return sentence.strip(" .。")
    return ""


_EN: tuple[tuple[re.Pattern[str], Literal["tell", "please", "ask", "want"]], ...] = (
    (re.compile(rf"^(?:tell|remind|inform) the {_PERSON} that (.+)$|^(?:say|explain)(?: to the {_PERSON})? that (.+)$", re.I), "tell"),
    (re.compile(rf"^(?:.*?\band )?(?:tell|ask) the {_PERSON} to ((?!how|which|what|when).+)$", re.I), "please"),
    (re.compile(rf"^(?:.*?\band )?ask(?: the {_PERSON})? ((?:whether|when|what|which|why|how|if|where) .+)$", re.I), "ask"),
    (re.compile(rf"^(?:greet the {_PERSON} and )?ask(?: the {_PERSON})? for ((?!it$).+)$", re.I), "want"),
)  # fmt: skip


def _en(sentence: str, *, of_customer: bool) -> Spoken | None:
    for pattern, form in _EN:
        if found := pattern.match(sentence):
            words = next(group for group in found.groups() if group)
            return Spoken(form, _turned(words, "you", "your", "you", sure=of_customer))
    if sentence.startswith("They "):
        return (
            Spoken("tell", _turned(sentence[0].lower() + sentence[1:], "you", "your", "you", sure=True))
            if of_customer
            else None
        )
    sentence = re.sub(
        rf"^(?:say|explain)(?: to the {_PERSON})? (?=which|what|why|how|when)", "tell you ", sentence, flags=re.I
    )
    first, _, rest = sentence.partition(" ")
    if (
        not first.isalpha()
        or first.lower() in ("the", "a", "an", "all", "what", "who", "count,")
        or first.lower().endswith(("ly", "ed"))
    ):
        return None
    return Spoken("will", _turned(f"{first.lower()} {rest}".strip(), "you", "your", "you", sure=of_customer))


def _zh(sentence: str) -> Spoken | None:
    if found := re.match(rf"^(?:告诉|告知|提醒)(?:{_PERSON_ZH})[，,]?(.+)$|^(?:说明|解释)[:：]?(.{{6,}})$", sentence):
        return Spoken("tell", addressed(found[1] or f"说明一下，{found[2]}", "zh"))
    if found := re.match(rf"^请(?:{_PERSON_ZH})(.+)$", sentence):
        return Spoken("please", addressed(found[1], "zh"))
    if found := re.match(r"^(?:问候\w+[，,])?询问(.+)$", sentence):
        return Spoken("ask", addressed(found[1], "zh"))
    return Spoken("will", addressed(sentence, "zh"))


def addressed(text: str, language: str) -> str:
    """Words about the customer, as said to them."""
    if language == "zh":
        return re.sub(_PERSON_ZH, "您", text)
    return _turned(text, "you", "your", "you", sure=False)


def as_customer(text: str, language: str) -> str:
    """Words about the customer, as they would say it themselves."""
    if language == "zh":
        return re.sub(_PERSON_ZH, "我", text)
    turned = _turned(text, "I", "my", "me", sure=False)
    return re.sub(r"\bI are\b", "I am", re.sub(r"\bI were\b", "I was", turned))


def _turned(text: str, subject: str, own: str, object_: str, *, sure: bool) -> str:
    """The customer as `subject`; pronouns too, where they are known (`sure`) to mean the customer."""
    if not sure and not re.search(
        rf"\b(?:the|another) {_PERSON}\b|\bthey are (?:safe|sure)\b|\bthey noticed\b", text, re.I
    ):
        return text
    text = re.sub(rf"\b(?:the|The) {_PERSON}(?:'s|s')", own, text)
    text = re.sub(rf"\b(to|with|from|by|of|for|than) the {_PERSON}\b", rf"\1 {object_}", text)
    text = re.sub(rf"\b[Tt]he {_PERSON}\b", subject, text)
    text = re.sub(r"\btheirs?\b", own, text)
    text = re.sub(r"\bthey\b", subject, text)
    text = re.sub(r"\bthem\b", object_, text)
    for verb, plural in _VERBS.items():
        text = re.sub(rf"\b{subject} (still |only |now |also |never )?{verb}\b", rf"{subject} \1{plural}", text)
    return re.sub(
        rf"\b{subject} (live|work)s( or)?(?: (live|work)s)?\b",
        lambda found: " ".join(word.strip() for word in (subject, *found.groups()) if word), text,
    )  # fmt: skip
