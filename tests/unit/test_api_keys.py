"""API keys: which application calls, and what is said when none does."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from core.errors import AuthenticationError
from core.settings import ApplicationSettings, Settings
from feedback.api_keys import authenticate


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Two applications with keys, and one whose key is empty by mistake."""
    keys = {"desk": "key-of-desk", "shop": "kéy-of-shop", "open": ""}
    return Settings(
        data_dir=tmp_path,
        applications={
            name: ApplicationSettings(api_key=SecretStr(key)) for name, key in keys.items()
        },
    )


@pytest.mark.parametrize(
    ("header", "application"),
    [
        ("Bearer key-of-desk", "desk"),
        ("bearer  key-of-desk ", "desk"),
        ("Bearer kéy-of-shop", "shop"),
    ],
)
def test_a_key_names_its_application(settings: Settings, header: str, application: str) -> None:
    """The scheme's case and spaces around the key do not matter."""
    assert authenticate(header, settings) == application


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer  ", "Basic a2V5", "key-of-desk"])
def test_without_a_key_the_error_says_how_to_send_one(
    settings: Settings, header: str | None
) -> None:
    """An empty key never matches, not even an application whose key is empty."""
    with pytest.raises(AuthenticationError, match="Authorization: Bearer <key>"):
        authenticate(header, settings)


@pytest.mark.parametrize("key", ["key-of-des", "key-of-desk2", "KEY-OF-DESK", "\udcff"])
def test_an_unknown_key_is_refused_and_not_repeated(settings: Settings, key: str) -> None:
    """The message does not hold what was sent."""
    with pytest.raises(AuthenticationError, match="unknown API key") as caught:
        authenticate(f"Bearer {key}", settings)
    assert key not in caught.value.message
