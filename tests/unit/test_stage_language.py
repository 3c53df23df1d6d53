"""Languages: told offline, allowed by code; what cannot be told stays."""

from __future__ import annotations

import pickle
import socket
from typing import Any

import pytest
from pydantic import ValidationError

from core.curation_settings import LanguageSettings
from curation.stages.language import KeepLanguages, prose
from tests.unit.candidate_tables import pair, row, table_of

EN = "The heating is set from the menu, and the change is written at once."
DE = "Die Heizung stellt man im Menü ein, und die Änderung wird sofort geschrieben."
FR = "Le chauffage se règle dans le menu, et le changement est écrit tout de suite."
ES = "La calefacción se ajusta en el menú y el cambio se guarda enseguida."
ZH = "暖气可以在菜单中设置。更改会立即保存。"


def languages(*texts: str, settings: LanguageSettings | None = None) -> list[str]:
    """Return the language of each answer."""
    table = table_of(*(row("?", text) for text in texts))
    return KeepLanguages(settings or LanguageSettings())(table).kept["language"].to_pylist()


def test_languages_are_told_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model is in its package: no connection is opened."""

    def refuse(*_: Any) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert languages(EN, DE, FR, ES, ZH) == ["en", "de", "fr", "es", "zh"]


def test_only_prose_tells_the_language() -> None:
    """Code, addresses and placeholders are of no language."""
    code = "```python\nfor number in range(10):\n    print(number, 'hello world')\n```\n"
    assert languages(code + DE, "https://example.org/the/heating/is/set " + FR) == ["de", "fr"]
    assert prose("See `the menu` at [EMAIL_1] ok") == "See   at   ok"


def test_short_answers_are_told_by_their_question() -> None:
    """A word has no language that can be told; an answer of code alone neither."""
    table = table_of(
        row("Comment peut-on régler le chauffage chez moi ?", "Oui."),
        pair("Wie stellt man die Heizung im Haus bitte ein?", "Ja.", EN),
        row("?", "42"),
        {**row("x", "y"), "messages": None},
    )
    outcome = KeepLanguages(LanguageSettings())(table)
    assert outcome.kept["language"].to_pylist() == ["fr", "de", "unknown", "unknown"]


def test_other_languages_are_dropped_with_their_code() -> None:
    """What is unknown stays, and the lost answer of a pair has no say."""
    table = table_of(row("?", EN), row("?", FR, id_="fr"), row("?", "12"), pair("?", EN, FR))
    stage = pickle.loads(pickle.dumps(KeepLanguages(LanguageSettings(allowed=("en", "de")))))
    outcome = stage(table)
    assert outcome.kept["language"].to_pylist() == ["en", "unknown", "en"]
    assert outcome.drops.select(["interaction_id", "reason", "detail"]).to_pylist() == [
        {"interaction_id": "fr", "reason": "language", "detail": "fr"}
    ]
    assert stage(table.slice(0, 0)).kept["language"].to_pylist() == []


def test_near_languages_are_allowed_together() -> None:
    """Who allows Croatian allows what the model calls Serbo-Croatian."""
    text = "Grijanje se podešava u izborniku, a promjena se odmah zapisuje."
    unsure = LanguageSettings(min_confidence=0.0)  # these share their confidence
    told = languages(text, settings=unsure)
    assert told[0] in {"bs", "hr", "sh", "sr"}
    for code in ("hr", "sr"):
        settings = LanguageSettings(min_confidence=0.0, allowed=(code,))
        assert languages(text, settings=settings) == told
    english = LanguageSettings(min_confidence=0.0, allowed=("en",))
    assert languages(text, settings=english) == []


def test_an_unsure_language_is_unknown() -> None:
    """Below the confidence that is asked for."""
    mixed = "Use git rebase and then git push --force origin main"
    assert languages(mixed, settings=LanguageSettings(min_confidence=1.0)) == ["unknown"]


def test_names_that_are_no_codes_are_refused() -> None:
    """`English` would drop everything."""
    with pytest.raises(ValidationError, match="allowed"):
        LanguageSettings(allowed=("English",))
