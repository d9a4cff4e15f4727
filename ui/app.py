"""The script that Streamlit runs for every look at the app: the frame around the page, and the page."""

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

# Streamlit puts this folder first on the path; its files are modules of `ui` and nothing else.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]

import streamlit as st  # noqa: E402

from ui import frame  # noqa: E402

# name of the module view_<name>, its title, its icon; a page whose module is not there is not shown
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

pages = [
    st.Page(import_module(f"ui.view_{name}").page, title=title, icon=icon, url_path=name, default=name == "overview")
    for name, title, icon in PAGES
    if find_spec(f"ui.view_{name}")
]
frame.run(pages)
