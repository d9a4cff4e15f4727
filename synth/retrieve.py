"""Retrieval: BM25 over a corpus (Lucene's variant, k1 1.5, b 0.75, by the bm25s library), or the nearest vectors of an encoder.

Words are what is between white space for Latin script; Chinese is cut into characters and pairs of them, Tamil into words and
their first letters, as its endings carry the grammar (docs/dialogue.md has what that does to recall).
"""

import re
import sys
import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING

from synth.corpora import Corpus, Document

if TYPE_CHECKING:
    from synth.providers.embedder import Embedder

_WORDS = re.compile(r"[\u0b80-\u0bff]+|[\u3400-\u4dbf\u4e00-\u9fff]+|[^\W_\u0b80-\u0bff\u3400-\u9fff]+")
STEM = 5  # letters of a Tamil word that stand for all its forms
MOST = 60  # hits looked at
MANY = 2_000  # documents whose embedding takes long enough to be told


def tokens(text: str) -> list[str]:
    """The words of a text in any of the four languages, for a search."""
    found: list[str] = []
    for word in _WORDS.findall(unicodedata.normalize("NFKC", text).casefold()):
        if "\u3400" <= word[0] <= "\u9fff":
            found += [*word, *(word[i : i + 2] for i in range(len(word) - 1))]
        elif "\u0b80" <= word[0] <= "\u0bff":
            found += [word, word[:STEM]] if len(word) > STEM else [word]
        else:
            found.append(word[:-1] if len(word) > 3 and word.endswith("s") and word.isascii() else word)
    return found


class Retriever:
    """A search over one corpus in one language."""

    def __init__(self, corpus: Corpus, language: str) -> None:
        import bm25s  # with what it stands on half a second, which other prompts need not pay

        self.documents = corpus.documents(language)
        fields = corpus.source.text
        texts = [" ".join(_words_of(document, field) for field in fields) for document in self.documents]
        self._index = bm25s.BM25(k1=1.5, b=0.75, method="lucene")
        self._index.index([tokens(text) or ["\0"] for text in texts], show_progress=False)

    def search(self, query: str) -> list[Document]:
        """The best hits, best first; those that share no word with the query are none. Ties go by the corpus' order."""
        words = tokens(query)
        if not words:
            return []
        scores = self._index.get_scores(words)
        order = sorted((place for place in range(len(scores)) if scores[place] > 0), key=lambda i: (-scores[i], i))
        return [self.documents[place] for place in order[:MOST]]


def _words_of(document: Document, field: str) -> str:
    value = document[field]
    return " ".join(value) if isinstance(value, list) else str(value)


class DenseRetriever:
    """A search over one corpus in one language by the cosine of vectors; every document is a hit, the nearest first."""

    def __init__(self, corpus: Corpus, language: str, embedder: str) -> None:
        self.documents = corpus.documents(language)
        self._embedder = embedder_of(embedder)
        texts = [" ".join(_words_of(document, field) for field in corpus.source.text) for document in self.documents]
        if len(texts) > MANY:
            print(f"{corpus.path.name}: embedding {len(texts):,} documents by {embedder}", file=sys.stderr)
        self._rows = self._embedder.of(texts)

    def search(self, query: str) -> list[Document]:
        """The best hits, best first; none for an empty query. Ties go by the corpus' order."""
        if not query.strip():
            return []
        scores = self._rows @ self._embedder.of([query])[0]
        order = sorted(range(len(scores)), key=lambda place: (-scores[place], place))
        return [self.documents[place] for place in order[:MOST]]


@lru_cache(maxsize=2)
def embedder_of(name: str) -> "Embedder":
    """The encoder of a name, loaded once."""
    from synth.providers.embedder import Embedder  # with torch, which only this kind of search needs

    return Embedder(name)


@lru_cache(maxsize=32)
def retriever(corpus: Corpus, language: str, embedder: str | None = None) -> Retriever | DenseRetriever:
    """The search over a corpus in a language, made once."""
    return Retriever(corpus, language) if embedder is None else DenseRetriever(corpus, language, embedder)
