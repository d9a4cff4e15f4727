"""Automatic checks: pure functions of one example, each with a name and a version that goes into its verdicts.

A check says nothing when it has nothing to say. It drops only what no reader would defend, flags what a person should
look at, and never takes what it cannot read for bad. To add one: a function, a line in `CHECKS`, a test. To change
what one finds: raise its version, so that old verdicts stay distinguishable from new ones.
"""

import hashlib
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from curation import conformance, language, pii, shape, text_signals
from curation.documents import Outline
from curation.errors import NotFound, did_you_mean
from curation.records import QA, Decision, Dialogue, Example, Moderation, Preference, Safety, Verdict
from curation.shape import BOUNDS, Bounds, parts
from curation.text_signals import Signal


@dataclass(frozen=True, slots=True)
class Finding:
    decision: Decision  # DROP, FLAG or UNSCORED; KEEP, where the score is worth keeping
    reason: str
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    version: int
    about: str  # one line, for --help and the docs
    run: Callable[[Example], Finding | None]

    @property
    def by(self) -> str:
        """The author of its verdicts, e.g. `check:language@1`."""
        return f"check:{self.name}@{self.version}"


def run_checks(
    example: Example, *, only: Collection[str] | None = None, outlines: Mapping[str, Outline] | None = None
) -> list[Verdict]:
    """One verdict per finding, or a single KEEP by `check:all@...` that names the checks which passed.

    A check that raises yields an UNSCORED verdict: a fault of ours says nothing about the example.

    Args:
        outlines: the outlines that examples cite, by id. With them, an example that cites one has a verdict on that too,
            by `check:conformance@...`, whatever it finds.

    Raises:
        NotFound: `only` names a check that does not exist.

    """
    checks = CHECKS if only is None else _named(frozenset(only))
    verdicts = []
    for check in checks:
        try:
            finding = check.run(example)
        except Exception as error:  # whatever it is, the other checks still count
            finding = Finding(Decision.UNSCORED, f"{check.name} failed: {type(error).__name__}: {error}")
        if finding is not None:
            verdicts.append(
                Verdict(
                    example=example.id,
                    by=check.by,
                    decision=finding.decision,
                    reason=finding.reason,
                    score=finding.score,
                )
            )
    if not verdicts and checks:
        by, passed = _all_of(checks)
        verdicts.append(Verdict(example=example.id, by=by, decision=Decision.KEEP, reason=passed))
    if outlines is not None and (only is None or conformance.NAME in only) and getattr(example, "outline", None):
        verdicts.append(_conforms(example, outlines))
    return verdicts


def _conforms(example: Example, outlines: Mapping[str, Outline]) -> Verdict:
    """The verdict of the one check that needs more than the example: the outline it cites."""
    assert isinstance(example, Dialogue | QA)
    assert example.outline is not None
    outline = outlines.get(example.outline)
    if outline is None:
        finding = Finding(Decision.UNSCORED, f"outline {example.outline} is not in this store")
    else:
        try:
            finding = _of_conformance(conformance.conformance(example, outline))
        except Exception as error:
            finding = Finding(Decision.UNSCORED, f"{conformance.NAME} failed: {type(error).__name__}: {error}")
    return Verdict(
        example=example.id, by=CONFORMANCE, decision=finding.decision, reason=finding.reason, score=finding.score
    )  # fmt: skip


def _of_conformance(found: conformance.Conformance) -> Finding:
    if not found.faults:
        if found.blind:
            return Finding(Decision.UNSCORED, "no turn says what was seen, so only order and step names were judged")
        return Finding(Decision.KEEP, f"{found.judged} steps cited, all as the SOP has them", found.score)
    sure = [fault for fault in found.faults if fault.sure]
    shown = "; ".join(f"turn {fault.turn} {fault.reason} ({fault.kind})" for fault in (sure or found.faults)[:3])
    more = f"; and {len(found.faults) - 3} more" if len(found.faults) > 3 else ""
    return Finding(Decision.DROP if sure else Decision.FLAG, shown + more, found.score)


