"""`curate trace`: the chain behind an example, and the versions that stand on it."""

import json
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.tree import Tree

from curation.browse import fields
from curation.config import ShowSettings
from curation.errors import InputError
from curation.journal import open_store
from curation.shelf import outlines
from curation.store import Store

TRACEABLE = ("examples", "completions", "requests", "runs")


def trace_command(settings: ShowSettings) -> int:
    if "@" in settings.id:
        raise InputError(
            f"id {settings.id!r}: only examples, completions, requests and runs are traced; see `curate show`"
        )
    store = open_store(settings.workspace)
    table, identity = store.resolve(settings.id, TRACEABLE)
    if table != "examples":
        return _descendants(store, table, identity, as_json=settings.as_json)
    chain = trace(store, identity)
    if settings.as_json:
        print(json.dumps(chain, ensure_ascii=False, default=str))
        return 0
    console = Console(highlight=False)
    console.print(_drawn(chain))
    return 0


def trace(store: Store, identity: str) -> dict[str, Any]:
    """Everything an example came from and went into.

    Returns:
        `example`, `verdicts`, `versions`, `citations` (where the steps stand that it cites), and `origins`, each of which carries the `completion`, `request`, `run` and
        `prompt` it rests on, or the `parent` example with a chain of its own.
    """
    return _chain(store, identity, frozenset())


def _chain(store: Store, identity: str, seen: frozenset[str]) -> dict[str, Any]:
    if identity in seen:
        raise InputError(f"example {identity}: its origins form a circle; the store was changed by hand")
    example = fields(store, "examples", identity)
    if not example:
        return {
            "example": {"id": identity, "content": "(not in this store)"},
            "verdicts": [],
            "versions": [],
            "origins": [],
        }
    origins = [_origin(store, json.loads(body), seen | {identity}) for (body,) in store.rows(
        "SELECT body FROM origins WHERE example = ? ORDER BY made_at, id", [identity]
    )]  # fmt: skip
    verdicts = store.rows(
        "SELECT author || CASE WHEN version <> '' THEN '@' || version ELSE '' END, decision, reason, score, made_at "
        "FROM verdicts WHERE example = ? ORDER BY made_at, id",
        [identity],
    )
    versions = store.rows(
        "SELECT name, number, split FROM members JOIN versions ON versions.id = members.version WHERE example = ? ORDER BY 1, 2",
        [identity],
    )
    return {
        "example": example,
        "verdicts": [dict(zip(("by", "decision", "reason", "score", "made_at"), row, strict=True)) for row in verdicts],
        "versions": [dict(zip(("name", "number", "split"), row, strict=True)) for row in versions],
        "origins": origins,
        "citations": _citations(store, example),
    }


def _citations(store: Store, example: dict[str, Any]) -> list[dict[str, Any]]:
    """Where in which document the steps stand that an example cites, by the turns that cite them."""
    body = example["body"]
    identity = body.get("outline")
    outline = outlines(store, [identity]).get(identity) if identity else None
    if outline is None:
        return []
    named = store.rows("SELECT name, path FROM documents WHERE id = ? LIMIT 1", [outline.document])
    name, path = named[0] if named else (outline.document, "")
    said: list[tuple[int | None, list[str]]] = [
        (number, turn.get("cites", [])) for number, turn in enumerate(body.get("turns", ()), 1)
    ]
    said = said or [(None, body.get("cites", []))]
    found: dict[str, dict[str, Any]] = {}
    for number, cites in said:
        for step in cites:
            known = outline.step.get(step)
            one = found.setdefault(step, {
                "step": step, "text": known.text if known else "(no step of this outline)", "page": known.place.page if known else None,
                "box": list(known.place.box) if known else None, "document": name, "path": path, "outline": identity, "turns": [],
            })  # fmt: skip
            one["turns"] += [number] if number is not None else []
    return list(found.values())


def _origin(store: Store, origin: dict[str, Any], seen: frozenset[str]) -> dict[str, Any]:
    if parent := origin.get("parent"):
        origin["parent"] = _chain(store, parent, seen)
    if (completion := origin.get("completion")) and (answer := fields(store, "completions", completion)):
        request = fields(store, "requests", answer["request"])
        origin["completion"] = answer
        origin["request"] = request
        origin["run"] = fields(store, "runs", answer["run"])
        origin["prompt_file"] = fields(store, "prompts", request["prompt_id"])
    return origin


