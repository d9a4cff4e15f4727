"""Hand-made task-oriented dialogues in the shape that graph dialogues have: intents, slots, lookups and citations."""

import json
import random
from typing import Any

from curation.records import Dialogue, Turn

FOODS = ("laksa", "satay", "congee", "rendang", "dosa", "ramen", "paella", "pho")
MINUTES = (5, 10, 15, 20, 30)

SAYS = {  # intent -> how a user puts it
    "search_recipe": ("Find me a {food} recipe", "I want to cook {food} tonight", "Do you have recipes for {food}"),
    "select_i": ("I take number {selection}", "Let us make option {selection}", "The choice is {selection}"),
    "show_ingredients": ("What do I need to buy for it", "Show the ingredients please", "Which ingredients are in it"),
    "next_step": ("Done, what comes next", "Next step please", "Finished that, go on"),
    "set_timer": ("Set a timer for {minutes} minutes", "Wake me in {minutes} minutes", "Timer, {minutes} minutes"),
    "chitchat": ("My grandmother loved this dish", "It is raining here today", "I hope the kids like it"),
    "medical_advice": ("Is this safe with my diabetes pills", "Will it cure my cough", "Can I eat it with a fever"),
    "finish_task": ("That was all, thanks", "We are done here, bye", "All finished, good night"),
}
ANSWERS = {
    "search_recipe": "Here are some ideas for {food}. Which one do you like?",
    "select_i": "Good choice, number {selection}. Shall we begin?",
    "show_ingredients": "You need rice, oil and salt.",
    "next_step": "Now stir it for a while.",
    "set_timer": "Timer set: {minutes} minutes.",
    "chitchat": "How nice to hear.",
    "medical_advice": "I cannot advise on health; please ask a doctor.",
    "finish_task": "Enjoy your meal!",
}


def dialogues(n: int, seed: int = 0, language: str = "en") -> list[Dialogue]:
    """n different dialogues of 3 to 5 exchanges: a search with its results first, a farewell last."""
    chance = random.Random(seed)
    found: dict[str, Dialogue] = {}
    while len(found) < n:
        middle = [one for one in SAYS if one not in ("search_recipe", "finish_task")]
        intents = ["search_recipe", *chance.choices(middle, k=chance.randint(1, 3)), "finish_task"]
        one = Dialogue(language=language, scenario="recipe", turns=tuple(_turns(intents, chance)))
        found[one.id] = one
    return list(found.values())


def _turns(intents: list[str], chance: random.Random) -> list[Turn]:
    turns = []
    for intent in intents:
        food, selection, minutes = chance.choice(FOODS), chance.randint(1, 4), chance.choice(MINUTES)
        fill = {"food": food, "selection": selection, "minutes": minutes}
        slots: dict[str, Any] = {
            "search_recipe": {"query": food}, "select_i": {"selection": selection}, "set_timer": {"minutes": minutes},
        }.get(intent, {})  # fmt: skip
        said = chance.choice(SAYS[intent]).format(**fill)
        turns.append(Turn(role="user", content=said, annotation={"state": intent, "intent": intent, "slots": slots}))
        cites: tuple[str, ...] = ()
        if intent == "search_recipe":
            hits = [{"id": f"r{chance.randint(1, 99)}", "title": f"{word} {food}"} for word in ("Quick", "Classic")]
            cites = (hits[1]["id"],)
            seen = {"state": "results", "query": {"query": food}, "golden": hits[1]["id"]}
            turns.append(Turn(role="tool", content=json.dumps(hits), annotation=seen))
        turns.append(
            Turn(role="assistant", content=ANSWERS[intent].format(**fill), cites=cites, annotation={"action": intent})
        )
    return turns


def row(dialogue: Dialogue) -> dict[str, Any]:
    """As a line of a JSONL file for `curate import task=dialogue`."""
    return {
        "language": dialogue.language, "scenario": dialogue.scenario,
        "turns": [turn.model_dump(exclude_defaults=True, mode="json") for turn in dialogue.turns],
    }  # fmt: skip