@lru_cache(maxsize=64)
def _named(names: frozenset[str]) -> tuple[Check, ...]:
    known = [*(check.name for check in CHECKS), conformance.NAME]
    for name in sorted(names):
        if name not in known:
            raise NotFound(f"no check is called {name!r}.{did_you_mean(name, known)}")
    return tuple(check for check in CHECKS if check.name in names)


@lru_cache(maxsize=64)
def _all_of(checks: tuple[Check, ...]) -> tuple[str, str]:
    """Who says that these checks all passed, and which they were: `check:all@7-3fa2`, `schema@1 language@1 ...`."""
    passed = " ".join(check.by.removeprefix("check:") for check in checks)
    digest = hashlib.blake2b(passed.encode(), digest_size=2).hexdigest()
    return f"check:all@{len(checks)}-{digest}", passed


def _finding(where: str, what: str, signal: Signal) -> Finding:
    decision = Decision.DROP if signal.sure else Decision.FLAG
    return Finding(decision, f"{where}: {what} {signal.excerpt!r}")


def _worst(findings: Iterator[Finding]) -> Finding | None:
    """The first finding that drops, else the first."""
    first: Finding | None = None
    for finding in findings:
        if finding.decision is Decision.DROP:
            return finding
        first = first or finding
    return first


# -- schema and length -------------------------------------------------------------------------------------------


def _schema(example: Example) -> Finding | None:
    if wrong := shape.faults(example):
        return Finding(Decision.DROP, "; ".join(wrong))
    if odd := shape.oddities(example):
        return Finding(Decision.FLAG, "; ".join(odd))
    return None


def _length(example: Example) -> Finding | None:
    return _worst(_length_findings(example))


def _length_findings(example: Example) -> Iterator[Finding]:
    if isinstance(example, Dialogue):
        yield from _outside("dialogue", len(example.turns), "turns", BOUNDS["turns"])
    for where, text in parts(example):
        if isinstance(example, Moderation):
            if where != "text":
                continue
            bounds = BOUNDS[example.surface]
        else:
            bounds = BOUNDS["turn" if isinstance(example, Dialogue) else "answer"]
        if shape.has_substance(text):
            yield from _outside(where, shape.width(text), "characters", bounds)
        else:
            # a user may well send "???"; a post of that teaches nothing
            decision = Decision.DROP if isinstance(example, Moderation) else Decision.FLAG
            yield Finding(decision, f"{where}: no letter, digit or emoji", 0.0)


def _outside(where: str, measured: int, unit: str, bounds: Bounds) -> Iterator[Finding]:
    if not bounds.few <= measured <= bounds.many:
        decision = Decision.FLAG if bounds.least <= measured <= bounds.most else Decision.DROP
        side = f"under {bounds.few}" if measured < bounds.few else f"over {bounds.many}"
        yield Finding(decision, f"{where}: {measured} {unit}, {side}", float(measured))


# -- language ----------------------------------------------------------------------------------------------------


_QUOTED = re.compile("“[^“”]*”|📎[^.。!?]*")


def _said(example: Example) -> Iterator[tuple[str, str]]:
    """The texts that ought to be in the example's language, a dialogue's by speaker.

    Not a listing's title (product names), a meme's caption (it describes a picture), a system prompt, or a rejected
    answer, which may have been rejected for its language; nor the words that quote an SOP, which may be in another.
    """
    quoting = getattr(example, "outline", None) is not None
    for where, text in _spoken(example):
        yield where, _QUOTED.sub(" ", text) if quoting else text


def _spoken(example: Example) -> Iterator[tuple[str, str]]:
    if isinstance(example, Dialogue):
        for role in ("user", "assistant"):
            yield role, "\n".join(turn.content for turn in example.turns if turn.role == role)
    else:
        yield from ((where, text) for where, text in parts(example) if where not in ("title", "caption", "rejected"))


