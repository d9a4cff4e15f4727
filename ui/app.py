"""The script that Streamlit runs for every look at the app: the frame around the page, and the page."""

import sys
from pathlib import Path

# Streamlit puts this folder first on the path; its files are modules of `ui` and nothing else.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]

import streamlit as st  # noqa: E402

from ui import frame  # noqa: E402
from ui.pages import PAGES, page_of  # noqa: E402

pages = [
    st.Page(page_of(name), title=title, icon=icon, url_path=name, default=name == "overview")
    for name, title, icon in PAGES
]
frame.run(pages)
