"""`synth ls`, `show`, `cp` and `check`: looking at the prompt library."""

import json
import os
import shutil
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from curation import library
from curation.errors import InputError
from curation.library import Broken
from curation.records import LANGUAGE_NAMES
from synth.config import CheckSettings, CopySettings, LibrarySettings, ShowSettings
from synth.dialogue_prompt import GraphPrompt
from synth.graph import graph_folders, load_graphs
from synth.prompts import Prompt, Written, load_all, read, search_path
from synth.rubrics import Rubric, load_rubrics, read_rubric, rubric_folders
from synth.sop_prompts import SopPrompt
from synth.suites import load_suite, suite_folders


def ls_command(settings: LibrarySettings) -> int:
    prompts = load_all(search_path(settings.prompts_dir))
    suites = library.entries(suite_folders(settings.prompts_dir))
    rubrics = load_rubrics(rubric_folders(settings.prompts_dir))
    if settings.as_json:
        listed = {"prompts": list(map(_described, prompts)), "rubrics": list(map(_described, rubrics))}
        print(json.dumps({**listed, "suites": list(suites)}, ensure_ascii=False))
        return 0
    console = Console(highlight=False, markup=False)
    table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
    table.add_column("prompt", no_wrap=True, min_width=max(len(prompt.name) for prompt in prompts))
    table.add_column("label", no_wrap=True, min_width=len("disallowed"))
    table.add_column("cells", justify="right", min_width=6)
    table.add_column("description", ratio=1)
    for prompt in prompts:
        if isinstance(prompt, Broken):
            table.add_row(prompt.name, "broken", "", prompt.error, style="red")
            continue
        if isinstance(prompt, GraphPrompt):
            table.add_row(prompt.name, "dialogue", f"{_cells(prompt):,}", prompt.description)
            continue
        table.add_row(
            prompt.name,
            str(prompt.labels.get("label") or prompt.labels.get("behaviour", "")),
            f"{_cells(prompt):,}",
            prompt.description,
        )
    console.print(table)
    for name in suites:
        try:
            wanted = load_suite(name, settings.prompts_dir)
        except InputError as error:
            console.print(f"suite {name}: broken: {error}", style="red", soft_wrap=True)
            continue
        console.print(f"suite {name}: {sum(wanted.values()):,} examples of {len(wanted)} prompts")
    for graph in load_graphs(graph_folders(settings.prompts_dir)):
        if isinstance(graph, Broken):
            console.print(f"graph {graph.name}: broken: {graph.error}", style="red", soft_wrap=True)
        else:
            console.print(f"graph {graph.name} ({len(graph.states)} states): {graph.description}", soft_wrap=True)
    for rubric in rubrics:
        if isinstance(rubric, Broken):
            console.print(f"rubric {rubric.name}: broken: {rubric.error}", style="red", soft_wrap=True)
        else:
            console.print(f"rubric {rubric.name} ({rubric.task}): {rubric.description}", soft_wrap=True)
    folders = (search_path(settings.prompts_dir), rubric_folders(settings.prompts_dir))
    for entry in (entry for kind in folders for entry in library.entries(kind).values()):
        if entry.shadows:
            console.print(f"{entry.path} shadows {entry.shadows}", soft_wrap=True)
    console.print("\nNext:  synth show general_ok   ·   synth run prompt=general_ok n=100")
    return 0


def _cells(prompt: Written) -> int:
    total = len(prompt.language)
    for values in prompt.axes.values():
        total *= len(values)
    return total


def _described(prompt: Written | Rubric | Broken) -> dict[str, object]:
    if isinstance(prompt, Broken):
        return {"name": prompt.name, "path": str(prompt.path), "broken": prompt.error}
    if isinstance(prompt, GraphPrompt):
        return {
            **prompt.model_dump(mode="json", exclude={"system", "user"}), "cells": _cells(prompt),
            "fingerprint": prompt.fingerprint,
        }  # fmt: skip
    if isinstance(prompt, Rubric):
        return {**prompt.model_dump(mode="json", exclude={"system", "user"}), "fingerprint": prompt.fingerprint}
    return {
        **prompt.model_dump(mode="json", exclude={"offline", "system", "user"}),
        "cells": _cells(prompt),
        "fingerprint": prompt.fingerprint,
    }


