"""Patterns of an application's own: checked as settings load, then applied before ours."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import SettingsError
from core.patterns import checked_pattern
from core.settings import FILE_VARIABLE, load_settings
from feedback.redaction.redactor import Redactor

CUSTOMER = {"customer_number": r"KD-\d{6}"}
USABLE = [
    r"KD-\d{6}",
    r"(?i)\bcase[ -]?\d{4,8}\b",
    r"(?:[A-Z]{2}-){1,3}\d{4,8}",
    r"(?:foo|bar|quux)-[a-z]{1,30}",
    r"(?<=ref )\d{5}(?!\d)",
    r"(?>a{1,5})b{2}",
    r"a{1,9}+(a|bc)?(?(1)d|e)",
]
REFUSED = [
    ("customer", "(", "is no regular expression"),
    ("customer", r"\d{9999999999}", "is no regular expression"),
    ("customer", "x*", "repeats|can match nothing"),
    ("customer", r"\b", "can match nothing"),
    ("customer", "(?=x)", "can match nothing"),
    ("customer", r"KD-\d+", r"repeats without a limit: write \{1,20\}"),
    ("customer", r"KD-\d*+x", "repeats without a limit"),
    ("customer", r"(?=.*x)KD", "repeats without a limit"),
    ("customer", "(a{1,20}){1,20}b", "over 1000 steps"),
    ("customer", "(?:a|ab|abc){1,20}d", "over 1000 steps"),
    ("customer", "(?:a?){1,50}a{50}", "over 1000 steps"),
    ("customer", "a{5000}", "over 1000 steps"),
    ("customer", "(?:a{1,30}){2000}", "over 1000 steps"),
    ("customer-number", "KD", "no identifier"),
    ("1st", "KD", "no identifier"),
    ("größe", "KD", "no identifier"),
]


@pytest.mark.parametrize("pattern", USABLE)
def test_a_pattern_with_limits_is_usable(pattern: str) -> None:
    """Groups, choices, look-around and bounded repetition are all there."""
    assert checked_pattern("customer", pattern).pattern == pattern


@pytest.mark.parametrize(("name", "pattern", "told"), REFUSED)
def test_a_pattern_that_cannot_be_used_is_refused_by_name(
    name: str, pattern: str, told: str
) -> None:
    """The message names the pattern, the fault and the mend."""
    with pytest.raises(SettingsError, match=told) as raised:
        checked_pattern(name, pattern)
    assert name in raised.value.message


@settings(deadline=None, max_examples=150)
@given(st.text(alphabet="ab|(){}1,2?[]^$.\\d", min_size=1, max_size=16))
def test_what_passes_is_quick_on_any_text(pattern: str) -> None:
    """Patterns made at random are refused, or take a bounded time for each character."""
    try:
        compiled = checked_pattern("customer", pattern)
    except SettingsError:
        return
    for text in ("a" * 3_000, "ab" * 1_500, "1" * 3_000):
        began = time.process_time()
        compiled.sub("", text)
        assert time.process_time() - began < 0.5


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A settings file; that it was read is forgotten afterwards, as the variable that names it."""
    monkeypatch.setenv(FILE_VARIABLE, "set, so that it is restored")
    return tmp_path / "ratchet.toml"


def test_settings_tell_a_wrong_pattern_as_they_load(file: Path) -> None:
    """The service does not start with it, and the message has application and pattern."""
    file.write_text(
        "[applications.shop]\napi_key = 'key'\nredaction_patterns = {customer = 'KD-[0-9]+'}\n"
    )
    with pytest.raises(SettingsError, match=r"applications\.shop.*pattern customer.*limit"):
        load_settings(file)


def test_two_names_that_share_a_placeholder_are_refused(file: Path) -> None:
    """Placeholders are in capitals, so names must differ in more than case."""
    file.write_text("[applications.shop]\napi_key='k'\nredaction_patterns={kd='a1', KD='b2'}\n")
    with pytest.raises(SettingsError, match="kd and KD would share a placeholder"):
        load_settings(file)


def test_own_patterns_become_numbered_placeholders() -> None:
    """The name is the entity; equal values share a number."""
    conversation = Redactor(CUSTOMER).conversation()
    assert conversation.redact("KD-123456, KD-654321, kd-111111") == (
        "[CUSTOMER_NUMBER_1], [CUSTOMER_NUMBER_2], kd-111111"
    )
    assert conversation.redact("KD-654321") == "[CUSTOMER_NUMBER_2]"


def test_own_patterns_come_before_ours() -> None:
    """A customer number that looks like a phone number is a customer number."""
    redactor = Redactor({"member": r"\+49 1\d{8}"})
    assert redactor.conversation().redact("+49 123456789, +49 30 901820") == "[MEMBER_1], [PHONE_1]"


def test_own_patterns_leave_placeholders_alone() -> None:
    """A pattern that would match a placeholder's inside does not."""
    redactor = Redactor({"code": r"[A-Z]{3,8}_\d"})
    once = redactor.conversation().redact("ABC_1 ann@x.example [EMAIL_7]")
    assert once == "[CODE_1] [EMAIL_1] [EMAIL_7]"
    assert redactor.conversation().redact(once) == once
