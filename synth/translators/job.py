"""One text that is to be in another language: what of an example is translated, and what a translation must live up to."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from curation.records import EXAMPLE, QA, Completion, Dialogue, Moderation, Preference, Request, Safety
from curation.tables import AnyExample
from synth.translators.spans import Wording, changed, pieces

FIELDS = {
    "moderation": ("title", "text", "caption"), "preference": ("prompt", "chosen", "rejected"),
    "safety": ("prompt", "response"), "qa": ("question", "answer"),
}  # fmt: skip  # of a dialogue: its turns


@dataclass(frozen=True, slots=True)
class Job:
    """The fields of one example, to be translated together: whole or not at all."""

    source: str
    target: str
    texts: Mapping[str, str]  # field -> text
    wording: Wording
    slot: int  # of the requests: the same for all that stand on one example

    def returned(self, texts: Mapping[str, str], wording: Wording) -> "Job":
        """The job of translating this one's outcome back."""
        return Job(self.target, self.source, texts, wording, self.slot)


class Translator(Protocol):
    """Puts a job into a request and reads the answer."""

    prompt: str  # name of what is asked, and
    prompt_id: str  # its fingerprint
    words: str  # the instruction itself, for the record

    def request(self, job: Job, attempt: int) -> Request: ...

    def read(self, job: Job, attempt: int, completion: Completion) -> dict[str, str] | str:
        """The translation of each field, or why the answer cannot be read as one."""
        ...


def texts_of(example: AnyExample) -> dict[str, str]:
    """What is translated of an example, by field; blank ones are left out."""
    if isinstance(example, Dialogue):
        found = {f"turn_{number}_{turn.role}": turn.content for number, turn in enumerate(example.turns, 1)}
    else:
        found = {name: getattr(example, name) or "" for name in FIELDS[example.task]}
    return {name: text for name, text in found.items() if text.strip()}


def rewritten(
    example: AnyExample, language: str, texts: Mapping[str, str], labels: Mapping[str, str | int | None]
) -> AnyExample:
    """The example in another language, with the labels that hold for it now: a reviewer may have corrected them.

    Raises:
        ValidationError: that is no example of its task.
    """
    body = example.model_dump(mode="json")
    match example:
        case Dialogue():
            for number, turn in enumerate(body["turns"], 1):
                turn["content"] = texts.get(f"turn_{number}_{turn['role']}", turn["content"])
        case Moderation():
            body |= {**texts, **{name: value for name, value in labels.items() if value is not None}}
        case Safety():
            body |= {**texts, "behaviour": labels["label"], "category": labels["category"]}
        case Preference() | QA():
            body |= texts
    return EXAMPLE.validate_python({**body, "language": language})


def speaks(job: Job) -> bool:
    """Whether there is anything to translate: a letter outside of what is kept."""
    return any(
        char.isalpha()
        for text in job.texts.values()
        for piece in pieces(text, job.wording)
        if not piece.kept
        for char in piece.text
    )


def fault(job: Job, texts: Mapping[str, str]) -> str | None:
    """What is wrong with a translation as such, in words."""
    for name, text in job.texts.items():
        if not texts[name].strip():
            return f"{name} is empty"
        if problem := changed(pieces(text, job.wording), texts[name]):
            return f"{name}: {problem}"
    if all(texts[name].split() == text.split() for name, text in job.texts.items()):
        return "unchanged: the answer is the source text"
    return None
