"""Settings as the words of a command line."""

import json
import re
from typing import Any

from curation.settings import Settings

_ONE_OR_MORE = {"prompt", "language", "documents"}
NOT_SAID = {"workspace", "as_json", "yes"}  # said by whoever runs the command, if at all


def word(value: Any) -> str:
    """A value as the settings' grammar reads it back: text is quoted where it is more than a name."""
    if isinstance(value, list | tuple):
        return f"[{','.join(map(word, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str):
        return str(value)
    plain = re.fullmatch(r"[A-Za-z_./][A-Za-z0-9_./-]*", value) and value.lower() not in (
        "true",
        "false",
        "null",
        "yes",
        "no",
    )
    return value if plain else json.dumps(value, ensure_ascii=False)


def words_of(settings: Settings) -> list[str]:
    """`key=value` for every setting that is not as it is by default, dotted for nested ones."""
    return _flat(settings.model_dump(mode="json", exclude_defaults=True, exclude=NOT_SAID), "")


def _flat(given: dict[str, Any], before: str) -> list[str]:
    found: list[str] = []
    for name, value in given.items():
        if isinstance(value, dict):
            found += _flat(value, f"{before}{name}.")
        elif name in _ONE_OR_MORE and isinstance(value, list) and len(value) == 1:
            found.append(f"{name}={word(value[0])}")
        elif value is not None:
            found.append(f"{before}{name}={word(value)}")
    return found
