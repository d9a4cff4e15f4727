"""By hand: `python -m tests.fakeprovider port=8901 latency_ms=500 faults.rate_limit=0.1`; Ctrl-C prints the counts."""

import json
import sys
import time
from typing import Any

from .server import FakeProvider, wait_for_end_of_input


def settings(words: list[str]) -> dict[str, Any]:
    """`key=value` words as constructor arguments; `faults.KIND=SHARE` gathers into `faults`."""
    given: dict[str, Any] = {}
    for word in words:
        name, found, value = word.partition("=")
        if not found:
            raise SystemExit(f"{word!r}: write key=value, e.g. latency_ms=500 or faults.overloaded=0.1")
        try:
            read: Any = json.loads(value)
        except ValueError:
            read = value
        if name.startswith("faults."):
            given.setdefault("faults", {})[name.removeprefix("faults.")] = read
        else:
            given[name] = read
    return given


def main(words: list[str]) -> None:
    if words[:1] == ["--child"]:
        with FakeProvider(**json.loads(words[1])) as server:
            print(server.url, flush=True)
            wait_for_end_of_input()
        return
    try:
        fake = FakeProvider(**settings(words))
    except (ValueError, TypeError) as error:
        raise SystemExit(str(error)) from None
    with fake as server:
        print(f"Serving at {server.url}. To use it:\n")
        print(f"  export ANTHROPIC_API_KEY=any ANTHROPIC_BASE_URL={server.anthropic_url}")
        print(f"  export TOGETHER_API_KEY=any TOGETHER_BASE_URL={server.together_url}")
        print(f"  export OPENAI_API_KEY=any OPENAI_BASE_URL={server.openai_url}")
        print(f"  export GOOGLE_API_KEY=any   # api_endpoint: {server.google_url}\n", flush=True)
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            print(json.dumps(server.stats(), indent=2))


if __name__ == "__main__":
    main(sys.argv[1:])
