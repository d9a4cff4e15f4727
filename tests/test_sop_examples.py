"""The SOPs that ship: each PDF is what its source makes, to the byte."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pymupdf
import pytest

SOPS = Path(__file__).parent.parent / "docs/examples/sops"
SOURCES = sorted((SOPS / "src").glob("*.md"))


def _build() -> Any:
    spec = importlib.util.spec_from_file_location("sops_build", SOPS / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["sops_build"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_there_are_the_five_and_a_chinese_one() -> None:
    names = {path.stem for path in SOURCES}
    assert names >= {
        "returns_abuse", "account_takeover", "listing_takedown_appeal", "refund_late_parcel", "harassment_report", "returns_abuse_zh",
    }  # fmt: skip
    assert {path.stem for path in SOPS.glob("*.pdf")} == names


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_pdf_is_made_from_its_source(source: Path) -> None:
    build = _build()
    place = SOPS / f"{source.stem}.pdf"
    assert build.pdf(build.read(source)) == place.read_bytes()
    with pymupdf.open(place) as document:
        assert 2 <= document.page_count <= 4
