"""A glossary: names that are never translated, and terms with one fixed translation, from a YAML file."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, StringConstraints, ValidationError

from curation.errors import InputError
from curation.library import read_yaml
from curation.settings import describe
from synth.translators.spans import Wording

Entry = Annotated[str, BeforeValidator(lambda value: str(value) if isinstance(value, int | float) else value)]
Phrase = Annotated[Entry, StringConstraints(strip_whitespace=True, min_length=1)]


class Glossary(BaseModel):
    """`keep: [HDB, Tilth]` and `terms: {zh: {hawker centre: 小贩中心}}`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    keep: tuple[Phrase, ...] = ()
    terms: dict[str, dict[Phrase, Phrase]] = {}  # language -> term -> its translation

    def there(self, target: str) -> Wording:
        """What holds for a translation into `target`."""
        return Wording(self.keep, self.terms.get(target, {}))

    def back(self, target: str) -> Wording:
        """What holds for the way back from `target`."""
        return Wording(self.keep, {translation: term for term, translation in self.terms.get(target, {}).items()})


def load_glossary(path: Path | None) -> Glossary:
    """The glossary in a file; an empty one for None.

    Raises:
        InputError: unreadable, broken, or a field that a glossary does not have.
    """
    if path is None:
        return Glossary()
    try:
        return Glossary.model_validate(read_yaml(path))
    except ValidationError as error:
        raise InputError(f"{path}: {describe(error, Glossary)}") from error
