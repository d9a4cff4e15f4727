"""`synth show` of a dialogue prompt, and `synth coverage`: what a graph expects, and what its dialogues have been to."""

import json
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from curation.errors import InputError, NotFound
from curation.records import LANGUAGE_NAMES
from curation.store import Store
from synth.config import CoverageSettings, ShowSettings
from synth.dialogue_prompt import GraphPrompt, whole_dialogue
from synth.draw_graph import draw, draw_coverage
from synth.prompts import load
from synth.walks import Coverage, coverage

_STATES = """
SELECT (SELECT list(turn ->> '$.annotation.state') FROM (
    SELECT unnest(CAST(body -> '$.turns' AS JSON[])) AS turn) WHERE turn ->> '$.role' <> 'tool')
FROM examples JOIN status ON status.example = examples.id
WHERE task = 'dialogue' AND category = $graph AND status.status <> 'dropped' ORDER BY examples.id
"""


def picture(workspace: Path, name: str) -> Path:
    return workspace / "graphs" / f"{name}.png"


def described(prompt: GraphPrompt) -> dict[str, object]:
    """What `--json` says of a prompt for dialogues."""
    graph, rates = prompt.plot, prompt.chain.rates
    return {
        **prompt.model_dump(mode="json", exclude={"system", "user"}), "fingerprint": prompt.fingerprint,
        "turns": rates.turns, "requests_each": prompt.requests_each,
        "states": {name: {"who": state.who, "visits": rates.states[name]} for name, state in graph.states.items()},
        "transitions": [
            {"from": edge.source, "to": edge.target, "times": rates.edges[number]}
            for number, edge in enumerate(graph.edges)
        ],
        "corpora": {name: {"path": str(one.path), "documents": len(one)} for name, one in prompt.corpora.items()},
    }  # fmt: skip


def show_graph_prompt(prompt: GraphPrompt, settings: ShowSettings) -> int:
    """Print a prompt for dialogues: its graph with expected visits, and dialogues of the offline grammar; draw the graph."""
    plot = settings.plot or picture(settings.workspace, prompt.plot.name)
    draw(prompt.chain, plot)
    languages = list(prompt.offline_languages)
    samples = [
        (languages[i % len(languages)], whole_dialogue(prompt, languages[i % len(languages)], f"show/{i}"))
        for i in range(settings.samples)
    ]
    if settings.as_json:
        turns = [
            {"language": language, "turns": [turn.model_dump(mode="json", exclude_defaults=True) for turn in dialogue]}
            for language, dialogue in samples
        ]
        print(json.dumps({**described(prompt), "samples": turns, "plot": str(plot)}, ensure_ascii=False))
        return 0
    console = Console(highlight=False, markup=False)
    console.print(
        Text(prompt.name, style="bold"), f"· {prompt.description}\n{prompt.path} · {prompt.fingerprint}", soft_wrap=True
    )
    _print_graph(console, prompt)
    for language, dialogue in samples:
        console.rule(f"offline, {LANGUAGE_NAMES.get(language, language)}", align="left")
        for turn in dialogue:
            about = turn.annotation or {}
            label = about.get("intent") or about.get("action") or "search"
            console.print(Text(f"{turn.role} · {label}", style="bold"))
            console.print(turn.content, markup=False, soft_wrap=True)
            for part in ("slots", "query"):
                if about.get(part):
                    console.print(
                        Text(f"  {part} {json.dumps(about[part], ensure_ascii=False)}", style="dim"), soft_wrap=True
                    )
    console.print(f"\nPicture: {plot}", soft_wrap=True)
    return 0