def _language(example: Example) -> Finding | None:
    said = [(where, text) for where, text in _said(example) if text.strip()]
    off = [(where, miss) for where, text in said if (miss := language.mismatch(text, example.language))]
    if not off:
        return None
    # One side in another language may be what the example is about; both sides are a mistake.
    sure = len(off) == len(said) and all(miss.sure for _, miss in off)
    reason = "; ".join(f"{where}: {miss.reason}" for where, miss in off)
    return Finding(Decision.DROP if sure else Decision.FLAG, reason, min(miss.score for _, miss in off))


# -- what generators leave behind --------------------------------------------------------------------------------


def _refusal(example: Example) -> Finding | None:
    return _worst(
        _finding(where, "reads as a refusal or a generator's own words:", signal)
        for where, text, anywhere in _may_not_refuse(example)
        if (signal := text_signals.refusal(text, anywhere=anywhere))
    )


def _may_not_refuse(example: Example) -> Iterator[tuple[str, str, bool]]:
    """Texts in which nobody but the generator declines; an assistant's turn or answer may rightly do so."""
    match example:
        case Moderation():
            yield from ((where, text, True) for where, text in parts(example))
        case Dialogue():
            for number, turn in enumerate(example.turns, 1):
                if turn.role == "user":
                    yield f"turn {number} (user)", turn.content, False
        case Safety():
            yield "prompt", example.prompt, False
            if example.behaviour == "comply":
                yield "response", example.response, False
        case Preference():
            yield "prompt", example.prompt, False
        case QA():
            yield "question", example.question, False
            yield "answer", example.answer, False


def _label_leak(example: Example) -> Finding | None:
    if not isinstance(example, Moderation | Safety):
        return None
    prose = isinstance(example, Moderation)  # an assistant may discuss what hate speech is
    return _worst(
        _finding(where, "tells its label:", signal)
        for where, text in parts(example)
        if (signal := text_signals.label_leak(text, example.category, prose=prose))
    )


def _placeholder(example: Example) -> Finding | None:
    return _worst(_placeholder_findings(example))


def _placeholder_findings(example: Example) -> Iterator[Finding]:
    for where, text in parts(example):
        if signal := text_signals.placeholder(text):
            # An assistant's draft may hold blanks for its reader to fill, but a dialogue no template's braces.
            braces = isinstance(example, Dialogue) and signal.excerpt[0] in "{$%"
            sure = signal.sure and (isinstance(example, Moderation) or braces)
            yield _finding(where, "has a blank left to fill:", Signal(sure, signal.excerpt))


# -- personal data -----------------------------------------------------------------------------------------------


def _pii(example: Example) -> Finding | None:
    found = [(where, item) for where, text in parts(example) for item in pii.find(text)]
    if not found:
        return None
    shown = ", ".join(f"{item.kind} {item.masked} in {where}" for where, item in found[:5])
    more = f" and {len(found) - 5} more" if len(found) > 5 else ""
    return Finding(Decision.FLAG, f"{shown}{more}", float(len(found)))


CONFORMANCE = f"check:{conformance.NAME}@{conformance.VERSION}"
CHECKS: tuple[Check, ...] = (
    Check("schema", 2, "fields agree with each other, no blank or broken text, turns alternate", _schema),
    Check("language", 1, "the text is in its declared language; code-mixing is not an error", _language),
    Check("length", 1, "neither too short to mean anything nor far too long for its surface", _length),
    Check("refusal", 1, "the generator declines, or speaks as a model, where a person should speak", _refusal),
    Check("label_leak", 1, "the text does not tell its own label or category", _label_leak),
    Check("placeholder", 1, "no template blanks such as {name}, [Your Name] or <insert link>", _placeholder),
    Check("pii", 1, "e-mail, telephone, identity, card and account numbers (names are not found)", _pii),
)