def _drawn(chain: dict[str, Any]) -> Tree:
    example = chain["example"]
    labels = [str(example[name]) for name in ("label", "category", "severity") if example.get(name) is not None]
    head = f"[bold]{example['id']}[/] {example.get('status', '')} · {example.get('language', '')} · {escape(' / '.join(labels))}"
    tree = Tree(f"{head}\n{escape(example['content'])}")
    for verdict in chain["verdicts"]:
        score = f" {verdict['score']:.2f}" if verdict["score"] is not None else ""
        tree.add(f"verdict {verdict['decision']}{score} by {escape(verdict['by'])}: {escape(verdict['reason'])}")
    if citations := chain.get("citations"):
        first = citations[0]
        branch = tree.add(f"rests on {escape(first['document'])} ({escape(first['path'])}), outline {first['outline']}")
        for one in citations:
            who = f" · turn {', '.join(map(str, one['turns']))}" if one["turns"] else ""
            branch.add(
                f"step {escape(one['step'])}, page {one['page']}{who}: {escape(' '.join(one['text'].split())[:100])}"
            )
    for origin in chain["origins"]:
        _add_origin(tree, origin)
    for version in chain["versions"]:
        tree.add(f"in {version['name']}@{version['number']}, split {version['split']}")
    return tree


def _add_origin(tree: Tree, origin: dict[str, Any]) -> None:
    match origin["kind"]:
        case "imported":
            tree.add(f"imported from {escape(origin['path'])}, row {origin['row']:,}\nsha256 {origin['sha256']}")
        case "edited":
            tree.add(f"edited by {escape(origin['by'])}: {escape(origin['why'])}").add(_drawn(origin["parent"]))
        case "translated":
            branch = tree.add(f"translated by {escape(origin['translator'])}")
            _add_answer(branch, origin)
            branch.add(_drawn(origin["parent"]))
        case _:
            axes = ", ".join(f"{axis} {value}" for axis, value in origin["axes"].items())
            branch = tree.add(
                f"generated: item {origin['position']} of an answer of {origin['provider']} ({escape(origin['model'])})"
            )
            branch.add(f"prompt {origin['prompt']} · {escape(axes)}")
            _add_answer(branch, origin)


def _add_answer(branch: Tree, origin: dict[str, Any]) -> None:
    """The answer that an origin rests on, what was asked, and what it cost."""
    if "request" not in origin:
        return
    answer, request = origin["completion"], origin["request"]
    branch.add(f"prompt fingerprint {request['prompt_id']}")
    branch.add(f"request {request['id']} (slot {request['slot']:,}, attempt {request['attempt']})")
    price = "unknown" if answer["cost_usd"] is None else f"${answer['cost_usd']:.4f}"
    branch.add(f"completion {answer['id']} · {answer['finish']} · {price} · {answer['made_at']:%Y-%m-%d %H:%M:%S} UTC")
    branch.add(f"run {answer['run']}")


def _descendants(store: Store, table: str, identity: str, *, as_json: bool) -> int:
    """What a completion, request or run led to."""
    condition = {
        "completions": "completions.id = ?",
        "requests": "completions.request = ?",
        "runs": "completions.run = ?",
    }[table]
    rows = store.rows(
        "SELECT DISTINCT origins.example, content FROM origins JOIN completions ON completions.id = origins.completion "
        f"JOIN examples ON examples.id = origins.example WHERE {condition} ORDER BY 1",
        [identity],
    )
    if as_json:
        print(json.dumps({"kind": table, "id": identity, "examples": [row[0] for row in rows]}, ensure_ascii=False))
        return 0
    console = Console(highlight=False)
    tree = Tree(f"[bold]{identity}[/]: {len(rows):,} examples came of it")
    for example, content in rows[:50]:
        tree.add(escape(f"{example[:12]}  {' '.join(content.split())[:100]}"))
    console.print(tree)
    return 0
