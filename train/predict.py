"""`train predict`: CSV rows in, P(disallowed) out, one line a row whatever it holds, in constant memory."""

import csv
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, TextIO

from curation.errors import TilthError
from train.config import PredictSettings
from train.csv_rows import Row, read
from train.scorers import Scores, open_scorer
from train.scoring import Score

if TYPE_CHECKING:
    from train.pictures import Pictures

MOST_CHARACTERS = 2**24  # of a window


@dataclass
class Tally:
    """What became of the rows."""

    rows: int = 0
    scored: int = 0
    cut: int = 0
    mass: float = 0.0
    started: float = field(default_factory=time.monotonic)

    def __str__(self) -> str:
        rate = self.rows / max(time.monotonic() - self.started, 1e-9)
        shown = f"{self.scored:,} of {self.rows:,} rows scored, {rate:,.0f} a second"
        if self.cut:
            shown += f"; {self.cut:,} too long, their middle left out"
        return shown


def predict(settings: PredictSettings, source: BinaryIO, out: TextIO, log: TextIO) -> Tally:
    """Read CSV from `source`, write CSV (id, probability) to `out`, one line a row and in order; problems go to `log`.

    Raises:
        InputError: the input, the adapter or a setting cannot be used.
    """
    images = settings.ocr is not None or settings.captioner is not None
    rows = read(source, settings.columns, settings.header, images=images)
    first = next(rows, None)  # what is wrong with the input is said before a model is loaded
    scorer, pictures = open_scorer(settings), _pictures(settings)
    tally = Tally()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["id", "probability", "label_mass"] if settings.label_mass else ["id", "probability"])
    for window in windows(_chained(first, rows), settings.window):
        for row, score in zip(window, _scored_rows(scorer, pictures, window), strict=True):
            tally.rows += 1
            tally.cut += score.cut
            cells = [row.id, "" if score.probability is None else f"{score.probability:.6g}"]
            if settings.label_mass:
                cells.append("" if score.mass is None else f"{score.mass:.4g}")
            writer.writerow(cells)
            if score.probability is None:
                print(f"line {row.line}: {score.reason}", file=log)
                continue
            tally.scored += 1
            tally.mass += score.mass or 0.0
        out.flush()
        if log.isatty():
            print(f"\r{tally}", end="", file=log, flush=True)
    if log.isatty():
        print(file=log)
    if tally.cut or tally.scored < tally.rows:
        print(f"predict: {tally}", file=log)
    if settings.label_mass and tally.scored:
        print(f"predict: label mass {tally.mass / tally.scored:.3f} on average", file=log)
    return tally


def _chained(first: Row | None, rows: Iterator[Row]) -> Iterator[Row]:
    if first is not None:
        yield first
        yield from rows


def windows(rows: Iterable[Row], most: int) -> Iterator[list[Row]]:
    """Rows together, at most so many and at most `MOST_CHARACTERS`."""
    window: list[Row] = []
    size = 0
    for row in rows:
        window.append(row)
        size += len(row.text)
        if len(window) >= most or size >= MOST_CHARACTERS:
            yield window
            window, size = [], 0
    if window:
        yield window


def _pictures(settings: PredictSettings) -> "Pictures | None":
    if settings.ocr is None and settings.captioner is None:
        return None
    from train.pictures import Pictures

    return Pictures(settings.ocr, settings.captioner)


def _scored_rows(scorer: Scores, pictures: "Pictures | None", window: list[Row]) -> list[Score]:
    if pictures is not None:
        window = pictures.filled(window)
    whole = [row for row in window if not row.problem]
    # title, text, caption: as curation.records.Moderation.content joins them
    texts = ["\n".join(part for part in (row.title, row.text, row.caption) if part) for row in whole]
    scores = iter(scored(scorer, texts))
    return [Score(None, reason=row.problem) if row.problem else next(scores) for row in window]


def scored(scorer: Scores, texts: list[str]) -> list[Score]:
    """One score a text; a text on which the model fails takes no other along."""
    if not texts:
        return []
    try:
        return scorer.score(texts)
    except TilthError:
        raise
    except Exception as error:
        if len(texts) == 1:
            lines = str(error).splitlines()
            return [Score(None, reason=f"{type(error).__name__}: {lines[0] if lines else 'no message'}")]
    half = math.ceil(len(texts) / 2)
    return [*scored(scorer, texts[:half]), *scored(scorer, texts[half:])]
