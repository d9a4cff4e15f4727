"""A job as a request to Google: one message a segment, and on the second attempt with the kept spans cut out."""

import json

from curation.records import Completion, Message, Request, canonical_json, content_id
from synth.translators.google import NAME
from synth.translators.job import Job
from synth.translators.layout import Frame, Segment, from_html, joined, needs_html, plain, split, to_html
from synth.translators.spans import pieces, set_apart

SCHEME = "google: a message a segment, kept spans as translate=no, cut out from the second attempt on; 1"


class ByGoogle:
    prompt = "google_translate"
    prompt_id = content_id("pr", SCHEME)
    words = canonical_json({"scheme": SCHEME})

    def __init__(self, model: str) -> None:
        self._model = model

    def request(self, job: Job, attempt: int) -> Request:
        segments = _segments(_frames(job, attempt))
        html = needs_html(segments)
        return Request(
            prompt=self.prompt, prompt_id=self.prompt_id,
            variables={"source": job.source, "target": job.target, "format": "html" if html else "text"},
            messages=tuple(Message(role="user", content=(to_html if html else plain)(segment)) for segment in segments),
            provider=NAME, model=self._model, slot=job.slot, attempt=attempt,
        )  # fmt: skip

    def read(self, job: Job, attempt: int, completion: Completion) -> dict[str, str] | str:
        frames = _frames(job, attempt)
        segments = _segments(frames)
        found = json.loads(completion.text)
        if len(found) != len(segments):
            return f"{len(found)} translations of {len(segments)} segments"
        if needs_html(segments):
            found = [from_html(text) for text in found]
        texts: dict[str, str] = {}
        for name, frame in frames.items():
            count = len(_segments({name: frame}))
            texts[name] = set_apart(
                pieces(job.texts[name], job.wording), joined(frame, [text.strip() for text in found[:count]])
            )
            found = found[count:]
        return texts


def _frames(job: Job, attempt: int) -> dict[str, Frame]:
    return {name: split(text, job.wording, cut=attempt > 0) for name, text in job.texts.items()}


def _segments(frames: dict[str, Frame]) -> list[Segment]:
    return [part for frame in frames.values() for part in frame if isinstance(part, Segment)]
