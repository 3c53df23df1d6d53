"""Keys: made once where none are set, private, and the subject key apart from the receipts'."""

from __future__ import annotations

import stat
from pathlib import Path

from pydantic import SecretStr

from core.keys import load_keys
from core.settings import Settings


def test_keys_are_made_once_and_stay(tmp_path: Path) -> None:
    """A second process reads what the first one made."""
    first = load_keys(Settings(data_dir=tmp_path / "new"))
    assert load_keys(Settings(data_dir=tmp_path / "new")) == first
    assert load_keys(Settings(data_dir=tmp_path / "other")) != first
    assert first.subject not in first.receipt


def test_only_the_owner_may_read_the_keys(tmp_path: Path) -> None:
    """A key that everybody can read signs for everybody."""
    load_keys(Settings(data_dir=tmp_path))
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert (modes, len(list(tmp_path.iterdir()))) == ({0o600}, 2)


def test_keys_of_the_settings_are_taken_and_no_file_is_made(tmp_path: Path) -> None:
    """Several gateways share keys through their settings."""
    secrets = (SecretStr("new"), SecretStr("old"))
    settings = Settings(data_dir=tmp_path, secrets=secrets, subject_secret=SecretStr("people"))
    keys = load_keys(settings)
    assert (keys.receipt, keys.subject) == ((b"new", b"old"), b"people")
    assert list(tmp_path.iterdir()) == []


def test_rotating_receipt_keys_leaves_people_who_they_are(tmp_path: Path) -> None:
    """Another receipt key must not make strangers of all end users."""
    before = load_keys(Settings(data_dir=tmp_path))
    after = load_keys(Settings(data_dir=tmp_path, secrets=(SecretStr("rotated"),)))
    assert after.receipt != before.receipt
    assert after.subject == before.subject
