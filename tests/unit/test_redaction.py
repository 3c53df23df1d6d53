"""Redaction: personal data and secrets go, what a help desk talks about stays."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.settings import RedactionMode
from feedback.redaction import redact, redact_mode

FOUND = [
    ("write to bob@example.com please", "write to [EMAIL] please"),
    ("Bob.O+tag@mail.example.co.uk.", "[EMAIL]."),
    ("jürgen@exämple.de, ann@b.org", "[EMAIL], [EMAIL]"),
    ("call +49 30 901820 or +1 (555) 010-9999", "call [PHONE] or [PHONE]"),
    ("+44 20 7946 0018", "[PHONE]"),
    ("0049 30 901820", "[PHONE]"),
    ("(202) 555-0143, 202.555.0143, 1-800-555-0199", "[PHONE], [PHONE], [PHONE]"),
    ("Tel. 030 901820 12", "Tel. [PHONE]"),
    ("0171/1234567", "[PHONE]"),
    ("06 12 34 56 78", "[PHONE]"),
    ("07911123456", "[PHONE]"),
    ("call me on 5551234567!", "call me on [PHONE]!"),
    ("my phone: 555-1234", "my phone: [PHONE]"),
    ("4111 1111 1111 1111", "[CARD]"),
    ("card 4111-1111-1111-1111 exp 12/27", "card [CARD] exp 12/27"),
    ("5555555555554444 and 378282246310005", "[CARD] and [CARD]"),
    ("4111 1111 1111 1111 12 27", "[CARD] 12 27"),
    ("ref 12 4111 1111 1111 1111", "ref 12 [CARD]"),
    ("4111 1111 1111 1111 5555 5555 5555 4444", "[CARD] [CARD]"),
    ("DE89 3704 0044 0532 0130 00", "[IBAN]"),
    ("de89370400440532013000.", "[IBAN]."),
    ("GB82 WEST 1234 5698 7654 32 THIS IS IT", "[IBAN] THIS IS IT"),
    ("from 192.168.1.10 to 8.8.8.8:53", "from [IP] to [IP]:53"),
    ("2001:db8::8a2e:370:7334", "[IP]"),
    ("fe80::1 and 2001:0db8:0000:0000:0000:ff00:0042:8329", "[IP] and [IP]"),
    ("sk-proj-abcdefghij1234567890", "[SECRET]"),
    ("key sk-ant-api03-abcdefghijkl_12345678.", "key [SECRET]."),
    ("Authorization: Bearer abcDEF123456789012345", "Authorization: Bearer [SECRET]"),
    ("AKIAIOSFODNN7EXAMPLE", "[SECRET]"),
    (
        "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "aws_secret_access_key = [SECRET]",
    ),
    ("MY_API_KEY=abcd1234efgh", "MY_API_KEY=[SECRET]"),
    ('{"api_key": "abcd1234efgh"}', '{"api_key": "[SECRET]"}'),
    ("ghp_abcdefghijklmnopqrst1234567890abcdef", "[SECRET]"),
    ("password: hunter2hunter2", "password: [SECRET]"),
    ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc-def", "[SECRET]"),
    (
        "-----BEGIN RSA PRIVATE KEY-----\nMIIabc+/=1\n-----END RSA PRIVATE KEY-----\nthanks",
        "[SECRET]\nthanks",
    ),
]

KEPT = [
    "You can reset it within 30 minutes.",
    "order 12345",
    "order number 0012345678",
    "Order #0123456789",
    "invoice 2024-000123, tracking number 1234567890123456",
    "open 08:00-18:00",
    "Mon 0800-1800",
    "Mon-Fri 08:00 - 18:00, Sat 09:00-12:30",
    "It costs $1,299.00, or 1.299,00 EUR, up to 1 000 000 users",
    "version 1.2.3.4 and v10.0.0.1",
    "please upgrade to 5.4.3.2 from 5.4.3.1",
    "Python 3.11.7 on Windows 10.0.19041.1",
    "2024-05-06 08:00:00",
    "05-06-2024 10:30",
    "call us on 2024-05-06 or on 12/05/2024",
    "call us 24/7, within 24-48 hours, within 3-5 business days",
    "password: at least 12 characters",
    "Password: 12-character minimum",
    "the bearer responsibilities of internationalisation",
    "std::vector<int> and cafe::add",
    "MAC 00:1A:2B:3C:4D:5E",
    "mask 255.255.255.0 at 127.0.0.1",
    "card 4111 1111 1111 1112 has a wrong check digit",
    "DE88370400440532013000 has wrong check digits",
    "room AB12 with four more some text, host 999.1.1.1",
    "ISBN 978-0-306-40615-7",
    "550e8400-e29b-41d4-a716-446655440000",
    "task-management-2-with-a-long-name, sk-learn-is-a-long-hyphenated-word",
    "user@host, @mention, pkg@1.2.3",
    "at 1715000000000 ms",
    "10 x 20 x 30 cm",
    "error 0x80070005 on ports 8000, 8100 and 5432",
    "",
]

TEXTS = [text for text, _ in FOUND] + KEPT


@pytest.mark.parametrize(("text", "redacted"), FOUND)
def test_personal_data_is_replaced_and_its_surroundings_stay(text: str, redacted: str) -> None:
    """Each kind becomes its placeholder and nothing around it changes."""
    assert redact(text) == redacted


@pytest.mark.parametrize("text", KEPT)
def test_what_a_help_desk_talks_about_stays(text: str) -> None:
    """Times, prices, versions, order numbers and failed check digits are no personal data."""
    assert redact(text) == text


def test_several_kinds_in_one_text_are_all_replaced() -> None:
    """One rule does not stop the next."""
    text = "I am bob@example.com, card 4111111111111111, at 10.1.2.3, phone +49 30 901820."
    assert redact(text) == "I am [EMAIL], card [CARD], at [IP], phone [PHONE]."


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.sampled_from([text for text, _ in FOUND] + KEPT) | st.text(max_size=20), max_size=8)
)
def test_redacting_twice_is_redacting_once(parts: list[str]) -> None:
    """Placeholders are never taken for personal data."""
    once = redact("\n".join(parts))
    assert redact(once) == once


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("full", "I am bob@example.com"), ("redacted", "I am [EMAIL]"), ("metadata_only", "")],
)
def test_each_mode_writes_as_much_as_it_says(mode: RedactionMode, expected: str) -> None:
    """All, the redacted text, or nothing."""
    assert redact_mode("I am bob@example.com", mode) == expected


@pytest.mark.parametrize(
    "part",
    ["a", "a@", "sk-", "eyJ-", "password=", "-----BEGIN PRIVATE KEY-----", "1234 ", "1 ", "+1 ",
     "AB12 ", "abc:", "1.", "call ", "0", "(0)", "bearer ", "@a."],
)  # fmt: skip
def test_no_text_makes_it_slow(part: str) -> None:
    """The time grows with the length and not with its square: 100,000 characters stay quick."""
    text = part * (100_000 // len(part)) + " 1@"
    began = time.process_time()
    redact(text)
    assert time.process_time() - began < 2