def _print_graph(console: Console, prompt: GraphPrompt) -> None:
    graph, rates = prompt.plot, prompt.chain.rates
    grid = Table(box=None, pad_edge=False, show_header=False)
    grid.add_column(style="bold")
    grid.add_column()
    possible = sum(rate > 0 for rate in rates.edges.values())
    grid.add_row("graph", f"{graph.path}: {len(graph.states)} states, {possible} transitions that a walk can take")
    grid.add_row(
        "turns", f"{rates.turns:.1f} on average, at most {graph.max_turns}; {prompt.requests_each} requests a dialogue"
    )
    for name, corpus in prompt.corpora.items():
        grid.add_row(name, f"{len(corpus):,} documents, {corpus.path}")
    grid.add_row("language", ", ".join(LANGUAGE_NAMES.get(code, code) for code in prompt.language))
    for axis, values in prompt.axes.items():
        grid.add_row(axis, ", ".join(map(str, values)))
    console.print(grid)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("state")
    table.add_column("who")
    table.add_column("visits", justify="right")
    table.add_column("when")
    table.add_column("then")
    for name, state in graph.states.items():
        table.add_row(name, state.who, f"{rates.states[name]:.2f}", state.when, "; ".join(state.then))
    console.print(table)


# -- coverage ----------------------------------------------------------------------------------------------------


def covered(prompt: GraphPrompt, store: Store) -> Coverage:
    """What the dialogues in a store, dropped ones aside, have covered of a prompt's graph."""
    return coverage(prompt.chain, _walks(prompt, store))


def _walks(prompt: GraphPrompt, store: Store) -> Iterator[list[str]]:
    for (states,) in store.rows(_STATES, {"graph": prompt.plot.name}):
        if states and all(name in prompt.plot.states for name in states):
            yield states


def coverage_line(prompt: GraphPrompt, found: Coverage) -> str:
    """Coverage in a line, with the thinnest transitions."""
    seen = sum(times > 0 for times in found.states.values())
    taken = len(found.edges) - len(found.thin)
    line = (
        f"{prompt.plot.name}: {found.walks:,} dialogues, {seen} of {len(found.states)} states, {taken} of {len(found.edges)} "
        f"transitions, {found.paths:,} different paths"
    )
    if found.thin:
        edge = prompt.plot.edges[found.thin[0]]
        line += f"; never {edge.source} -> {edge.target}" + (
            f" and {len(found.thin) - 1} more" if len(found.thin) > 1 else ""
        )
    return line


def coverage_command(settings: CoverageSettings) -> int:
    prompt = load(settings.prompt, settings.prompts_dir)
    if not isinstance(prompt, GraphPrompt):
        raise InputError(f"{prompt.path}: prompt {prompt.name!r} writes no dialogues along a graph")
    found = covered(prompt, Store(settings.workspace, create=False))
    if not found.walks:
        raise NotFound(
            f"{settings.workspace}: no dialogues along {prompt.plot.name!r}; `synth run prompt={prompt.name}` writes some"
        )
    plot = settings.plot or picture(settings.workspace, f"{prompt.plot.name}_coverage")
    draw_coverage(prompt.chain, found, plot)
    rates, edges = prompt.chain.rates, prompt.plot.edges
    thinnest = sorted(found.edges, key=lambda number: (found.edges[number], rates.edges[number]))[: settings.n]
    if settings.as_json:
        print(
            json.dumps({
                "graph": prompt.plot.name, "dialogues": found.walks, "paths": found.paths, "states": found.states,
                "expected": rates.states, "plot": str(plot),
                "transitions": [
                    {"from": edges[number].source, "to": edges[number].target, "times": times}
                    for number, times in found.edges.items()
                ],
            }, ensure_ascii=False)
        )  # fmt: skip
        return 0
    console = Console(highlight=False, markup=False)
    console.print(coverage_line(prompt, found), soft_wrap=True)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("thinnest transitions", "times", "expected"):
        table.add_column(heading, justify="left" if heading[0:2] == "th" else "right")
    for number in thinnest:
        expected = f"{rates.edges[number] * found.walks:.1f}"
        table.add_row(f"{edges[number].source} -> {edges[number].target}", f"{found.edges[number]:,}", expected)
    console.print(table)
    console.print(f"Picture: {plot}", soft_wrap=True)
    if found.thin:
        console.print(f"Next:  synth run prompt={prompt.name} steer=true n={found.walks} seed=1", soft_wrap=True)
    return 0
