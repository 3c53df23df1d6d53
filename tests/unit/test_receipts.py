"""Receipts: what was signed comes back, and nothing else is believed."""

from __future__ import annotations

import string
from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import AuthenticationError
from feedback import receipts
from feedback.receipts import Receipt, sign, verify

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
NEW, OLD = b"new key", b"old key"
RECEIPT = Receipt(
    interaction_id="01960000-0000-7000-8000-000000000001",
    application="desk",
    subject="ab" * 16,
    adapter="desk--v3",
    arm="canary",
    issued_at=int(NOW.timestamp()),
    expires_at=int((NOW + timedelta(days=30)).timestamp()),
)


def test_a_receipt_comes_back_whole() -> None:
    """Every field survives signing and verifying."""
    assert verify(sign(RECEIPT, (NEW,)), (NEW,), NOW) == RECEIPT


def test_a_receipt_without_subject_and_adapter_comes_back_whole() -> None:
    """Anonymous people rate the base model too."""
    receipt = Receipt(interaction_id="i", application="desk", issued_at=0, expires_at=1 << 40)
    assert verify(sign(receipt, (NEW,)), (NEW,), NOW) == receipt


def test_a_receipt_fits_a_header() -> None:
    """It has only URL-safe characters, and not many."""
    token = sign(RECEIPT, (NEW,))
    assert set(token) <= set(string.ascii_letters + string.digits + "-_.")
    assert len(token) < 400


def test_the_newest_key_signs_and_all_keys_verify() -> None:
    """Keys rotate without spoiling the receipts that people hold."""
    assert sign(RECEIPT, (NEW, OLD)) == sign(RECEIPT, (NEW,))
    assert verify(sign(RECEIPT, (OLD,)), (NEW, OLD), NOW) == RECEIPT
    with pytest.raises(AuthenticationError, match="signature is wrong"):
        verify(sign(RECEIPT, (OLD,)), (NEW,), NOW)


def test_a_receipt_expires() -> None:
    """It is good until the second it names, and the message says when that was."""
    token = sign(RECEIPT, (NEW,))
    end = NOW + timedelta(days=30)
    assert verify(token, (NEW,), end - timedelta(seconds=1)) == RECEIPT
    with pytest.raises(AuthenticationError, match="expired at 2026-02-01T12:00:00"):
        verify(token, (NEW,), end)


@settings(deadline=None)
@given(st.data())
def test_no_character_can_be_changed(data: st.DataObject) -> None:
    """Whatever one puts at whatever place, the receipt is refused."""
    token = sign(RECEIPT, (NEW,))
    place = data.draw(st.integers(0, len(token) - 1))
    char = data.draw(st.characters().filter(lambda char: char != token[place]))
    with pytest.raises(AuthenticationError):
        verify(token[:place] + char + token[place + 1 :], (NEW,), NOW)


@pytest.mark.parametrize("token", ["", ".", "abc", "a.b", "a.b.c", "é.é", "\ud800.x", "x" * 5000])
def test_what_is_no_receipt_is_refused(token: str) -> None:
    """Garbage gets the same kind of answer as a forgery, and says which field it came in."""
    with pytest.raises(AuthenticationError) as caught:
        verify(token, (NEW,), NOW)
    assert caught.value.field == "receipt"


def test_a_signed_payload_of_another_form_is_refused() -> None:
    """A receipt that another version signed is malformed to this one, not a fault."""
    payload = urlsafe_b64encode(b'{"i":1}').rstrip(b"=").decode()
    signature = receipts._signature(payload, NEW)  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(AuthenticationError, match="malformed"):
        verify(f"{payload}.{signature}", (NEW,), NOW)
