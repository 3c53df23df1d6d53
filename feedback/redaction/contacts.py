"""EMAIL, PHONE and IP: the addresses by which a person or a machine is reached.

A phone number is told by its international prefix, by a national form, or by the word before it;
numbers that the words before them call something else stay, as do versions. Pure.
"""

from __future__ import annotations

import re
from ipaddress import ip_address

from feedback.redaction.rule import (
    FOUR_DIGITS,
    NINE_DIGITS,
    SEVEN_DIGITS,
    Rule,
    before,
    both,
    finds,
    has_any,
    starting,
    whole,
)

_EMAIL = re.compile(r"(?<![\w.%+-])[\w.%+-]++@(?:[^\W_][\w-]{0,62}\.){1,8}[^\W\d_][\w-]{1,62}")

# ---- IP address ------------------------------------------------------------------------------
_IPV4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?!\w|\.\d)")
_IPV6 = re.compile(
    r"(?<![\w:.])[0-9A-Fa-f]{3,4}:(?:[0-9A-Fa-f]{0,4}:){1,6}[0-9A-Fa-f]{0,4}(?![\w:])"
)
_BEFORE_VERSION = re.compile(
    r"(?i)\b(?:versions?|ver|releases?|builds?|firmware|drivers?|(?:up(?:grad|dat)|releas)(?:e|ed|ing)"
    r"|install|patch|section|chapter|abschnitt|kapitel)\b[\s\d.,:]*"
    r"(?:(?:to|and|or|is|from|number|after|before|since)\b[\s\d.,:]*)*$|[=<>~!]=\s?$"
)


def _is_ip(match: re.Match[str]) -> bool:
    """Spare versions, and addresses that name no machine: loopback, masks."""
    try:
        address = ip_address(match.group())
    except ValueError:
        return False
    names_none = address.is_loopback or address.is_unspecified or address.is_reserved
    return not names_none and _BEFORE_VERSION.search(before(match)) is None


# ---- phone -----------------------------------------------------------------------------------
_PHONE_FORMS = (
    r"(?:\+|\b00)[1-9](?:[ ()./-]{0,3}\d){6,13}",  # international; at most 15 digits, ITU-T E.164
    r"(?:\b1[ .-])?\(?\b[2-9]\d\d\)?[ .-]{0,2}\b[2-9]\d\d[ .-]\d{4}",  # North American
    r"\(\d{3}\)\d{3}-\d{4}",
    r"\(0\d\) ?\d{4}[ -]?\d{4}",  # Australian
    r"\b0[1-9](?P<between>[ .-])\d\d(?:(?P=between)\d\d){3}",  # French
    r"\(?\b0\d{2,4}\)?[ /-]{1,2}\d{3,8}(?:[ -]\d{2,5}){0,3}",  # national, with trunk prefix
    r"\b0[1-9]\d{8,9}",  # the same in one piece
)
_PHONE = re.compile(rf"(?:{'|'.join(_PHONE_FORMS)})(?!\w|[.,]\d)")
_PHONE_START = re.compile(r"[+(\d](?<![\w+.#/-].)")
# "call me on 5551234567": a number that only its words make a phone number
_SOME_NUMBER = re.compile(
    r"(?!\d{4}[/-]\d\d?[/-]|\d\d?[/-]\d\d?[/-]\d)"  # a date
    r"\d(?:[ ./-]?\d){6,14}(?!\w|[:.,]\d)"
)
_NUMBER_START = re.compile(r"\d(?<![\w.,+/#-].)")
_LINKS = r"(?: (?:me|us|no|number|nummer|is|ist|at|on|under|unter|es)\b)"
_BEFORE_CALLED = re.compile(
    r"(?i)\b(?:(?:phone|telephone|tel|mobile|cell|fax|whatsapp|telefon|handy|mobil|anrufen"
    rf"|portable|teléfono|móvil){_LINKS}{{0,4}}[.:]{{0,2}} {{0,2}}"
    rf"|(?P<verb>call|text|ring)(?P<links>{_LINKS}{{0,4}}[.:]{{0,2}}) {{0,2}}"
    r"|my number(?: is|:) {1,2})$"
)
BEFORE_REFERENCE = re.compile(
    r"(?i)\b(?:order|invoice|ticket|case|ref|reference|tracking|serial|article|item|part|sku"
    r"|model|customer|account|contract|booking|parcel|product|code|barcode|id|sn|policy|batch"
    r"|isbn|ean|gtin|bestellung|bestellnummer|bestellnr|artikel|artikelnummer|rechnung|auftrag"
    r"|commande|facture|pedido|factura|producto)"
    r"(?: (?:no|nr|number|id|code|is))*[.:]? ?#?$"
)
_ZIP = re.compile(r"\b[A-Z]{2},? \d{5}-\d{4}$")
MIN_PHONE_DIGITS = 9  # fewer are opening hours (0800-1800), dates and article numbers


def _is_phone(match: re.Match[str]) -> bool:
    """Spare short numbers, and those that the words before them call something else."""
    digits = sum(char.isdigit() for char in match.group())
    if match.group() == "0123456789" or _ZIP.search(before(match) + match.group()):
        return False  # the digits themselves; MA 02110-1301
    return digits >= MIN_PHONE_DIGITS and BEFORE_REFERENCE.search(before(match)) is None


def _is_called(match: re.Match[str]) -> bool:
    """After "phone", or "call me on"; after a mere "call" only what is as long as a number."""
    called = _BEFORE_CALLED.search(before(match))
    if called is None or not called["verb"] or called["links"]:
        return called is not None
    return sum(char.isdigit() for char in match.group()) >= MIN_PHONE_DIGITS


_IPV6_HINT = finds(r"[0-9A-Fa-f]{3}:[0-9A-Fa-f:]")

EMAILS = (Rule("EMAIL", has_any("@"), whole(_EMAIL)),)
ADDRESSES = (
    Rule("IP", both(has_any(":"), _IPV6_HINT), whole(_IPV6, _is_ip)),
    Rule("IP", finds(r"\d\.\d{1,3}\.\d{1,3}\.\d"), whole(_IPV4, _is_ip), FOUR_DIGITS),
)
PHONES = (
    Rule(
        "PHONE",
        finds(r"\d(?:[ ()./-]{0,3}\d){8}"),
        starting(_PHONE_START, _PHONE, _is_phone),
        NINE_DIGITS,
    ),
    Rule(
        "PHONE",
        finds(r"\d(?:[ ./-]?\d){6}"),
        starting(_NUMBER_START, _SOME_NUMBER, _is_called),
        SEVEN_DIGITS,
    ),
)
