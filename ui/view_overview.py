"""Overview: how much there is, of what, in which state, and what to do next."""

import streamlit as st

from curation.review.overview import overview
from ui.look import STATUS_TONE, STATUSES, empty, head, share_bar, status_chip, tiles
from ui.session import store


def page() -> None:
    figures = overview(store())
    head("Overview")
    if not figures.examples:
        empty(
            "This workspace is empty",
            "Write examples from a built-in prompt (no key needed), or bring in your own file. They appear here within a second.",
            command="synth run prompt=general_ok n=100\ncurate import posts.csv columns.text=body constants.language=en",
        )
        return
    done = sum(count for _, count in figures.people)
    tiles([
        (f"{figures.examples:,}", "examples"),
        *((f"{figures.statuses[status]:,}", status) for status in STATUSES if figures.statuses.get(status)),
        (f"{done:,}", "decisions of people that stand"),
    ])  # fmt: skip
    share_bar([(status, figures.statuses.get(status, 0), STATUS_TONE[status]) for status in STATUSES])
    st.html('<div class="t-chips">' + "".join(status_chip(status) for status in STATUSES) + "</div>")
