"""The pages of the app, in the order of its menu."""

import logging
from collections.abc import Callable
from importlib import import_module

# name of the module view_<name>, its title, its icon
PAGES = (
    ("overview", "Overview", ":material/grid_view:"),
    ("review", "Review", ":material/rate_review:"),
    ("adjudicate", "Adjudicate", ":material/balance:"),
    ("duplicates", "Duplicates", ":material/content_copy:"),
    ("agreement", "Agreement", ":material/handshake:"),
    ("documents", "Documents", ":material/description:"),
    ("runs", "Runs", ":material/play_circle:"),
    ("datasets", "Datasets", ":material/dataset:"),
    ("models", "Models", ":material/model_training:"),
)


def page_of(name: str) -> Callable[[], None]:
    """The function that shows a page."""
    page: Callable[[], None] = import_module(f"ui.view_{name}").page
    return page


def load_all() -> None:
    """Import all pages, so that the first visitor does not wait for it."""
    # without a server as yet, Streamlit warns of each cache that it will live in memory, where it would live anyway
    logging.getLogger("streamlit.runtime.caching.cache_data_api").setLevel(logging.ERROR)
    for name, _, _ in PAGES:
        page_of(name)
