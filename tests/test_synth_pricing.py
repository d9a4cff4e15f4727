"""What answers cost: the built-in table, a user's own, bands, caches and batches."""

from datetime import date
from pathlib import Path
from typing import get_args

import pytest
from anthropic.types import Model

from curation.errors import InputError, NotFound
from synth.pricing import BUILTIN, Price, load_prices
from synth.providers.base import Usage


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def own(text: str, name: str = "pricing.yaml") -> Path:
    path = Path(name)
    path.write_text(text, encoding="utf-8")
    return path


# -- the built-in table ------------------------------------------------------------------------------------------


def test_every_built_in_price_has_a_source_and_a_date_and_is_plausible() -> None:
    table = load_prices().table
    assert set(table) >= {"offline", "transformers", "anthropic", "together", "openai", "google"}
    priced = [(f"{provider}.{model}", price) for provider, models in table.items() for model, price in models.items()]
    assert len(priced) >= 40
    for name, price in priced:
        assert date(2026, 1, 1) <= date.fromisoformat(price.as_of) <= date.today(), name
        if price.free:
            assert name in ("offline.*", "transformers.*")
            continue
        assert price.source.startswith("https://"), name
        if price.characters:
            continue
        assert 0 < price.input <= price.output <= 50, name
        if price.cache_read is not None:
            assert price.cache_read < price.input, name
        if price.cache_write is not None:
            assert price.input < price.cache_write <= 1.25 * price.input, name
        if price.long_prompt is not None:
            assert price.long_prompt.input > price.input, name
            assert price.long_prompt.output > price.output, name


def test_the_models_that_the_sdk_knows_are_priced() -> None:
    known = set(get_args(get_args(Model)[0]))
    priced = set(load_prices().table["anthropic"])
    assert priced - known == set()
    assert known - priced == {"claude-mythos-preview"}  # no price was found for it


def test_what_costs_nothing_does_so_whatever_its_name() -> None:
    prices = load_prices()
    assert prices.of("offline", "gr1_0f3c") == prices.of("offline", "")
    assert prices.of("transformers", "./models/qwen") is not None
    assert prices.of("transformers", "./models/qwen").cost(Usage(1000, 1000)) == 0  # type: ignore[union-attr]


@pytest.mark.parametrize(("provider", "model"), [("anthropic", "claude-next"), ("openai", "my-model"), ("ollama", "x")])
def test_a_model_that_is_not_listed_has_no_price(provider: str, model: str) -> None:
    assert load_prices().of(provider, model) is None


# -- what an answer costs ------------------------------------------------------------------------------------------

PRICE = Price(input=4, output=20, cache_read=0.2, cache_write=5, batch=0.5)


def test_each_kind_of_token_has_its_price() -> None:
    usage = Usage(input_tokens=1_000, output_tokens=2_000, cache_read_tokens=3_000, cache_write_tokens=4_000)
    assert PRICE.cost(usage) == pytest.approx(0.004 + 0.04 + 0.0006 + 0.02)
    assert PRICE.cost(usage, batch=True) == pytest.approx(PRICE.cost(usage) / 2)
    assert Price(input=1, output=2).cost(usage) == pytest.approx((8_000 + 4_000) / 1e6)
    assert Price(characters=20).cost(Usage(characters=500_000)) == 10
    assert Price(input=1, output=1).cost(usage, batch=True) == Price(input=1, output=1).cost(usage)


def test_a_long_prompt_makes_the_whole_request_dearer() -> None:
    haiku = load_prices().of("anthropic", "claude-haiku-5-5")
    assert haiku is not None
    assert haiku.cost(Usage(input_tokens=100_000, output_tokens=1_000)) == pytest.approx(0.01 + 0.0005)
    assert haiku.cost(Usage(input_tokens=100_001, output_tokens=1_000)) == pytest.approx(0.05 + 0.0025, rel=1e-4)
    beside = Usage(input_tokens=1, cache_read_tokens=60_000, cache_write_tokens=40_000)
    assert haiku.cost(beside) == pytest.approx((0.5 + 60_000 * 0.05 + 40_000 * 0.625) / 1e6)
    assert haiku.cost(beside, batch=True) == pytest.approx(haiku.cost(beside) / 2)


