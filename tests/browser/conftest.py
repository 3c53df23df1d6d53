"""A real chromium, and pages in it that may neither throw nor break their policy unseen."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from chromium import find_chromium
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE_MS = 10_000  # for two cores that others use too; an idle machine needs 100

expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Give the browser with a new profile; without one, CI fails and others skip.

    For one module: Playwright's own event loop would be in the way of the async tests of others.
    """
    path = find_chromium()
    if path is None:
        mend = "no chromium on the path: run `make setup-test`, or install Debian's `chromium`"
        if os.environ.get("CI"):
            pytest.fail(mend)
        pytest.skip(mend)
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield launched
        launched.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """Give an empty page; the test fails if a script threw, or the page's policy was broken."""
    faults: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if "Content Security Policy" in message.text or "Trusted" in message.text:
            faults.append(message.text)

    with browser.new_context() as context:
        context.set_default_timeout(PATIENCE_MS)
        opened = context.new_page()
        opened.on("pageerror", lambda error: faults.append(str(error)))
        opened.on("console", note)
        yield opened
        assert faults == []
