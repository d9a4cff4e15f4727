"""Prompts that write dialogues along a graph: `program: graph`.

The file names the graph and the axes, and has the words for asking for a whole dialogue at once, without the graph (`graph=none`):
the baseline that shows what the graph brings.
"""

import json
import random
import re
from collections.abc import Collection, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import jinja2
import jinja2.meta
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import Field, field_validator

from curation import library
from curation.documents import Outline
from curation.errors import InputError
from curation.records import LANGUAGE_NAMES, Message, Request, Turn, canonical_json, content_id
from synth.chain import Chain
from synth.config import CorpusChoice
from synth.corpora import Corpus, load_corpus
from synth.grammar import Grammar
from synth.graph import Graph, load_graph
from synth.memory import Items
from synth.retrieve import embedder_of
from synth.scene import Need, play
from synth.walks import Walker

Value = str | int
_JINJA = ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined, autoescape=False)
FIELDS = {"user": {"text": "the message"}, "system": {"text": "the message"}, "query": {"query": "the search query"}}
WHOLE = {
    "who": "user or system", "state": "one of the names given", "text": "what is said",
    "slots": 'a JSON object in a string: the details that a user message gives, else "{}"',
}  # fmt: skip
_START = re.compile(r"(?:^|(?<=[.!?] ))[a-z]")
RESERVED = frozenset(
    {"language", "language_name", "per_request", "role", "state", "visit", "wants", "conversation", "details", "about",
     "format_instructions", "states", "documents", "model", "item"}
)  # fmt: skip


