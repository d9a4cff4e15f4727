"""Where an example came from, and what differs in its near twins: read when somebody asks."""

import json

import streamlit as st

from curation.review.duplicates import difference, texts
from curation.review.queue import Card
from curation.trace import trace
from ui.look import status_chip, table
from ui.session import store
from ui.text import shown, text

TWINS = 5


def origin(front: Card) -> None:
    """Prompt, request and raw answer, or file and row, or parent."""
    for origin in trace(store(), front.example.id)["origins"]:
        completion, request = origin.get("completion"), origin.get("request")
        parent = origin.get("parent")
        plain = [(name, str(origin[name])) for name in ("kind", "prompt", "provider", "model", "path", "row", "by", "why",
                 "translator") if origin.get(name) not in (None, "")]  # fmt: skip
        plain += [(axis, str(value)) for axis, value in origin.get("axes", {}).items()]
        st.html(table(("Where it came from", ""), [(name, shown(value)) for name, value in plain]))
        if isinstance(parent, dict):
            st.html(f"<h3>It was made from</h3>{text(parent['example'].get('content') or '')}")
        if isinstance(request, dict) and isinstance(completion, dict):
            asked = request["messages"]
            words = (
                asked if isinstance(asked, str) else "\n\n".join(f"{one['role']}: {one['content']}" for one in asked)
            )
            with st.expander("What was asked"):
                st.html(text(words))
            with st.expander("The raw answer"):
                st.html(text(completion["text"]))
                st.html(text(json.dumps(completion["raw"], ensure_ascii=False, indent=1), kind="t-quiet"))
    if front.twins:
        st.html(_twins(front))


def _twins(front: Card) -> str:
    """The nearest twins, with what they do not share with the example marked."""
    nearest = front.twins[:TWINS]
    known = texts(store(), [front.example.id, *(one for one, _ in nearest)])
    own = known[front.example.id]["content"]
    tags = {"same": "{}", "more": '<ins title="only in the twin">{}</ins>', "less": '<del title="only here">{}</del>'}
    rows = ""
    for one, score in nearest:
        if its := known.get(one):
            said = "".join(tags[kind].format(shown(part)) for kind, part in difference(own, its["content"]))
            rows += f"<p>{status_chip(its['status'])} {score:.2f} alike</p><p>{said}</p>"
    return f"<style>{_CSS}</style><h3>Near twins, against this one</h3>{rows}"


_CSS = """
ins { background: var(--t-good-bg); text-decoration: none; border-radius: 3px; } del { background: var(--t-bad-bg); border-radius: 3px; }
"""
