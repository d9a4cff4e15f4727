"""The form that starts `synth run`: what it would do and cost is shown before it is let go."""

import shlex
from functools import cache
from pathlib import Path

import streamlit as st

from curation.errors import TilthError
from curation.library import Broken
from curation.settings import load
from synth.choice import plans
from synth.config import RunSettings
from synth.confirm import dollars, expected_cost
from synth.plan import Plan
from synth.prompts import load_all, search_path
from synth.providers import connect
from synth.session import existing_store, price_of, prices_of
from ui import jobs
from ui.look import language_name, notice
from ui.session import served
from ui.words import word

PROVIDERS = ("offline", "anthropic", "together", "openai", "transformers")
LANGUAGES = ("en", "zh", "ms", "ta")


def form() -> None:
    """Choose, see what it costs, start."""
    words = _fields()
    st.code(command(words), language=None, wrap_lines=True)
    with st.container(horizontal=True):
        look = st.button("What would it cost?", key="look", icon=":material/payments:")
        go = st.button("Start", type="primary", key="start", icon=":material/play_arrow:")
    if look or go:
        st.session_state["run-shown"] = words
    if st.session_state.get("run-shown") != words:
        return
    try:
        settings = load(RunSettings, [*words, _where()])
        chosen = plans(settings)
        sum_, free = _cost(settings, chosen)
    except TilthError as error:
        notice(str(error))
        return
    if go and (free or settings.max_usd is not None):
        start(words)
        return
    n = sum(plan.n for plan in chosen)
    notice(f"{n:,} examples in all, those that are there already included; expected cost: {sum_}", "info")
    if not free and settings.max_usd is None:
        st.button(f"Yes, spend {sum_}", key="sure", type="primary", on_click=start, args=([*words, "yes=true"],))


def start(words: list[str]) -> None:
    """Start it, and say so where the page shows its jobs."""
    try:
        job = jobs.start(served().settings.workspace, ["run", *words])
        st.session_state["job"] = job.name
    except TilthError as error:
        notice(str(error))
    st.session_state.pop("run-shown", None)


def again(key: str, words: list[str]) -> None:
    """Go on with a run: at once where that needs no leave, else `leave` of the same key asks for it."""
    words = [one for one in words if not one.startswith(("workspace=", "yes="))]
    try:
        settings = load(RunSettings, [*words, _where()])
        sum_, free = _cost(settings, plans(settings))
    except TilthError as error:
        st.session_state["run-again"] = (key, str(error), None)
        return
    if free or settings.max_usd is not None:
        st.session_state.pop("run-again", None)
        start(words)
    else:
        st.session_state["run-again"] = (key, sum_, words)


def leave(key: str) -> None:
    """Ask whether the run that was to go on may cost what it is expected to, or say why it cannot."""
    asked, said, words = st.session_state.get("run-again", ("", "", None))
    if asked != key:
        return
    if words is None:
        notice(said)
        return
    notice(f"What is missing is expected to cost {said}.", "info")
    st.button(f"Yes, spend {said}", key=f"sure-{key}", type="primary", on_click=_given, args=(words,))


def _given(words: list[str]) -> None:
    st.session_state.pop("run-again", None)
    start([*words, "yes=true"])


def command(words: list[str]) -> str:
    return shlex.join(["synth", "run", *words, _where()])


def _where() -> str:
    return f"workspace={word(str(served().settings.workspace))}"


@cache
def _known() -> list[str]:
    return sorted(one.name for one in load_all(search_path(None)) if not isinstance(one, Broken))


def _fields() -> list[str]:
    first, second, third = st.columns(3, gap="large")
    with first:
        names = st.multiselect("Prompts", _known(), default=["general_ok"], key="run-prompts")
        n = int(st.number_input("Examples of each", 1, 100_000_000, 100, key="run-n"))
    with second:
        language = st.multiselect(
            "Languages", LANGUAGES, format_func=language_name, placeholder="all of the prompt's", key="run-languages"
        )
        seed = int(st.number_input("Seed", 0, None, 0, key="run-seed", help="another seed makes other examples"))
    with third:
        provider = st.selectbox("Provider", PROVIDERS, key="run-provider")
        model = "" if provider == "offline" else st.text_input("Model", key="run-model")
        most = 0.0
        if provider not in ("offline", "transformers"):
            most = st.number_input("Never spend more than ($)", 0.0, None, 0.0, key="run-usd", help="0: ask first")
    more = st.text_input(
        "Other settings",
        key="run-more",
        placeholder="documents=docs/examples/sops mode=batch",
        help="as `synth run --help` lists them",
    )
    words = [f"prompt={word(names)}" if len(names) != 1 else f"prompt={word(names[0])}", f"n={n}"]
    words += [f"language={word(language)}"] if language else []
    words += [f"seed={seed}"] if seed else []
    words += [f"provider={provider}"] if provider != "offline" else []
    words += [f"model={word(model)}"] if model else []
    words += [f"max_usd={most:g}"] if most else []
    return words + _split(more)


def _split(more: str) -> list[str]:
    try:
        return shlex.split(more)
    except ValueError:
        return [more]  # the settings say what is wrong with it


def _cost(settings: RunSettings, chosen: list[Plan]) -> tuple[str, bool]:
    """What it is expected to cost in words, and whether that needs no leave."""
    prices = prices_of(settings, settings.provider, settings.model)
    if all(one is not None and one.free for one in prices.values()):
        return "nothing", True
    price = price_of(settings, settings.provider, settings.model)
    provider = connect(settings, plans=chosen, assets=Path(settings.workspace) / "assets", price=price)
    cost = expected_cost(chosen, provider, prices, existing_store(settings), settings)
    if cost is None:
        return "an unknown sum (pricing.yaml may give the model's price)", False
    return dollars(*cost), cost[1] <= settings.confirm_usd