class GraphPrompt(library.Checked):
    task: Literal["dialogue"]
    program: Literal["graph"]
    description: str = Field(min_length=10)
    graph: str
    axes: dict[str, tuple[Value, ...]] = Field(min_length=1)
    language: tuple[str, ...] = Field(default=("en", "zh", "ms", "ta"), min_length=1)
    system: str = Field(min_length=1)
    user: str = Field(min_length=1)
    baseline: bool = False  # ask for the whole dialogue at once
    steer: bool = False
    corpus: CorpusChoice | None = None
    user_model: str | None = None
    retriever: Literal["bm25", "dense"] = "bm25"
    embedder: str | None = None  # of a dense search: a folder or a hub id
    outline: Outline | None = None  # of the SOP behind the graph
    per_request: ClassVar[int] = 1
    image_files: ClassVar[Mapping[str, Path]] = {}

    @field_validator("axes")
    @classmethod
    def _axes_have_distinct_values(cls, axes: dict[str, tuple[Value, ...]]) -> dict[str, tuple[Value, ...]]:
        for name, values in axes.items():
            if name in RESERVED:
                raise ValueError(f"axis {name!r} is a name that every dialogue already has; choose another")
            if len(values) < 2 or len(set(map(str, values))) != len(values):
                raise ValueError(f"axis {name!r} needs two or more different values")
        return axes

    def set_up(self, given: Mapping[str, Any]) -> "GraphPrompt":
        """This prompt with another graph (`none`: the baseline), corpus, steering or model for the user.

        Raises:
            InputError: there is no such graph, or what it needs cannot be read.
        """
        changes = dict(given)
        if (changes.get("embedder") is not None) != (changes.get("retriever") == "dense"):
            raise InputError(
                "retriever=dense needs embedder=FOLDER, or a hub id such as sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2"
                if changes.get("embedder") is None
                else "embedder: is for retriever=dense; add that, or leave it out"
            )
        if changes.get("graph") == "none":
            changes |= {"graph": self.graph, "baseline": True}
        if changes.items() <= self.model_dump().items():
            return self
        changed = self.__class__(**{**{name: getattr(self, name) for name in type(self).model_fields}, **changes})
        changed.check()
        if changed.outline is not None:
            changed.plot.check_outline(changed.outline)
        return changed

    # -- what it stands on -----------------------------------------------------------------------------------

    @cached_property
    def plot(self) -> Graph:
        """The graph: beside the prompt's own folder first, then wherever graphs are looked for."""
        beside = self.path.parent / "dialogue" / f"{self.graph}.yaml"
        return load_graph(str(beside) if beside.is_file() else self.graph)

    @cached_property
    def corpora(self) -> dict[str, Corpus]:
        graph, own = self.plot, self.corpus
        return {
            name: load_corpus(name, source, graph.path.parent, own.path, own.columns)
            if own is not None and name == graph.corpus
            else load_corpus(name, source, graph.path.parent)
            for name, source in graph.corpora.items()
        }

    @cached_property
    def chain(self) -> Chain:
        return Chain(self.plot, self.corpora)

    def walker(self, seed: int) -> Walker:
        """The walks of this prompt for a run's seed."""
        if seed not in self._walkers:
            self._walkers[seed] = Walker(self.chain, f"{self.name}/{seed}", steer=self.steer)
        return self._walkers[seed]

    @cached_property
    def _walkers(self) -> dict[int, Walker]:
        return {}

    # -- what a plan asks of a prompt ------------------------------------------------------------------------

    @cached_property
    def fingerprint(self) -> str:
        meaning: dict[str, Any] = {
            "graph": self.plot.fingerprint, "corpora": {name: one.sha256 for name, one in self.corpora.items()},
            "steer": self.steer,
        }  # fmt: skip
        if self.baseline:
            meaning |= {"system": self.system, "user": self.user, "baseline": True}
        if self.user_model is not None:
            meaning["user_model"] = self.user_model
        if self.outline is not None:
            meaning["outline"] = self.outline.id
        if self.embedder is not None:
            meaning["embedder"] = [self.embedder, embedder_of(self.embedder).identity]
        return content_id("pr", meaning)

    @cached_property
    def grammar_fingerprint(self) -> str:
        return self.plot.offline_fingerprint

    @cached_property
    def requests_each(self) -> int:
        if self.baseline:
            return 1
        rates = self.chain.rates
        searches = sum(rates.states[name] for name, state in self.plot.states.items() if state.retrieve)
        return max(1, round(rates.turns + searches))

    @cached_property
    def users_share(self) -> float:
        """Which share of the requests asks for a turn of the user's."""
        if self.baseline:
            return 0.0
        rates = self.chain.rates.states
        searches = sum(rates[name] for name, state in self.plot.states.items() if state.retrieve)
        users = sum(rates[name] for name, state in self.plot.states.items() if state.who == "user")
        return users / (sum(rates.values()) + searches)

    @property
    def offline_languages(self) -> Collection[str]:
        return self.plot.offline

    def example_labels(self, axes: Mapping[str, Value]) -> Mapping[str, Value]:  # noqa: ARG002
        return {"category": self.plot.name}

    def body(self) -> str:
        own = self.model_dump(mode="json", exclude={"path", "outline"})
        if self.outline is not None:
            own["outline"] = self.outline.id
        graph = self.plot.model_dump(mode="json", exclude={"path", "offline"})
        return canonical_json({**own, "plot": graph})

    # -- messages --------------------------------------------------------------------------------------------

    def messages(self, need: Need, language: str, axes: Mapping[str, Value], why: str = "") -> tuple[Message, ...]:
        """What to ask a model for the next turn, or query, of a scene. `why`: what was wrong with its earlier replies."""
        graph = self.plot
        given = {
            **axes, "language": language, "language_name": LANGUAGE_NAMES.get(language, language),
            "conversation": conversation(need.turns),
            "details": "\n".join(f"- {name.replace('_', ' ')}: {need.variables[name]}" for name in need.slots),
            "format_instructions": format_instructions(FIELDS[need.kind]),
        }  # fmt: skip
        about = ""
        if need.kind != "query":
            about = self._render(
                ("states", need.state, "about"), graph.states[need.state].about, {**given, **need.variables}
            )
        role = getattr(graph.simulators, need.kind) or graph.simulators.system
        system = self._render(("simulators", need.kind), role, {**given, "about": about})
        turn = self._render(("simulators", "turn"), graph.simulators.turn, {**given, "about": about, "role": need.kind})
        if why:
            turn += f"\n\n(An earlier reply could not be used: {why}. Keep to the form above, and write nothing else.)"
        return Message(role="system", content=system), Message(role="user", content=turn)

    def whole(self, language: str, axes: Mapping[str, Value], seed: str) -> tuple[Message, ...]:
        """What to ask a model for a whole dialogue, without the graph."""
        graph, rng = self.plot, random.Random(seed)
        documents = [
            document for corpus in self.corpora.values()
            for document in rng.sample(corpus.documents(language), min(5, len(corpus)))
        ]  # fmt: skip
        given = {
            **axes, "language": language, "language_name": LANGUAGE_NAMES.get(language, language),
            "states": "\n".join(f"- {state.who}: {name}" for name, state in graph.states.items()),
            "documents": "\n".join(
                f"- {document.id}: " + "; ".join(f"{name} {value}" for name, value in document.fields.items() if value)
                for document in documents
            ),
            "format_instructions": format_instructions(WHOLE, "an array with one object for each message, in order"),
        }  # fmt: skip
        return (
            Message(role="system", content=self._render(("system",), self.system, given)),
            Message(role="user", content=self._render(("user",), self.user, given)),
        )

    def _render(self, where: tuple[str, ...], source: str, given: Mapping[str, Value]) -> str:
        if "{" not in source:
            return source.strip()
        key = "\0".join(where)
        try:
            if key not in self._templates:
                self._templates[key] = _JINJA.from_string(source)
            return self._templates[key].render(given).strip()
        except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError) as error:
            path = self.path if where[0] in ("system", "user") else self.plot.path
            raise InputError(f"{path}: {'.'.join(where)}: cannot be rendered: {error}") from error

    @cached_property
    def _templates(self) -> dict[str, jinja2.Template]:
        return {}

    # -- offline ---------------------------------------------------------------------------------------------

    def offline_answer(self, request: Request) -> str:
        """What the graph's grammar says to this request, as the JSON that a model is asked for."""
        variables, language = request.variables, str(request.variables["language"])
        if variables["role"] == "whole":
            return self._offline_whole(request, language)
        # one seed for a whole dialogue, so that what a state has said it does not say again
        seed = f"{request.prompt_id}/{request.sampling.get('seed')}/{request.slot}/{request.attempt}"
        name, kind = str(variables["state"]), str(variables["role"])
        if kind == "query":
            return json.dumps([{"query": variables["details"]}], ensure_ascii=False)
        text = self.phrase(name, int(variables["visit"]), language, variables, seed)
        return json.dumps([{"text": text}], ensure_ascii=False)

    def phrase(self, state: str, visit: int, language: str, variables: Mapping[str, Value], seed: str) -> str:
        """What is said in a state, by the grammar."""
        grammar = self.grammars[language]
        given = dict(variables)
        one = self.plot.states[state]
        if one.some is not None:
            parts = [grammar.nth(f"want_{slot}", seed, variables, visit) for slot in one.slots if slot in variables]
            given["wants"] = ("，" if language == "zh" else ", ").join(parts)
        return _sentences(grammar.nth(state, f"{seed}/{state}", given, visit))

    def _offline_whole(self, request: Request, language: str) -> str:
        turns = whole_dialogue(self, language, request.id, {name: request.variables[name] for name in self.axes})
        items = [
            {
                "who": "user" if turn.role == "user" else "system", "state": turn.annotation["state"], "text": turn.content,
                "slots": json.dumps(turn.annotation.get("slots", {}), ensure_ascii=False),
            }
            for turn in turns if turn.role != "tool" and turn.annotation is not None
        ]  # fmt: skip
        return json.dumps(items, ensure_ascii=False)

    @cached_property
    def grammars(self) -> dict[str, Grammar]:
        graph = self.plot
        names = {name for state in graph.states.values() for name in (*state.slots, *state.show)}
        wants = {f"want_{slot}" for state in graph.states.values() if state.some for slot in state.slots}
        axes: dict[str, tuple[Value, ...]] = {**dict.fromkeys((*names, "wants"), ()), **self.axes}
        found = {}
        for language, rules in graph.offline.items():
            for name in (*graph.states, *sorted(wants)):
                if name not in rules:
                    raise graph.error(("offline", language), f"nothing is said in {name}; add a rule of that name")
            item = {name: f"{{{name}}}" for name in (*graph.states, *sorted(wants))}
            try:
                found[language] = Grammar({**rules, "item": item}, axes)
            except InputError as error:
                raise InputError(f"{graph.path}: offline.{language}.{error}") from error
        return found

    # -- checking --------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Raises InputError if the prompt, its graph, a template or a rule of the grammar is unusable."""
        graph = self.plot
        for where, source in (("system", self.system), ("user", self.user)):
            self._check_template(self.path, where, source, {"states", "documents", "format_instructions"})
        for name, state in graph.states.items():
            said = set() if state.some else set(state.slots)
            if clash := sorted({*state.slots, *state.show} & (RESERVED | set(self.axes))):
                raise graph.error(("states", name), f"{clash[0]!r} is taken; call the slot otherwise")
            self._check_template(graph.path, f"states.{name}.about", state.about, {*said, *state.show})
            for language, grammar in self.grammars.items():
                known = {*said, *state.show, *self.axes, *({"wants"} if state.some else ())}
                if unknown := sorted(grammar.names(name) - known):
                    raise graph.error(("offline", language, name), f"{{{unknown[0]}}} has no value in this state")
        for kind in ("user", "system", "query", "turn"):
            given = {"conversation", "details", "about", "format_instructions", "role"}
            self._check_template(graph.path, f"simulators.{kind}", getattr(graph.simulators, kind), given)
        for name, variable in graph.memory.items():
            if isinstance(variable, Items) and variable.items not in graph.cards:
                raise graph.error(("memory", name), f"cards.{variable.items} is missing: how a document is listed")

    def _check_template(self, path: Path, where: str, source: str, names: set[str]) -> None:
        known = names | set(self.axes) | {"language", "language_name"}
        try:
            tree = _JINJA.parse(source)
        except jinja2.TemplateSyntaxError as error:
            raise InputError(f"{path}: {where}, line {error.lineno}: bad Jinja: {error.message}") from error
        for variable in sorted(jinja2.meta.find_undeclared_variables(tree) - known):
            shown = ", ".join(sorted(known))
            raise InputError(f"{path}: {where}: {{{{ {variable} }}}} is not defined; known: {shown}")


