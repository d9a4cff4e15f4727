"""An SOP's outline by rule, in English and Chinese: what its numbered steps say of conditions, branches, evidence and ends.

Rules read the forms that procedures are written in: numbered steps, alone or under numbered headings; `If C, go to step 7; otherwise go to
step 2`, `如果C，转到第7步；否则转到第2步`; `Only if C: ...`; a table of evidence, and `Evidence: E1 order number` beneath the steps that want it; headings
that begin with `Outcome`. What is written otherwise becomes a plain action, to be put right by hand.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from curation.documents import Block, Branch, Document, Evidence, Outline, Place, Step
from curation.errors import InputError
from curation.language import letters

BY = "rule:outline@1"
OTHERWISE = {"en": "otherwise", "zh": "否则"}
_NUMBERED = re.compile(
    r"^\s*(?:step\s+|第\s*)?(\d+(?:\.\d+)*)\s*(?:[.、:：)）]|步[:：]?|(?=\s|[\u4e00-\u9fff]))\s*(.*)$",
    re.IGNORECASE | re.DOTALL,
)
_GOTO = re.compile(
    r"(?:\b(?:go|continue|proceed|skip|jump|return|move)(?: back| on| ahead)*(?: to| with| at| from)? step|(?:->|→|⇒)\s*(?:step|第)?"
    r"|(?:转到|转至|跳到|跳至|回到|返回|进入|前往|转)\s*(?:第|步骤))\s*(\d+(?:\.\d+)*)(?:\s*步)?",
    re.IGNORECASE,
)
_IF = re.compile(
    r"^\s*(?:and |then |but )?(?:only )?(?:if|when|where|in case)\s+|^\s*(?:仅|只有)?(?:如果|若是|若|当|如)\s*",
    re.IGNORECASE,
)
_OTHERWISE = re.compile(r"^\s*(?:otherwise|else|in all other cases|if not\b|否则|其他情况|不然)", re.IGNORECASE)
_ONLY_IF = re.compile(
    r"^\s*(?:only\s+)?(?:if|when|where)\s+(.+?)(?::|, (?:then )?)\s*(.+)$|^\s*(?:仅当|只有当|仅在|如果|若)\s*(.+?)(?:时)?[:：,，]\s*(.+)$",
    re.IGNORECASE | re.DOTALL,
)
_OUTCOME = re.compile(r"^\s*(?:outcome|result|end|结果|结局|结论)\s*[:：.\-–]\s*", re.IGNORECASE)
_OUTCOMES = re.compile(r"^\s*(?:outcomes?|results?|endings?|结果|结局|处理结果)\s*$", re.IGNORECASE)
_PROCEDURE = re.compile(
    r"^\s*(?:procedures?|steps?|process|workflow|流程|步骤|操作步骤|处理流程|操作流程)\s*$", re.IGNORECASE
)
_EVIDENCE = re.compile(r"^\s*(?:evidence|required|documents|proof|证据|凭证|所需材料)\s*[:：]\s*", re.IGNORECASE)
_EVIDENCE_HEAD = re.compile(r"evidence|proof|document|证据|凭证|材料", re.IGNORECASE)
_SOURCE_HEAD = re.compile(r"where|source|from|来源|出处", re.IGNORECASE)
_EVIDENCE_ID = re.compile(r"(?<![A-Za-z0-9])([EeVv]\d{1,3})(?![A-Za-z0-9])")
_CUSTOMER = re.compile(
    r"\b(?:buyers?|customers?|reporters?|sellers?|callers?|clients?|guests?|users?|members?|claimants?)\b|买家|顾客|客户|用户|举报人|卖家|会员",
    re.IGNORECASE,
)
_CLAUSES = re.compile(
    r"[;；]\s*|(?<=[.。!?！？])\s*(?=\S)|,\s*(?=(?:otherwise|else)\b)|[，,]\s*(?=(?:否则|不然))", re.IGNORECASE
)
_ASKS_FOR = re.compile(
    r"\b(?:ask|request)(?: the \w+)?(?: for| to (?:send|show|give|upload)) (?:the |an? |their |his or her )?([^.,;:]+?)(?= before\b| and \w+ing\b|[.,;:]|$)"
    r"|(?:要求|请)[^，。；]{0,8}?(?:提供|出示|发送|上传|发来)([^，。；]+)|询问([^，。；]+号码?)",
    re.IGNORECASE,
)


@dataclass(slots=True)
class _Group:
    """A numbered heading and the numbered steps under it; a step that stands alone is a group of its own."""

    number: str
    title: str
    place: Place
    outcome: bool
    steps: list[Block] = field(default_factory=list)
    evidence: list[str] = field(default_factory=list)


def outline_of(document: Document) -> Outline:
    """The outline of a document, by rule.

    Raises:
        InputError: it has no numbered steps.
    """
    blocks = [block for page in document.pages for block in page.blocks]
    text = " ".join(block.text for block in blocks)
    found = letters(text)
    language = "zh" if found.get("Han", 0) * 3 > found.get("Latin", 0) else "en"
    evidence = dict(_listed_evidence(blocks))
    groups = list(_groups(blocks, evidence))
    if not any(group.steps or not group.outcome for group in groups):
        raise InputError(
            f"{document.path}: no numbered steps found; write its outline by hand, as YAML, and give it: "
            "`synth outline edited=FILE by=NAME`"
        )
    steps = _Steps(groups, evidence, language)
    return Outline(
        document=document.id, title=document.title or document.name, language=language, steps=tuple(steps.made()),
        evidence=tuple(evidence.values()), by=BY,
    )  # fmt: skip


# -- reading the blocks ------------------------------------------------------------------------------------------


def _numbered(block: Block) -> tuple[str | None, str]:
    """The printed number of a block, and its text without it."""
    text = " ".join(block.text.split())
    if block.number:
        number = re.sub(r"^(?:step|第)\s*|[\s.、)）步]+$", "", block.number.strip(), flags=re.IGNORECASE)
        rest = re.sub(
            rf"^\s*(?:step\s+|第\s*)?{re.escape(number)}\s*(?:[.、:：)）]|步)?\s*", "", text, flags=re.IGNORECASE
        )
        return number, rest or text
    found = _NUMBERED.match(text)
    return (found[1], found[2]) if found and found[2] else (None, text)


def _groups(blocks: Sequence[Block], evidence: dict[str, Evidence]) -> Iterator[_Group]:
    sections = any(block.kind == "heading" and _PROCEDURE.match(_numbered(block)[1]) for block in blocks)
    inside, outcomes, group = not sections, False, None
    top = 0  # level of the heading that opens the procedure
    for block in blocks:
        number, text = _numbered(block)
        if block.kind == "heading" and _OUTCOMES.match(text):
            inside, outcomes, top = True, True, block.level
        elif block.kind == "heading" and _PROCEDURE.match(text):
            inside, outcomes, top = True, False, block.level
        elif block.kind == "heading" and number is None:
            if sections and block.level <= top:
                inside = False
            if group is not None:
                yield group
            group = None
        elif not inside:
            continue
        elif block.kind == "heading" and number is not None:
            if group is not None:
                yield group
            group = _Group(number, text, block.place, outcomes or bool(_OUTCOME.match(text)))
        elif _EVIDENCE.match(text) and group is not None:
            group.evidence += _named_evidence(text, block.place, evidence)
        elif block.kind == "step" and number is not None:
            plain = block.model_copy(update={"number": number, "text": text})
            if group is not None and number.startswith(f"{group.number}."):
                group.steps.append(plain)
            else:
                if group is not None:
                    yield group
                group = _Group(number, text, block.place, outcomes or bool(_OUTCOME.match(text)))
        elif block.kind in ("bullet", "paragraph") and group is not None and _GOTO.search(text):
            last = group.steps[-1] if group.steps else None  # a branch that stands on a line of its own
            if last is not None:
                group.steps[-1] = last.model_copy(update={"text": f"{last.text}; {text}"})
            else:
                group.title = f"{group.title}; {text}"
    if group is not None:
        yield group


def _listed_evidence(blocks: Sequence[Block]) -> Iterator[tuple[str, Evidence]]:
    """The rows of tables that list evidence."""
    count = 0
    for block in blocks:
        if block.kind != "table" or len(block.cells) < 2:
            continue
        head = [" ".join(cell.split()) for cell in block.cells[0]]
        named = next((at for at, cell in enumerate(head) if _EVIDENCE_HEAD.search(cell)), None)
        if named is None:
            continue
        source = next((at for at, cell in enumerate(head) if at != named and _SOURCE_HEAD.search(cell)), None)
        for row in block.cells[1:]:
            cells = [" ".join(cell.split()) for cell in row]
            if named >= len(cells) or not cells[named]:
                continue
            count += 1
            printed = next((found[1] for cell in cells if (found := _EVIDENCE_ID.fullmatch(cell))), None)
            where = cells[source] if source is not None and source < len(cells) else ""
            held = "customer" if not where or _CUSTOMER.search(where) else "record"
            identity = printed or f"E{count}"
            yield identity, Evidence(id=identity, text=cells[named], place=block.place, held_by=held)


def _named_evidence(text: str, place: Place, evidence: dict[str, Evidence]) -> Iterator[str]:
    """The ids in a line such as `Evidence: E1 order number; E2 photo`; what is not in a table yet is added."""
    for part in re.split(r"[;；]\s*", _EVIDENCE.sub("", text)):
        words = part.strip(" .。")
        found = _EVIDENCE_ID.search(words)
        if found is None:
            same = next((one.id for one in evidence.values() if one.text.casefold() == words.casefold()), None)
            identity = same or _fresh(evidence)
        else:
            identity = found[1].upper() if found[1].upper() in evidence else found[1]
            words = words.replace(found[0], "", 1).strip(" :：")
        if identity not in evidence and words:
            evidence[identity] = Evidence(id=identity, text=words, place=place)
        if identity in evidence:
            yield identity


def _fresh(evidence: dict[str, Evidence]) -> str:
    return next(f"E{number}" for number in range(1, len(evidence) + 2) if f"E{number}" not in evidence)


# -- making the steps --------------------------------------------------------------------------------------------


class _Steps:
    def __init__(self, groups: Sequence[_Group], evidence: dict[str, Evidence], language: str) -> None:
        self._groups = groups
        self._evidence = evidence
        self._guess = not evidence
        self._language = language
        self._ids: dict[str, str] = {}  # number as printed -> the step that it leads to
        taken: set[str] = set()
        self._items: list[tuple[str, str, Place, _Group]] = []
        for group in groups:
            mine: list[str] = []
            for step in group.steps:
                mine.append(_unique(str(step.number), taken))
                self._items.append((mine[-1], step.text, step.place, group))
            if group.outcome or not group.steps:
                mine.append(_unique(group.number, taken))
                title = _OUTCOME.sub("", group.title) if group.outcome else group.title
                self._items.append((mine[-1], title, group.place, group))
            self._ids.setdefault(group.number, mine[0])
            for name in mine:
                self._ids.setdefault(name, name)

    def made(self) -> list[Step]:
        steps = [self._step(at) for at in range(len(self._items))]
        self._evidence_of_groups(steps)
        self._other_cases(steps)
        if not any(step.kind == "outcome" for step in steps) and not steps[-1].branches and steps[-1].then is None:
            steps[-1] = steps[-1].model_copy(update={"kind": "outcome"})
        return steps

    def _step(self, at: int) -> Step:
        identity, text, place, group = self._items[at]
        ends = group.outcome and (at + 1 == len(self._items) or self._items[at + 1][3] is not group)
        branches, then = self._ways(text, at)
        when = None
        if not branches and not ends and (found := _ONLY_IF.match(text)):
            when = (found[1] or found[3]).strip(" ,，")
        inline = [one.upper() for one in _EVIDENCE_ID.findall(text) if one.upper() in self._evidence]
        if self._guess and not ends:
            inline += self._asked_for(text, place)
        told = " ".join((when or "", *(branch.when for branch in branches)))
        return Step(
            id=identity, kind="outcome" if ends else "decision" if branches else "action", text=text, place=place, when=when,
            evidence=tuple(dict.fromkeys(inline)), branches=tuple(branches), then=None if ends else then,
            answered_by="customer" if _CUSTOMER.search(told) or not (branches or when) else "record",
        )  # fmt: skip

    def _ways(self, text: str, at: int) -> tuple[list[Branch], str | None]:
        """The branches in a text, or the one step that it sends everybody to."""
        branches: dict[str, str] = {}
        then = None
        follows = self._items[at + 1][0] if at + 1 < len(self._items) else None
        for clause in filter(None, _CLAUSES.split(text)):
            goto = _GOTO.search(clause)
            to = self._ids.get(goto[1]) if goto else None
            if goto is None or to is None:
                continue
            before = clause[: goto.start()].strip(" ,，:：")
            if _OTHERWISE.match(before) or _OTHERWISE.match(clause):
                branches[OTHERWISE[self._language]] = to
            elif _IF.match(before):
                branches[_condition(before)] = to
            elif before and re.match(r"(?:yes|no|是|否|有|没有)\b", before, re.IGNORECASE):
                branches[before] = to
            else:
                then = to
        if not branches:
            return [], then
        if OTHERWISE[self._language] not in branches and len(branches) == 1:
            rest = then or follows
            if rest is not None:
                branches[OTHERWISE[self._language]] = rest
        return [Branch(when=when, to=to) for when, to in branches.items()], None

    def _asked_for(self, text: str, place: Place) -> list[str]:
        """Where nothing lists the evidence, what a step tells the agent to ask for."""
        found = _ASKS_FOR.search(text)
        words = next((group for group in found.groups() if group), "").strip() if found else ""
        if not words or len(words) > 80:
            return []
        identity = _fresh(self._evidence)
        self._evidence[identity] = Evidence(id=identity, text=words, place=place)
        return [identity]

    def _evidence_of_groups(self, steps: list[Step]) -> None:
        """What stands under a group of steps has to be at hand before its decision; where it has none, before its last step."""
        for group in self._groups:
            mine = [at for at, item in enumerate(self._items) if item[3] is group and steps[at].kind != "outcome"]
            if not mine or not group.evidence:
                continue
            named = {one for at in mine for one in steps[at].evidence}
            at = next((at for at in reversed(mine) if steps[at].branches), mine[-1])
            wanted = (*steps[at].evidence, *(one for one in group.evidence if one not in named))
            steps[at] = steps[at].model_copy(update={"evidence": tuple(dict.fromkeys(wanted))})

    def _other_cases(self, steps: list[Step]) -> None:
        """`Only if C: x` followed by `In all other cases y`: who does x leaves y out."""
        for at in range(1, len(steps) - 1):
            if steps[at - 1].when and steps[at - 1].then is None and _OTHERWISE.match(steps[at].text):
                steps[at - 1] = steps[at - 1].model_copy(update={"then": steps[at + 1].id})


def _condition(text: str) -> str:
    return re.sub(r"(?:的话|时|，?则|，?就|, then)$", "", _IF.sub("", text).strip(" ,，")).strip(" ,，")


def _unique(number: str, taken: set[str]) -> str:
    """A number as printed; where a document uses one twice, with a letter."""
    name = next(one for one in (number, *(f"{number}{chr(97 + at)}" for at in range(26))) if one not in taken)
    taken.add(name)
    return name
