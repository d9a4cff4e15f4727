"""What the model would have written in a dialogue along a graph: the next message with its details, a query, or a whole dialogue."""

import json
import random
import re
from collections.abc import Sequence
from typing import Any

from . import prose

_SO_FAR = "The conversation so far:\n"
_DETAILS = re.compile(r"^Work in these details as they are, numbers in digits:\n((?:- .*\n?)*)", re.M)
_STATE = re.compile(r"^- (user|system): (\w+)$", re.M)
_TURNS = 4  # of each, in a whole dialogue


def answer(dice: random.Random, language: str, user: str, *, whole: bool) -> str | None:
    """An answer to a prompt for dialogues along a graph; None for other prompts.

    Args:
        whole: it is held to a schema: an object around the list.
    """
    if user.startswith(_SO_FAR):
        found = _DETAILS.search(user[user.rfind("\nWork in these details") + 1 :])
        details = [line.partition(": ")[2] for line in found[1].splitlines()] if found else []
        items: Sequence[dict[str, Any]] = [_message(dice, language, details, query='- "query":' in user)]
    elif '- "who": user or system' in user:
        items = list(_dialogue(dice, language, user))
    else:
        return None
    return json.dumps({"items": items} if whole else items, ensure_ascii=False)


def _message(dice: random.Random, language: str, details: list[str], *, query: bool) -> dict[str, str]:
    if query:
        return {"query": " ".join(details) or prose.text(language, dice, 1)}
    return {"text": " ".join((prose.text(language, dice, 1), *details))}


def _dialogue(dice: random.Random, language: str, user: str) -> Any:
    states: dict[str, list[str]] = {"user": [], "system": []}
    for who, name in _STATE.findall(user):
        states[who].append(name)
    for turn in range(2 * _TURNS):
        who = ("user", "system")[turn % 2]
        yield {"who": who, "state": dice.choice(states[who]), "text": prose.text(language, dice, 1), "slots": "{}"}
