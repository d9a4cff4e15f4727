"""The frame around every page, in a real browser: names, pages, the empty workspace."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect
from ui_kit import open_page, serving


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("empty") / "workspace") as address:
        yield address


def test_an_empty_workspace_says_what_to_do(browser: Browser, empty: str) -> None:
    page = open_page(browser, empty)
    expect(page.get_by_role("heading", name="This workspace is empty")).to_be_visible()
    expect(page.get_by_text("synth run prompt=general_ok n=100")).to_be_visible()
    page.context.close()
