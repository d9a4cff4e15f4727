"""What reading a document may take, so that a hostile one costs little."""

from dataclasses import asdict, dataclass

MOST_PNG_BYTES = 3_700_000  # Anthropic takes 5 MB of base64 an image, the others more
LONGEST_PX = 1568  # Anthropic scales larger images down; over 20 images in a request none may pass 2000
MOST_PIXELS = 100_000_000  # of an image file, before it is scaled down
MOST_LETTERS = 200_000  # of one page, and
MOST_LINES = 5_000
MOST_TEXT_BYTES = 20_000_000  # of a text, Markdown or HTML file, and of a DOCX's document
MOST_INFLATED = 200_000_000  # bytes of all that is packed in a DOCX


@dataclass(frozen=True, slots=True)
class Limits:
    """What one rendering is held to. The first three also say how its pages look."""

    dpi: int = 150
    longest_px: int = LONGEST_PX
    most_pages: int = 500
    most_bytes: int = 100_000_000  # of the file
    open_s: float = 30  # to open and lay out a document
    page_s: float = 20  # for one page
    document_s: float = 900  # for all of a document
    memory: int = 2 << 30  # bytes of address space that the reader may take
    ocr: str = ""  # languages to recognise in pages without text; "" recognises none
    tessdata: str = ""  # the folder that has their data

    @property
    def rendering(self) -> str:
        """Names how a document was rendered; equal names give equal pages."""
        recognised = f":ocr {self.ocr}" if self.ocr else ""
        return f"{VERSION}:{self.dpi}dpi:{self.longest_px}px{recognised}"

    def plain(self) -> dict[str, float | str]:
        return asdict(self)


VERSION = "1"  # another when the same file would give other pages or blocks
