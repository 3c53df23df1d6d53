"""Settings: sources in their order, frozen, and errors that name the value."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from core.errors import SettingsError
from core.settings import FILE_VARIABLE, Settings, load_settings


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder; the variable that names the file is as before afterwards."""
    monkeypatch.setenv(FILE_VARIABLE, "")
    monkeypatch.delenv(FILE_VARIABLE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(folder: Path, text: str) -> Path:
    """Return a settings file with this text."""
    file = folder / "own.toml"
    file.write_text(text)
    return file


def test_defaults_need_no_file(folder: Path) -> None:
    """Without file and variables everything has a value."""
    settings = load_settings()
    assert (settings.engine.port, settings.gateway.port) == (8100, 8000)
    assert settings.store_address == f"sqlite:///{folder / '.ratchet' / 'store.db'}"


def test_variables_win_over_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later source replaces single values, not whole sections."""
    monkeypatch.setenv("RATCHET_ENGINE__PORT", "8200")
    file = written(folder, "[engine]\nport = 8150\nmax_adapters = 2\n")
    engine = load_settings(file).engine
    assert (engine.port, engine.max_adapters) == (8200, 2)


def test_the_default_file_is_read(folder: Path) -> None:
    """`ratchet.toml` of the working folder counts without being named."""
    (folder / "ratchet.toml").write_text("[gateway]\nport = 9000\n")
    assert load_settings().gateway.port == 9000


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[engine]\nport = 99999\n", "engine.port"),
        ("[engine]\nprot = 8100\n", "engine.prot"),
        ("[canary]\nshares = [0.5, 0.1]\n", "shares must be positive and grow"),
        ("[applications.shop]\n", "applications.shop.api_key"),
        ("engine = [", "not valid TOML"),
        ('[engine]\nreplicas = ["gpu-1:8100"]\n', "gpu-1:8100 is no URL"),
        ('[engine]\nkubernetes_service = "vllm"\n', "vllm must be namespace/service:port"),
    ],
)
def test_a_wrong_file_is_refused_by_name(folder: Path, text: str, named: str) -> None:
    """The message says which value is wrong."""
    with pytest.raises(SettingsError, match=named):
        load_settings(written(folder, text))


def test_a_named_file_that_is_missing_is_an_error(folder: Path) -> None:
    """A typo in --settings must not start a service with defaults."""
    with pytest.raises(SettingsError, match=r"nowhere\.toml does not exist"):
        load_settings(folder / "nowhere.toml")


def test_settings_cannot_change(folder: Path) -> None:
    """What a decision was made with stays what it was."""
    settings = load_settings()
    with pytest.raises(ValidationError, match="frozen"):
        settings.log_level = "DEBUG"  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(ValidationError, match="frozen"):
        settings.engine.port = 1  # pyright: ignore[reportAttributeAccessIssue]


def test_secrets_stay_out_of_print(folder: Path) -> None:
    """A settings object in a log line shows no key."""
    settings = load_settings(written(folder, '[applications.shop]\napi_key = "hush"\n'))
    assert "hush" not in repr(settings)
    assert isinstance(settings, Settings)


def test_an_application_may_have_rules_of_its_own(folder: Path) -> None:
    """What it names differs, the rest is the section's; a wrong value is told with its place."""
    (folder / "ratchet.toml").write_text(
        "[canary]\nmargin = 0.1\n"
        '[applications.desk]\napi_key = "a-key-that-is-long-enough"\n'
        "[applications.desk.rollouts]\nshares = [0.2]\nguardrails = ['error']\n"
    )
    settings = load_settings()
    own = settings.canary_of("desk")
    assert (own.shares, own.guardrails, own.margin) == ((0.2,), ("error",), 0.1)
    assert settings.canary_of("another") == settings.canary
    (folder / "ratchet.toml").write_text(
        '[applications.desk]\napi_key = "a-key-that-is-long-enough"\n'
        "[applications.desk.rollouts]\nmargim = 0.1\n"
    )
    with pytest.raises(SettingsError, match=r"applications.desk.rollouts: .*margim"):
        load_settings()
