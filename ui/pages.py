"""The pages of the app, in the order of its menu."""

import threading
import time
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


def preload() -> None:
    """Import all pages as soon as the server is there, in a thread, so that the first visitor does not wait for it."""
    from streamlit import runtime

    def work() -> None:
        while not runtime.exists():
            time.sleep(0.02)
        for name, _, _ in PAGES:
            page_of(name)

    threading.Thread(target=work, name="preload", daemon=True).start()
