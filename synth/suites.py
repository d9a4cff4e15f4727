"""Suites: named lists of prompts with how many examples to have of each. `prompts/suites/NAME.yaml`."""

from pathlib import Path

from curation import library
from curation.errors import InputError, NotFound, did_you_mean
from synth.prompts import search_path


def suite_folders(prompts_dir: Path | None) -> list[Path]:
    return [folder / "suites" for folder in search_path(prompts_dir) if (folder / "suites").is_dir()]


def load_suite(name: str, prompts_dir: Path | None) -> dict[str, int]:
    """Prompt name -> wanted examples, in the file's order.

    Raises:
        InputError: no such suite, the file is not `prompts: {NAME: COUNT}`, or it names a prompt that is not there.
    """
    path = library.find(name, suite_folders(prompts_dir), kind="suite").path
    data = library.read_yaml(path)
    if unknown := sorted(map(str, set(data) - {"description", "prompts"})):
        raise InputError(f"{path}: unknown key {unknown[0]!r}; a suite has `description` and `prompts`")
    wanted = data.get("prompts")
    if not isinstance(wanted, dict) or not wanted:
        raise InputError(f"{path}: prompts: expected a mapping of prompt name to count, e.g. general_ok: 200")
    known = library.entries(search_path(prompts_dir))
    for prompt, count in wanted.items():
        if not isinstance(prompt, str) or isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise InputError(f"{path}: prompts.{prompt}: expected a whole number of 1 or more, got {count!r}")
        if not prompt.endswith((".yaml", ".yml")) and prompt not in known:
            raise NotFound(f"{path}: prompts.{prompt}: no such prompt.{did_you_mean(prompt, known)}")
    return wanted
