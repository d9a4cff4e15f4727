"""The pages of the app, in the order of its menu."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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


@contextmanager
def preloading() -> Iterator[None]:
    """Import all pages as soon as the server is there, in a thread, so that the first visitor does not wait for it."""
    from streamlit import runtime

    over = threading.Event()

    def work() -> None:
        while not runtime.exists():
            if over.wait(0.02):
                return
        for name, _, _ in PAGES:
            if not over.is_set():
                page_of(name)

    thread = threading.Thread(target=work, name="preload")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()  # an import that the interpreter's end cuts off brings the process down with it
