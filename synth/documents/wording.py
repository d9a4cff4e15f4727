"""What MuPDF says is wrong with a file, in words for whoever has the file."""

import re

from synth.documents.joining import cleaned

_CLASS = re.compile(r"^(?:\w*(?:Error|Exception)\w*|\w*Warning):\s*|\bcode=\d+:\s*")
_WORDS = (
    (r"stack overflow|nested|recursion|too deep", "its parts are nested too deeply"),
    (r"invalid number of pages", "it states a number of pages that cannot be"),
    (r"cycle in page tree|cycle", "its pages lead round in a circle"),
    (r"failed to open stream|cannot open|no objects found|cannot find (?:startxref|version)", "it breaks off, or is another kind of file inside"),
    (r"premature end|missing sos|unexpected end|truncated|end of (?:data|file)", "it breaks off before its end"),
    (r"bit depth|colou?r (?:type|depth)|colorspace", "its colours are stored in a way that does not exist"),
    (r"jpeg error|png error|zlib error|inflate|compress", "what is compressed in it cannot be unpacked"),
    (r"malloc|out of memory|allocat", "it takes more memory than a document may"),
)  # fmt: skip


def worded(error: BaseException) -> str:
    """One phrase, without names of classes and numbers of errors."""
    said = cleaned(str(error).splitlines()[0] if str(error) else "")
    for pattern, words in _WORDS:
        if re.search(pattern, said, re.IGNORECASE):
            return words
    while (plain := _CLASS.sub("", said)) != said:
        said = plain
    return said.rstrip(" .!")[:200] or "it cannot be made sense of"