def whole_dialogue(
    prompt: GraphPrompt, language: str, seed: str, axes: Mapping[str, Value] | None = None
) -> list[Turn]:
    """A dialogue by the offline grammar alone, for a seed of its own."""
    rng = random.Random(seed)
    axes = axes or {name: rng.choice(values) for name, values in prompt.axes.items()}
    scene = play(prompt.plot, prompt.corpora, Walker(prompt.chain, seed).walk(0), language, rng, prompt.embedder)
    text: str | None = None
    while True:
        try:
            need = next(scene) if text is None else scene.send(text)
        except StopIteration as ended:
            turns: list[Turn] = ended.value
            return turns
        given = {**axes, **need.variables}
        text = details(need) if need.kind == "query" else prompt.phrase(need.state, need.visit, language, given, seed)


def details(need: Need) -> str:
    """The slots of a need in a row, without limits in numbers: a query as the offline provider writes it."""
    words = [str(need.variables[name]) for name, value in need.slots.items() if not isinstance(value, int | float)]
    return " ".join(words or map(str, need.variables.values()))


def _sentences(text: str) -> str:
    """Latin script begins its sentences with a capital, whatever stood before the blank that a rule left."""
    return _START.sub(lambda match: match[0].upper(), text)


def conversation(turns: Collection[Turn]) -> str:
    """What was said, as a simulator reads it; of searches, what they brought."""
    names = {"user": "User", "assistant": "Assistant", "tool": "Search results"}
    return "\n".join(
        f"{'Record' if turn.role == 'tool' and 'golden' not in (turn.annotation or {}) else names[turn.role]}: {turn.content}"
        for turn in turns
    )


def format_instructions(fields: Mapping[str, str], what: str = "an array of exactly one object") -> str:
    lines = "\n".join(f'- "{name}": {about}' for name, about in fields.items())
    return f"Answer with a JSON array and nothing else: {what}. Each object has these string fields:\n{lines}"
