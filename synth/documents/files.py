"""Which files the user means: paths, folders (the documents right in them) and patterns."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from curation.errors import InputError, NotFound, did_you_mean

SUFFIXES = (".pdf", ".docx", ".html", ".htm", ".md", ".markdown", ".txt", ".png", ".jpg", ".jpeg")
MOST_FILES = 10_000
_MAGIC = re.compile(r"[*?\[]")


@dataclass(slots=True)
class Found:
    files: list[Path] = field(default_factory=list)
    passed_over: list[Path] = field(default_factory=list)  # in a folder, and no document by its name


def found(words: Iterable[str | Path]) -> Found:
    """The files that the words name, each once.

    Raises:
        NotFound: a word names nothing.
        InputError: a folder has no documents, or there are too many files.
    """
    made = Found()
    seen: set[Path] = set()
    for word in words:
        for path in _of(word, made):
            real = path.resolve()
            if real in seen:
                continue
            seen.add(real)
            made.files.append(path)
            if len(made.files) > MOST_FILES:
                raise InputError(f"documents: more than {MOST_FILES:,} files; name fewer at once")
    return made


def _of(word: str | Path, made: Found) -> Sequence[Path]:
    path = Path(word).expanduser()
    try:
        if path.is_dir():
            return _in_folder(path, made)
        if path.exists():
            return [path]
        if _MAGIC.search(str(word)):
            return _matching(path)
    except InputError:
        raise
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(
            f"documents: {str(word)!r} cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from error
    folder = path.parent
    near = [one.name for one in folder.iterdir()] if folder.is_dir() else []
    raise NotFound(f"documents: no file or folder {str(word)!r}.{did_you_mean(path.name, near) if near else ''}")


def _in_folder(folder: Path, made: Found) -> list[Path]:
    inside = [path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith(".")]
    files = [path for path in inside if path.suffix.lower() in SUFFIXES]
    made.passed_over += [path for path in inside if path.suffix.lower() not in SUFFIXES]
    if not files:
        raise InputError(
            f"documents: no PDF, DOCX, HTML, Markdown, text, PNG or JPEG right in {str(folder)!r}; "
            f"for folders inside it write '{folder}/**/*.pdf'"
        )
    return files


def _matching(path: Path) -> list[Path]:
    parts = path.parts
    first = next(at for at, part in enumerate(parts) if _MAGIC.search(part))
    base = Path(*parts[:first]) if first else Path()
    files: list[Path] = []
    for one in base.glob(str(Path(*parts[first:]))):  # does not follow links to folders under **
        if one.is_file():
            files.append(one)
        if len(files) > MOST_FILES:
            raise InputError(f"documents: more than {MOST_FILES:,} files match {str(path)!r}; name fewer at once")
    if not files:
        raise NotFound(f"documents: nothing matches {str(path)!r}; quote the pattern, or name a folder")
    return sorted(files)
