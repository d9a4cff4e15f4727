"""What answers cost: a dated, sourced price table (`pricing.yaml`), which the user's own `./pricing.yaml` overrides.

A model that is in neither has no known price: its cost is None, "unknown", and never 0.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from curation.errors import InputError, NotFound
from curation.library import read_yaml
from curation.settings import describe
from synth.providers.base import Usage

BUILTIN = Path(__file__).parent / "pricing.yaml"
OWN = Path("pricing.yaml")


class LongPrompt(BaseModel):
    """What every token of a request costs, the answer's too, when its prompt has more than `above` tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    above: int = Field(ge=1)
    input: float = Field(ge=0)
    output: float = Field(ge=0)
    cache_read: float | None = Field(default=None, ge=0)
    cache_write: float | None = Field(default=None, ge=0)


class Price(BaseModel):
    """US dollars per million tokens (or characters), and where and when that was read."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    input: float = Field(default=0, ge=0)
    output: float = Field(default=0, ge=0)
    cache_read: float | None = Field(default=None, ge=0)  # the input price, if not given
    cache_write: float | None = Field(default=None, ge=0)
    long_prompt: LongPrompt | None = None
    characters: float = Field(default=0, ge=0)
    batch: float | None = Field(default=None, gt=0, le=1)  # share of the price that a batch pays; None: no batches
    structured: bool | None = None  # whether the model can be held to a JSON schema; None: not known
    images: bool | None = None
    source: str = ""
    as_of: str = ""

    @field_validator("as_of")
    @classmethod
    def _a_date(cls, as_of: str) -> str:
        try:
            return as_of and date.fromisoformat(as_of).isoformat()
        except ValueError:
            raise ValueError(f"expected a date such as 2026-11-21, got {as_of!r}") from None

    @property
    def free(self) -> bool:
        return not self.most(1, 1) and not self.characters

    def cost(self, usage: Usage, *, batch: bool = False) -> float:
        """US dollars of one answer."""
        prompt = usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens
        rates = self.long_prompt if self.long_prompt is not None and prompt > self.long_prompt.above else self
        read = rates.input if rates.cache_read is None else rates.cache_read
        write = rates.input if rates.cache_write is None else rates.cache_write
        millionths = (
            usage.input_tokens * rates.input + usage.output_tokens * rates.output + usage.cache_read_tokens * read
            + usage.cache_write_tokens * write + usage.characters * self.characters
        )  # fmt: skip
        return millionths / 1e6 * (self.batch or 1 if batch else 1)

    def most(self, input_tokens: int, output_tokens: int, *, batch: bool = False) -> float:
        """US dollars at most for so many tokens, whatever is read from or written to the provider's cache; a service that is paid
        by the character is bounded likewise, as no text has more characters than `most_tokens` allows it tokens."""
        bands: list[Price | LongPrompt] = [self]
        if self.long_prompt is not None and input_tokens > self.long_prompt.above:
            bands.append(self.long_prompt)
        millionths = (
            max(
                input_tokens * max(band.input, band.cache_read or 0, band.cache_write or 0)
                + output_tokens * band.output
                for band in bands
            )
            + input_tokens * self.characters
        )
        return millionths / 1e6 * (self.batch or 1 if batch else 1)


@dataclass(frozen=True, slots=True)
class Prices:
    """The price of each model of each provider."""

    table: dict[str, dict[str, Price]]

    def of(self, provider: str, model: str) -> Price | None:
        """The price of a model, None if it is not known."""
        models = self.table.get(provider, {})
        return models.get(model) or models.get("*")


def load_prices(path: Path | None = None) -> Prices:
    """The built-in table, overridden by `path` or `./pricing.yaml`.

    A model's fields that the user does not give stay as they are built in; a new model needs `input` and `output`, or
    `characters`.

    Raises:
        InputError: a table that cannot be read: file, model and field are named.
    """
    table = _table(BUILTIN, read_yaml(BUILTIN), {})
    if path is None and not OWN.is_file():
        return Prices(table)
    own = path or OWN
    if not own.is_file():
        raise NotFound(f"pricing={own}: no such file")
    for provider, models in _table(own, read_yaml(own), table).items():
        table[provider] = {**table.get(provider, {}), **models}
    return Prices(table)


def _table(
    path: Path, data: Mapping[str, Any], under: Mapping[str, Mapping[str, Price]]
) -> dict[str, dict[str, Price]]:
    found: dict[str, dict[str, Price]] = {}
    for provider, models in data.items():
        if not isinstance(models, Mapping):
            raise InputError(f"{path}: {provider}: expected a mapping of models to prices, got {models!r}")
        found[str(provider)] = {
            str(model): _price(f"{path}: {provider}.{model}", fields, under.get(str(provider), {}).get(str(model)))
            for model, fields in models.items()
        }
    return found


def _price(where: str, fields: Any, under: Price | None) -> Price:
    if not isinstance(fields, Mapping):
        raise InputError(f"{where}: expected a mapping such as {{input: 1, output: 5}}, got {fields!r}")
    if under is None:
        needed = () if "characters" in fields else ("input", "output")
        if missing := [name for name in needed if name not in fields]:
            raise InputError(f"{where}.{missing[0]}: is missing; write 0 if it costs nothing")
        below = {}
    else:  # the built-in source and date say nothing of a price that the user changed
        below = under.model_dump(exclude_unset=True, exclude={"source", "as_of"})
    try:
        return Price(**{**below, **{str(name): value for name, value in fields.items()}})
    except ValidationError as error:
        described = describe(error, Price)
        if quoted := re.match(r"(?:unknown key )?'([^']*)'", described):
            raise InputError(f"{where}.{quoted[1]}: {described}") from error
        raise InputError(f"{where}.{described}") from error
