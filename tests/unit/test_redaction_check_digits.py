"""Check digits: published numbers pass, and no changed digit does."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from feedback.redaction import check_digits as check

# Examples that the issuers, or the standards, publish
PUBLISHED = [
    (check.luhn, "4111111111111111"),
    (check.mod_97, "DE89370400440532013000"),
    (check.mod_97, "GB82WEST12345698765432"),
    (check.steuer_id, "86095742719"),
    (check.steuer_id, "65929970489"),
    (check.rentenversicherung, "15070649C103"),
    (check.rentenversicherung, "65170839J003"),
    (check.nir, "255081416802538"),
    (check.nir, "187122A00401284"),
    (check.dni, "12345678Z"),
    (check.dni, "X1234567L"),
    (check.codice_fiscale, "RSSMRA85T10A562S"),
    (check.bsn, "111222333"),
    (check.pesel, "44051401359"),
    (check.personnummer, "8112289874"),
    (check.personnummer, "6408233234"),
    (check.cpf, "11144477735"),
    (check.cpf, "52998224725"),
    (check.aadhaar, "234123412346"),
    (check.ahv, "7569217076985"),
]


@pytest.mark.parametrize(("is_valid", "code"), PUBLISHED)
def test_published_numbers_pass(is_valid: Callable[[str], bool], code: str) -> None:
    """The algorithm is the issuer's."""
    assert is_valid(code)


@pytest.mark.parametrize(("is_valid", "code"), PUBLISHED)
def test_a_changed_last_place_fails(is_valid: Callable[[str], bool], code: str) -> None:
    """The check digit or letter is looked at: each other one is wrong."""
    others = "0123456789" if code[-1].isdigit() else "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    assert not any(is_valid(code[:-1] + other) for other in others if other != code[-1])


@pytest.mark.parametrize(
    "number", ["000123456", "666123456", "912345678", "123004567", "123450000"]
)
def test_numbers_that_are_never_given_out_are_none(number: str) -> None:
    """A US number has no check digit, but ranges that do not exist."""
    assert check.ssn("219099999")
    assert not check.ssn(number)


def test_numbers_without_a_person_are_none() -> None:
    """Eleven equal digits pass CPF's sums; months and days must be some."""
    assert not check.cpf("11111111111")
    assert not check.pesel("44131401357")
    assert not check.steuer_id("12345678903")
