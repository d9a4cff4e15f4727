"""What the model would have written about an SOP: read from the outline and the case in the request, and from nothing else."""

import json
import random
import re
from typing import Any

from . import prose

_OUTLINE = "The SOP as an outline, one JSON object a line:\n"
_CASE = re.compile(r'^\s*(\{"(?:way|done|about)".*\})\s*$', re.M)
_PAGES = re.compile(r"^\[page (\d+)\]$", re.M)
_NUMBERED = re.compile(r"^(\d+(?:\.\d+)*)[.、]? (.+)$")
_ON = re.compile(r"(?:go to step|转到第) ?(\d+(?:\.\d+)*)")
_EMPTY: dict[str, Any] = {"cites": [], "asks": [], "gives": [], "lacks": [], "facts": []}


def answer(dice: random.Random, language: str, system: str, user: str, *, whole: bool, skips: bool) -> str | None:
    """An answer to a prompt on an SOP; None for other prompts.

    Args:
        whole: every field is there, empty or not, as a schema demands.
        skips: a step is left out, as careless models do; of an outline, one is made up.
    """
    if '"answered_by"' in user and _PAGES.search(user):
        return json.dumps(_outline(user, language, invents=skips), ensure_ascii=False)
    place, found = system.find(_OUTLINE), _CASE.search(user)
    if place < 0 or found is None:
        return None
    steps, evidence = _read(system[place + len(_OUTLINE) :])
    case = json.loads(found[1])
    writer = _Writer(dice, language, steps, evidence)
    if "way" in case:
        made: dict[str, Any] = {"turns": writer.dialogue(case["way"], skips=skips)}
    elif "about" in case:
        page = steps[case["steps"][-1]]["page"]
        said = " ".join(steps[name]["text"] for name in case["steps"])
        made = {"question": writer.words(), "answer": f"{said} ({page})", "cites": case["steps"]}
    elif '"turns"' in user:
        made = {"turns": writer.holding_out(case)}
    else:
        made = writer.reasoned(case)
    if whole:
        made = {"turns": [{**_EMPTY, **turn} for turn in made["turns"]]} if "turns" in made else {**_EMPTY, **made}
    return json.dumps(made, ensure_ascii=False)


def _outline(user: str, language: str, *, invents: bool) -> dict[str, Any]:
    """The numbered lines of the pages as steps: those that send elsewhere are decisions, the last is an outcome."""
    parts = _PAGES.split(user)
    found = [
        (match[1], match[2], int(page))
        for page, text in zip(parts[1::2], parts[2::2], strict=True)
        for line in text.split("\n")
        if (match := _NUMBERED.match(line)) is not None and "." in match[1]
    ]
    ids = [number for number, _, _ in found]
    steps: list[dict[str, Any]] = []
    for at, (number, text, page) in enumerate(found):
        goes = [
            to
            for name in _ON.findall(text)
            if (to := next((one for one in ids if f"{one}.".startswith(f"{name}.")), None))
        ]
        on = [*dict.fromkeys(goes)] if at < len(found) - 1 else []
        steps.append({
            "id": number, "kind": "decision" if len(on) > 1 else "action", "text": text, "page": page, "when": "", "evidence": [],
            "branches": [{"when": text[: 12 + 9 * place], "to": to} for place, to in enumerate(on)] if len(on) > 1 else [],
            "then": on[0] if len(on) == 1 else "", "answered_by": "record",
        })  # fmt: skip
    steps[-1] |= {"kind": "outcome", "then": ""}
    if invents:
        steps[1]["text"] = "Ask for the name of the customer's first pet and write it on the wall."
    return {"language": language, "evidence": [], "steps": steps}


def _read(text: str) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    steps, evidence = {}, {}
    for line in text.split("\n"):
        if not line.startswith("{"):
            break
        one = json.loads(line)
        if "step" in one:
            steps[one["step"]] = one
        elif "evidence" in one:
            evidence[one["evidence"]] = one["text"]
    return steps, evidence


class _Writer:
    def __init__(
        self, dice: random.Random, language: str, steps: dict[str, dict[str, Any]], evidence: dict[str, str]
    ) -> None:
        self._dice, self._language, self._steps, self._evidence = dice, language, steps, evidence

    def words(self) -> str:
        return prose.text(self._language, self._dice, 1)

    def _facts(self, way: list[dict[str, Any]]) -> list[dict[str, str]]:
        return [{"step": one["step"], "holds": str(one["holds"]).lower() if isinstance(one["holds"], bool) else one["holds"]}
                for one in way if "holds" in one]  # fmt: skip

    def _shown(self, names: list[str]) -> str:
        return " ".join((self.words(), *(self._evidence[name] for name in names)))

    def _does(self, *steps: str, **more: Any) -> dict[str, Any]:
        said = " ".join((self.words(), *(self._steps[step]["text"] for step in steps)))
        return {"role": "assistant", "content": said, "cites": list(steps), **more}

    def dialogue(self, way: list[dict[str, Any]], *, skips: bool) -> list[dict[str, Any]]:
        turns: list[dict[str, Any]] = [{"role": "user", "content": self.words()}]
        seen: set[str] = set()
        left_out = self._dice.randrange(max(1, len(way) - 1)) if skips else -1
        for at, one in enumerate(way):
            step, lacks = one["step"], one.get("lacks", [])
            wanted = [name for name in self._steps[step].get("needs", []) if name not in seen]
            asks = [*wanted, *([step] if "holds" in one else [])]
            if at == left_out:
                continue
            if asks:
                gives = [name for name in wanted if name not in lacks]
                turns.append(self._does(step, asks=asks))
                turns.append(
                    {
                        "role": "user",
                        "content": self._shown(wanted),
                        "gives": gives,
                        "lacks": lacks,
                        "facts": self._facts([one]),
                    }
                )
                seen.update(wanted)
            if one.get("holds") is not False:
                turns += [self._does(step), {"role": "user", "content": self.words()}]
        return turns[:-1] if turns[-1]["role"] == "user" else turns

    def _done(self, case: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
        """The steps to cite, and what is told."""
        cites = [one["step"] for one in case["done"] if one.get("holds") is not False]
        lacks = [name for one in case["done"] for name in one.get("lacks", [])]
        return [*cites, case["waits_at"]], {"gives": case["shown"], "lacks": lacks, "facts": self._facts(case["done"])}

    def holding_out(self, case: dict[str, Any]) -> list[dict[str, Any]]:
        cites, told = self._done(case)
        return [
            {"role": "user", "content": self._shown(case["shown"]), **told}, self._does(*cites, asks=case["asks"]),
            {"role": "user", "content": self.words()}, self._does(case["waits_at"], asks=case["asks"]),
        ]  # fmt: skip

    def reasoned(self, case: dict[str, Any]) -> dict[str, Any]:
        cites, told = self._done(case)
        said = " ".join(self._steps[step]["text"] for step in cites)
        return {"question": self._shown(case["shown"]), "answer": said, "cites": cites, "asks": case["asks"], **told}
