"""A second reading of a dialogue graph, for tests: straight from the YAML file, with nothing of synth.

It plays a sequence of states again and says what is wrong with it: a transition that is not there, a guard that does not hold, a
number or list out of its bounds, a start or an end that is none.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import CodeType
from typing import Any

import yaml

TRUTH = {"true": True, "false": False}


@cache
def _compiled(text: str) -> CodeType:
    return compile(text, text, "eval")


def _value(text: str, memory: Mapping[str, Any]) -> Any:
    return eval(_compiled(text), {"__builtins__": {}}, TRUTH | dict(memory))  # our own files, in a test


class Replay:
    def __init__(self, path: Path) -> None:
        self.graph: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
        self.states: dict[str, dict[str, Any]] = self.graph["states"]
        self.variables: dict[str, dict[str, Any]] = self.graph.get("memory", {})

    @cache  # noqa: B019  (a replay lives as long as its test)
    def transitions(self, state: str) -> dict[str, str]:
        """Next state -> guard of the transition."""
        following = self.states[state].get("next", {})
        names = [following] if isinstance(following, str) else following
        tables = [following] if isinstance(following, dict) else [self.graph["menus"][name] for name in names]
        return {
            target: given.get("when", "") if isinstance(given, dict) else ""
            for table in tables
            for target, given in table.items()
        }

    @cache  # noqa: B019
    def starts(self, name: str) -> set[Any] | None:
        """The values that a variable may start with; None where the corpus decides."""
        variable = self.variables[name]
        if "items" in variable:
            return {0}
        if "flag" in variable:
            return {variable["flag"]}
        start = variable.get("start", 0)
        if isinstance(start, dict):
            return set(start)
        return None if isinstance(start, str) and "." in start else {start}

    def faults(self, states: Sequence[str], begins: Mapping[str, Any]) -> list[str]:
        """What is wrong with a walk that begins with these values, before its first state is entered."""
        found = [
            f"{name} starts as {value}" for name, value in begins.items()
            if (allowed := self.starts(name)) is not None and value not in allowed
        ]  # fmt: skip
        memory = dict(begins)
        if self.graph["start"].get(states[0], 0) <= 0:
            found.append(f"starts in {states[0]}")
        if len(states) > self.graph["max_turns"]:
            found.append(f"{len(states)} turns")
        for place, state in enumerate(states):
            if place:
                ways = self.transitions(states[place - 1])
                if state not in ways:
                    found.append(f"no way from {states[place - 1]} to {state}")
                elif not self.holds(ways[state], memory):
                    found.append(f"{ways[state]} on the way from {states[place - 1]} to {state}")
                if self.states[states[place - 1]]["who"] == self.states[state]["who"]:
                    found.append(f"{self.states[state]['who']} speaks twice")
            if not self.holds(self.states[state].get("when", ""), memory):
                found.append(f"{state} entered although not {self.states[state]['when']}")
            for effect in self.states[state].get("then", []):
                self.do(effect, state, memory)
                found += self.out_of_bounds(memory, state)
        if not self.states[states[-1]].get("end"):
            found.append(f"ends in {states[-1]}")
        return found

    def holds(self, guard: str, memory: Mapping[str, Any]) -> bool:
        return not guard or bool(_value(guard, memory))

    def do(self, effect: str, state: str, memory: dict[str, Any]) -> None:
        match = re.fullmatch(r"(\w+)\s*(=|\+=|-=)\s*(.+)", effect.strip())
        assert match, effect
        name, sign, value = match.groups()
        if "items" in self.variables[name]:
            if value == "[]":
                memory[name] = 0
            elif value == "found":
                memory[name] = self.states[state]["retrieve"]["show"]
            else:
                memory[name] += 1 if sign == "+=" else -int(value)
            return
        given = _value(value, memory)
        memory[name] = given if sign == "=" else memory[name] + given if sign == "+=" else memory[name] - given

    def out_of_bounds(self, memory: Mapping[str, Any], state: str) -> list[str]:
        found = []
        for name, variable in self.variables.items():
            low, high = (0, variable["most"]) if "items" in variable else variable.get("number", (None, None))
            if low is not None and not low <= memory[name] <= high:
                found.append(f"{name} is {memory[name]} after {state}")
            if "words" in variable and memory[name] not in variable["words"]:
                found.append(f"{name} is {memory[name]} after {state}")
        return found
