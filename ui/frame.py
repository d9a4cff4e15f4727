"""What stands around every page: the look, the sidebar, the login, and one clear line when a page fails."""

import json
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import streamlit as st

from curation.errors import TilthError
from ui import session, text
from ui.look import CSS, empty, head, notice


def run(pages: Sequence[Any]) -> None:
    """Show the page that the address asks for."""
    st.set_page_config(page_title="Tilth", page_icon="🌾", layout="wide")
    st.html(f"<style>{CSS}{text.CSS}</style>")
    page = st.navigation(list(pages))
    with st.sidebar:
        _sidebar()
    if session.served().settings.auth == "oidc" and session.reviewer() is None:
        _login()
        return
    try:
        page.run()
    except TilthError as error:
        notice(str(error))
    except Exception as error:  # Streamlit's own flow control is no Exception
        st.error(
            f"This page failed: {type(error).__name__}. No decision is lost; the details are in {_logged(error)}",
            icon=":material/error:",
        )


def _logged(error: Exception) -> Path:
    """Where the traceback was written."""
    path = session.served().settings.workspace / "ui-errors.log"
    with path.open("a", encoding="utf-8", errors="replace") as log:
        log.write(f"\n{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC\n")
        traceback.print_exception(error, file=log)
    return path


def _sidebar() -> None:
    served = session.served()
    st.html(f'<p class="t-brand">Tilth<small>workspace {escape(str(served.settings.workspace))}</small></p>')
    if name := session.reviewer():
        if served.settings.auth == "oidc":
            st.caption(f"Signed in as {name}")
            st.button("Sign out", on_click=st.logout, type="tertiary")
        else:
            with st.popover(f"Reviewing as {name}", type="tertiary", icon=":material/person:"):
                _name_form("Change", name)
        _remember(name)
    if served.trouble:
        notice(served.trouble, "warn")


def ask_name() -> None:
    """Ask who decides in this browser: every decision carries a name."""
    head("Who is reviewing?", "Every decision is stored with your name. It stays in this browser.")
    with st.container(width=420):
        _name_form("Start reviewing", session.suggested_name())


def _name_form(button: str, name: str) -> None:
    with st.form(f"name-{button}", border=False):
        typed = st.text_input("Your name", value=name, max_chars=session.NAME_LENGTH)
        if st.form_submit_button(button, type="primary"):
            if session.call_me(typed):
                st.rerun()
            st.error("Type a name, e.g. ann")


def _remember(name: str) -> None:
    """Keep the name in a cookie, so that a reload does not ask again."""
    if st.context.cookies.get(session.COOKIE) != quote(name) and st.session_state.get("remembered") != name:
        st.session_state["remembered"] = name
        cookie = json.dumps(f"{session.COOKIE}={quote(name, safe='')}; path=/; max-age=31536000; SameSite=Strict")
        st.html(f"<script>document.cookie = {cookie};</script>", unsafe_allow_javascript=True)


def _login() -> None:
    head("Tilth", "This app is served to several people, so it asks who you are.")
    st.button("Sign in", type="primary", on_click=st.login)
    if st.user.is_logged_in:
        empty(
            "Your login has no e-mail address",
            "Reviewers are told apart by it; ask whoever runs the login to release the claim `email`.",
        )