@pytest.mark.parametrize("price", [PRICE, Price(input=1, output=2), load_prices().of("anthropic", "claude-haiku-5-5")])
@pytest.mark.parametrize("tokens", [1, 99_999, 100_001, 900_000])
@pytest.mark.parametrize("batch", [True, False])
def test_no_request_costs_more_than_the_most(price: Price, tokens: int, batch: bool) -> None:
    most = price.most(tokens, 500, batch=batch)
    for usage in (
        Usage(tokens, 500),
        Usage(0, 500, cache_read_tokens=tokens),
        Usage(0, 500, cache_write_tokens=tokens),
        Usage(tokens // 2, 400, tokens // 4, tokens // 4),
    ):
        assert price.cost(usage, batch=batch) <= most + 1e-12


# -- a table of one's own ------------------------------------------------------------------------------------------


def test_a_price_of_ones_own_replaces_field_by_field_and_loses_the_built_in_date() -> None:
    own("anthropic:\n  claude-opus-5-5: {output: 18}\n  mine: {input: 1, output: 2, as_of: 2026-11-01}\n")
    prices = load_prices()
    opus = prices.of("anthropic", "claude-opus-5-5")
    assert opus is not None
    assert (opus.input, opus.output, opus.cache_read, opus.batch, opus.as_of, opus.source) == (4, 18, 0.2, 0.5, "", "")
    assert prices.of("anthropic", "mine") == Price(input=1, output=2, as_of="2026-11-01")
    assert prices.of("anthropic", "claude-sonnet-5-5") is not None


def test_a_star_stands_for_all_models_of_a_provider_that_are_not_listed() -> None:
    own('openai:\n  "*": {input: 0, output: 0}\nmine:\n  "*": {input: 1, output: 1}\n')
    prices = load_prices()
    local, listed = prices.of("openai", "qwen3-8b"), prices.of("openai", "gpt-6-luna")
    assert local is not None
    assert local.free
    assert listed is not None
    assert listed.input == 0.1
    assert prices.of("mine", "x") == Price(input=1, output=1)


def test_a_table_that_is_named_goes_before_the_one_that_lies_here() -> None:
    own("mine:\n  x: {input: 1, output: 1}\n")
    named = own("mine:\n  x: {input: 2, output: 2}\n", "other.yaml")
    assert load_prices(named).of("mine", "x") == Price(input=2, output=2)
    with pytest.raises(NotFound, match=r"pricing=missing\.yaml: no such file"):
        load_prices(Path("missing.yaml"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("anthropic:\n  a: {input: 1, output: 2, ouptut: 3}", "anthropic.a.ouptut: unknown key 'ouptut'. Did you mean 'output'?"),
        ("anthropic:\n  a: {input: -1, output: 2}", "anthropic.a.input: "),
        ("anthropic:\n  a: {input: cheap, output: 2}", "anthropic.a.input: expected a number, got 'cheap'"),
        ("anthropic:\n  a: {input: .nan, output: 2}", "anthropic.a.input: expected a"),
        ("anthropic:\n  a: {output: 2}", "anthropic.a.input: is missing; write 0 if it costs nothing"),
        ("anthropic:\n  a: {}", "anthropic.a.input: is missing"),
        ("anthropic:\n  a: {input: 1, output: 2, batch: 0}", "anthropic.a.batch: "),
        ("anthropic:\n  a: {input: 1, output: 2, as_of: yesterday}", "anthropic.a.as_of: expected a date such as"),
        ("anthropic:\n  a: {input: 1, output: 2, long_prompt: {above: 5, input: 1}}", "anthropic.a.long_prompt.output: 'long_prompt.output' is missing"),
        ("anthropic:\n  a: 5", "anthropic.a: expected a mapping such as"),
        ("anthropic: 5", "anthropic: expected a mapping of models"),
        ("- a", "expected a mapping of fields"),
        ("", "the file is empty"),
        ("anthropic:\n  a: {input: 1\n", "broken YAML"),
        ("anthropic:\n  a: {input: 1, output: 1}\n  a: {input: 2, output: 1}\n", "duplicate key 'a'"),
    ],
)  # fmt: skip
def test_a_broken_table_says_file_model_and_field(text: str, said: str) -> None:
    path = own(text)
    with pytest.raises(InputError) as caught:
        load_prices()
    assert str(caught.value).startswith(str(path))
    assert said in str(caught.value)


def test_the_table_lies_beside_the_code_that_reads_it() -> None:
    assert BUILTIN.is_file()
    assert BUILTIN.parent.name == "synth"