def show_command(settings: ShowSettings) -> int:
    entry, is_rubric = _find(settings.prompt, settings.prompts_dir)
    if is_rubric:
        return _show_rubric(read_rubric(entry.path), as_json=settings.as_json)
    prompt = read(entry.path)
    if isinstance(prompt, SopPrompt):
        return _show_sop(prompt, as_json=settings.as_json)
    if isinstance(prompt, GraphPrompt):
        from synth.show_graph import show_graph_prompt

        return show_graph_prompt(prompt, settings)
    first = {axis: values[0] for axis, values in prompt.axes.items()}
    messages = prompt.messages(prompt.language[0], first, prompt.per_request)
    samples = {
        language: prompt.grammars[language].items(f"show/{language}", _cell(prompt, i), settings.samples)
        for i, language in enumerate(prompt.grammars)
        if settings.samples
    }
    if settings.as_json:
        rendered = [message.model_dump(mode="json", exclude_defaults=True) for message in messages]
        print(json.dumps({**_described(prompt), "messages": rendered, "samples": samples}, ensure_ascii=False))
        return 0
    console = Console(highlight=False, markup=False)
    console.print(
        Text(prompt.name, style="bold"), f"· {prompt.description}\n{prompt.path} · {prompt.fingerprint}", soft_wrap=True
    )
    grid = Table(box=None, pad_edge=False, show_header=False)
    grid.add_column(style="bold")
    grid.add_column()
    grid.add_row("labels", ", ".join(f"{key} {value}" for key, value in prompt.labels.items()))
    grid.add_row("language", ", ".join(LANGUAGE_NAMES.get(code, code) for code in prompt.language))
    for axis, values in prompt.axes.items():
        grid.add_row(axis, ", ".join(map(str, values)))
    grid.add_row("cells", f"{_cells(prompt):,}, {prompt.per_request} examples a request")
    console.print(grid)
    for message in messages:
        console.rule(f"{message.role}, as asked for the first cell", align="left")
        console.print(message.content, markup=False, soft_wrap=True)
    for language, items in samples.items():
        console.rule(f"offline, {LANGUAGE_NAMES.get(language, language)}", align="left")
        for item in items:
            console.print("\n".join(item.values()) + "\n", markup=False, soft_wrap=True)
    return 0


def _show_sop(prompt: SopPrompt, *, as_json: bool) -> int:
    """A prompt on documents has no messages before a run names them, so its templates are shown."""
    if as_json:
        print(json.dumps({**_described(prompt), "system": prompt.system, "user": prompt.user}, ensure_ascii=False))
        return 0
    console = Console(highlight=False, markup=False)
    console.print(
        Text(prompt.name, style="bold"), f"· {prompt.description}\n{prompt.path} · {prompt.fingerprint}", soft_wrap=True
    )
    for axis, values in prompt.axes.items():
        console.print(f"{axis}: {', '.join(map(str, values))}")
    console.print("document: what documents= names")
    for role, text in (("system", prompt.system), ("user", prompt.user)):
        console.rule(f"{role}, as a template; outline and pages of the document are added", align="left")
        console.print(text.strip(), markup=False, soft_wrap=True)
    console.print(f"\nNext:  synth run prompt={prompt.name} documents=FOLDER n=20")
    return 0


def _show_rubric(rubric: Rubric, *, as_json: bool) -> int:
    reference = "x" if rubric.compares else None
    messages = rubric.messages(rubric.sample, "what was wanted when it was written", reference=reference)
    if as_json:
        rendered = [message.model_dump(mode="json", exclude_defaults=True) for message in messages]
        print(json.dumps({**_described(rubric), "messages": rendered}, ensure_ascii=False))
        return 0
    console = Console(highlight=False, markup=False)
    console.print(
        Text(rubric.name, style="bold"), f"· {rubric.description}\n{rubric.path} · {rubric.fingerprint}", soft_wrap=True
    )
    for message in messages:
        console.rule(f"{message.role}, as asked of an example whose texts are all `x`", align="left")
        console.print(message.content, markup=False, soft_wrap=True)
    return 0


