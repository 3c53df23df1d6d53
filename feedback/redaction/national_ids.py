"""NATIONAL_ID: numbers by which a state knows a person, of thirteen countries.

A number with check digits, or in a form that nothing else has, is taken as it stands; one without
needs the words before it. Passports, identity cards and licences are told by their words alone.
Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from feedback.redaction import check_digits
from feedback.redaction.contacts import BEFORE_REFERENCE
from feedback.redaction.rule import (
    NINE_DIGITS,
    SIX_DIGITS,
    Rule,
    before,
    both,
    finds,
    has_any,
    has_long_word,
    part,
    starting,
    whole,
)

Check = Callable[[str], bool]

_NUMBER = re.compile(
    r"(?:"
    r"(?P<ssn>\d{3}-\d\d-\d{4})"
    r"|(?P<personnummer>(?:\d\d)?\d{6}[-+]\d{4})"
    r"|(?P<cpf>\d{3}\.\d{3}\.\d{3}-\d\d)"
    r"|(?P<ahv>756\.\d{4}\.\d{4}\.\d\d)"
    r"|(?P<nir>[12] ?\d\d ?\d\d ?(?:\d\d|2[AB]) ?\d{3} ?\d{3} ?\d\d)"
    r"|(?P<steuer>\d\d \d{3} \d{3} \d{3})"
    r"|(?P<aadhaar>\d{4} \d{4} \d{4})"
    r"|(?P<spaced>\d{3} \d\d \d{4})"
    r"|(?P<solid>\d{9,13})"
    r")(?![\w/]|[.,-]\d| \d{4}\b)"
)
_NUMBER_START = re.compile(r"\d(?<![\w.,+/#-].)")
_CODE = re.compile(
    r"(?i)(?<![\w-])(?:"
    r"(?P<nino>[a-ceghj-prtw-z][a-ceghj-nprtw-z] ?\d\d ?\d\d ?\d\d ?[a-d])"
    r"|(?P<pension>\d\d ?\d{6} ?[a-z] ?\d{3})"
    r"|(?P<dni>\d{8}-?[a-z]|\d\d\.\d{3}\.\d{3}-?[a-z]|[xyz]-?\d{7}-?[a-z])"
    r")(?![\w-])"
)
_FISCALE = re.compile(
    r"(?i)(?<![\w-])(?P<fiscale>[a-z]{6}\d\d[a-ehlmprst]\d\d[a-z]\d{3}[a-z])(?![\w-])"
)
_NEVER_NINO = re.compile(r"(?:BG|GB|KN|NK|NT|TN|ZZ)")  # prefixes not given out: HMRC, NIM39110
_CONTEXTS: dict[str, re.Pattern[str]] = {
    name: re.compile(rf"(?i)(?:\b(?:{words})\b)[^.!?\n]*$")
    for name, words in {
        "ssn": "ssn|social security|social",
        "bsn": "bsn|burgerservicenummer|sofinummer",
        "personnummer": "personnummer|swedish id|personal identity number",
    }.items()
}


def _has(name: str, match: re.Match[str]) -> bool:
    return _CONTEXTS[name].search(before(match)) is not None


def _is_number(match: re.Match[str]) -> bool:
    """Tell by form and check digits; by context where these could be anything."""
    form, digits = match.lastgroup or "", re.sub(r"[^0-9AB]", "", match.group())
    if form == "solid":
        return _is_solid(digits, match)
    if form == "spaced":
        return check_digits.ssn(digits) and _has("ssn", match)
    checks: dict[str, Check] = {
        "ssn": check_digits.ssn,
        "personnummer": lambda code: check_digits.personnummer(code[-10:]),
        "cpf": check_digits.cpf,
        "ahv": check_digits.ahv,
        "nir": check_digits.nir,
        "steuer": check_digits.steuer_id,
        "aadhaar": check_digits.aadhaar,
    }
    return checks[form](digits) and _is_no_reference(match)


def _is_solid(digits: str, match: re.Match[str]) -> bool:
    """Tell a number without separators: by its length there are few that it can be."""
    length = len(digits)
    if length == 9:
        checked_ssn = check_digits.ssn(digits) and _has("ssn", match)
        return checked_ssn or (check_digits.bsn(digits) and _has("bsn", match))
    if length == 11:
        is_any = (
            check_digits.steuer_id(digits) or check_digits.pesel(digits) or check_digits.cpf(digits)
        )
        return is_any and _is_no_reference(match)
    if length == 12 and check_digits.aadhaar(digits):
        return re.search(r"(?i)\baadhaa?r\b|\buid", before(match)) is not None
    is_swedish = length in (10, 12) and check_digits.personnummer(digits[-10:])
    return is_swedish and _has("personnummer", match)


def _is_code(match: re.Match[str]) -> bool:
    form, code = match.lastgroup, re.sub(r"[ .-]", "", match.group()).upper()
    checks: dict[str | None, Check] = {
        "nino": lambda code: _NEVER_NINO.match(code) is None,
        "pension": check_digits.rentenversicherung,
        "dni": check_digits.dni,
        "fiscale": check_digits.codice_fiscale,
    }
    return checks[form](code) and _is_no_reference(match)


def _is_no_reference(match: re.Match[str]) -> bool:
    """Spare what the words before it call an order, an article and the like; no "tax id"."""
    told = _OWN_ID.sub("", before(match))
    return BEFORE_REFERENCE.search(told) is None


_OWN_ID = re.compile(r"(?i)\b(?:tax|steuer|swedish|spanish|national|personal)[ -]id")

# papers whose numbers have no form of their own: the words before them tell
_PAPERS = (
    r"passport|reisepass|passeport|pasaporte|passaporto|personalausweis|ausweis"
    r"|(?:national )?id(?:entity)? card|carte d['\u2019]identité"
    r"|driv(?:ing|er['\u2019]?s?) licen[cs]e"
    r"|führerschein|permis de conduire|permiso de conducir"
    r"|nino|national insurance(?: number)?"
)
_PAPER = re.compile(
    rf"(?i)\b(?:{_PAPERS})(?:nummer|nr)?"
    r"(?: (?:no|nr|number|numero|numéro|número|is|ist|est|es)\b){0,4}"
    r"[.:#]? {0,2}(?:is |ist |est |es )?(?P<it>(?=[a-z]{0,8}\d)[a-z0-9]{7,18})(?!\w)"
)
_PAPER_HINT = has_any(
    *("passport", "reisepass", "passeport", "pasaporte", "passaporto", "ausweis", "id card"),
    *("identity card", "carte d", "licen", "führerschein", "permis", "nino", "national insurance"),
)
# six digits and a letter, in the ways of three of the codes; the fourth mixes them
_CODE_HINT = finds(
    r"\d(?:\d ?\d\d ?\d\d ?[A-Da-d]\b|\d\d\.?\d{3}-?[A-Za-z]\b"
    r"|\d{3} ?[A-Za-z] ?\d{3}\b)"
)
_FISCALE_HINT = both(has_long_word, finds(r"\d\d[A-Za-z]\d\d[A-Za-z]\d"))

RULES = (
    Rule(
        "NATIONAL_ID",
        finds(r"\d(?:[ .+-]?\d){8}"),
        starting(_NUMBER_START, _NUMBER, _is_number),
        NINE_DIGITS,
    ),
    Rule("NATIONAL_ID", _CODE_HINT, whole(_CODE, _is_code), SIX_DIGITS),
    Rule("NATIONAL_ID", _FISCALE_HINT, whole(_FISCALE, _is_code)),
    Rule("NATIONAL_ID", _PAPER_HINT, part(_PAPER)),
)
