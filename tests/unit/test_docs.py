"""The documents keep up with the code."""

import re
from pathlib import Path

import pytest
from settings_page import PAGE, settings_markdown

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\]\((?!https?://|#)([^)#\s]+)(?:#[^)]*)?\)")
MAKE_TARGET = re.compile(r"`make ([a-z-]+)")


def test_the_settings_page_is_what_the_code_says() -> None:
    """Names, defaults and reasons come from core/settings.py; `make docs` writes them."""
    assert PAGE.read_text() == settings_markdown(), "run `make docs`"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    """A file that was moved or renamed takes its links along."""
    broken = [
        link for link in LINK.findall(document.read_text()) if not (document.parent / link).exists()
    ]
    assert broken == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_make_commands_in_documents_exist(document: Path) -> None:
    """What a reader is told to type is in the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(MAKE_TARGET.findall(document.read_text())) - targets == set()