def _find(name: str, prompts_dir: Path | None) -> tuple[library.Entry, bool]:
    """The file that a name or path stands for, and whether it is a rubric."""
    folders = search_path(prompts_dir)
    if name.endswith((".yaml", ".yml")):
        entry = library.find(name, folders, kind="prompt")
        return entry, "criteria" in (data := library.read_yaml(entry.path)) or "gives" in data
    prompts, rubrics = library.entries(folders), library.entries(rubric_folders(prompts_dir))
    if name in rubrics and name not in prompts:
        return rubrics[name], True
    return library.find(name, folders, kind="prompt"), False


def _cell(prompt: Prompt, turn: int) -> dict[str, str | int]:
    return {axis: values[turn % len(values)] for axis, values in prompt.axes.items()}


def cp_command(settings: CopySettings) -> int:
    entry, is_rubric = _find(settings.prompt, settings.prompts_dir)
    source = entry.path
    if settings.to.is_file():
        raise InputError(f"to={settings.to} is a file; name a folder to copy {source.name} into")
    target = (settings.to / "judge" if is_rubric else settings.to) / source.name
    if target.exists():
        raise InputError(f"{target} exists; delete it first, or copy elsewhere with to=FOLDER")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    except OSError as error:
        if settings.to.is_dir():
            target.unlink(missing_ok=True)
        raise InputError(f"{target}: cannot be written: {error.strerror}") from error
    print(f"copied to {target}")
    used = settings.to.resolve() == (settings.prompts_dir or type(source)("prompts")).resolve()
    how = f"prompt={source.stem}" if used else f"prompt={os.fspath(target)}"
    print(f"Next:  edit it, then  synth check {how}  and  synth {'judge' if is_rubric else 'run'} {how}")
    return 0


def _proved(prompt: Written) -> Written:
    """The prompt, when its graph is shown to be sound: every state reachable, every walk able to end.

    Raises:
        InputError: it is not, or its corpora cannot be read.
    """
    if isinstance(prompt, GraphPrompt):
        prompt.chain  # noqa: B018  (enumerating is the proof)
    return prompt


def _proved_or_broken(prompt: Written | Broken) -> Written | Broken:
    try:
        return prompt if isinstance(prompt, Broken) else _proved(prompt)
    except InputError as error:
        return Broken(prompt.name, prompt.path, str(error))


def _proof(prompt: GraphPrompt) -> str:
    chain = prompt.chain
    return (
        f"{len(chain.graph.states)} states reachable, every walk can end: all {len(chain.nodes):,} combinations of state and "
        "memory enumerated"
    )


def check_command(settings: CheckSettings) -> int:
    folders = search_path(settings.prompts_dir)
    if settings.prompt:
        found: list[Written | Rubric | Broken] = []
        for name in settings.prompt:
            entry, is_rubric = _find(name, settings.prompts_dir)
            try:
                found.append(read_rubric(entry.path) if is_rubric else _proved(read(entry.path)))
            except InputError as error:
                found.append(Broken(entry.name, entry.path, str(error)))
    else:
        graphs = load_graphs(graph_folders(settings.prompts_dir))
        found = [
            *map(_proved_or_broken, load_all(folders)),
            *(one for one in graphs if isinstance(one, Broken)),
            *load_rubrics(rubric_folders(settings.prompts_dir)),
        ]
        for suite in library.entries(suite_folders(settings.prompts_dir)).values():
            try:
                load_suite(suite.name, settings.prompts_dir)
            except InputError as error:
                found.append(Broken(suite.name, suite.path, str(error)))
    broken = [prompt for prompt in found if isinstance(prompt, Broken)]
    if settings.as_json:
        print(
            json.dumps(
                [{"name": one.name, "path": str(one.path), "error": getattr(one, "error", None)} for one in found]
            )
        )
    else:
        for one in found:
            if isinstance(one, Broken):
                print(f"broken  {one.error}")
                continue
            about = "rubric" if isinstance(one, Rubric) else f"{_cells(one):,} cells"
            if isinstance(one, GraphPrompt):
                about += f"; {_proof(one)}"
            print(f"ok      {one.name}  ({about})")
    if broken:
        raise InputError(f"{len(broken)} of {len(found)} files cannot be used; the reasons are above")
    return 0
