"""Asking before money is spent."""

import sys
from collections.abc import Mapping, Sequence

from curation.errors import InputError, TilthError
from curation.store import Store
from synth.config import AskSettings, RunSettings
from synth.estimate import expected
from synth.plan import Plan
from synth.pricing import Price
from synth.providers import connect
from synth.providers.base import Provider
from synth.session import existing_store, price_of, prices_of


def confirm_run(plans: Sequence[Plan], settings: RunSettings) -> None:
    """Ask before a run that may cost more than `confirm_usd`, or an unknown sum; `confirm` says how.

    Raises:
        InputError: there is nobody to ask, or a setting, model or key cannot be used.
    """
    price = price_of(settings, settings.provider, settings.model)
    prices = prices_of(settings, settings.provider, settings.model)
    if settings.yes or settings.max_usd is not None or all(one is not None and one.free for one in prices.values()):
        return
    provider = connect(settings, plans=plans, assets=settings.workspace / "assets", price=price)
    low = high = None
    if None not in prices.values():
        cost = expected_cost(plans, provider, prices, existing_store(settings), settings)
        low, high = cost or (None, None)
    confirm(low, high, settings, f"{sum(plan.n for plan in plans):,} examples")


def expected_cost(
    plans: Sequence[Plan],
    provider: Provider,
    prices: Mapping[str, Price | None],
    store: Store | None,
    settings: RunSettings,
) -> tuple[float, float] | None:
    """The least and the most that running these plans is expected to cost in US dollars, each model by its own price and its share of the
    requests; None if a price is not known.

    Nothing is asked. It rests on the answers of earlier runs and estimates, else on the length of the messages, within wide
    bounds; what is stored already is not counted.
    """
    if None in prices.values():
        return None
    low = high = 0.0
    for plan in plans:
        found = expected(plan, provider, prices, store, settings)
        usd = found.batch_usd if settings.mode == "batch" and found.batch_usd is not None else found.live_usd
        assert usd is not None, "the prices are known"
        low, high = low + usd.low, high + usd.high
    return low, high


def confirm(low_usd: float | None, high_usd: float | None, settings: AskSettings, what: str) -> None:
    """Go on silently if it costs `confirm_usd` at most, or the user said `yes=true` or `max_usd`; else ask on the terminal.

    Args:
        low_usd, high_usd: what it is expected to cost; None if that is not known.

    Raises:
        InputError: there is no terminal to ask on.
        TilthError: the answer was no.
    """
    if settings.yes or settings.max_usd is not None or (high_usd is not None and high_usd <= settings.confirm_usd):
        return
    sum_ = "an unknown sum" if low_usd is None or high_usd is None else dollars(low_usd, high_usd)
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        if high_usd is None:
            model = next(
                (name for name, one in prices_of(settings, settings.provider, settings.model).items() if one is None),
                "*",
            )
            name = f"{settings.provider}: {{{model or '*'}: {{input: ..., output: ...}}}}"
            raise InputError(
                f"{what} may cost an unknown sum; go ahead with yes=true, or give the model's price in pricing.yaml, as {name}"
            )
        raise InputError(f"{what} may cost {sum_}; go ahead with yes=true, or set max_usd")
    print(f"{what} may cost {sum_}. Go ahead? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise TilthError("nothing was asked; `synth estimate` says more closely what it costs")


def dollars(low: float, high: float) -> str:
    """`$1.20-3.40`; more digits for less than ten cents."""
    digits = 2 if high >= 0.1 else 4
    return f"${low:,.{digits}f}-{high:,.{digits}f}"
