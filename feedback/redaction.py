"""Personal data and secrets out of text, before anything is written.

A first set of rules: e-mail, phone, payment card, IBAN, IP address, keys and tokens, each
replaced by a placeholder such as `[EMAIL]`. Rules with a check digit use it, and numbers that
a help desk lives on (times, prices, versions, order numbers) stay. Finds no names and no
street addresses. Pure: text in, text out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address

from core.settings import RedactionMode

Hint = Callable[[str], object]
Replace = Callable[[re.Match[str]], str]


@dataclass(frozen=True, slots=True)
class Rule:
    """`pattern` is tried only on a text in which `hint`, which is quicker, finds something."""

    hint: Hint
    pattern: re.Pattern[str]
    replace: Replace


def redact(text: str) -> str:
    """Return `text` with each e-mail, phone, card, IBAN, IP address and secret replaced."""
    for rule in RULES if _may_hold_any(text) else ():
        if rule.hint(text):
            text = rule.pattern.sub(rule.replace, text)
    return text


def redact_mode(text: str, mode: RedactionMode) -> str:
    """Return what an application's mode lets be written: all, the redacted text, or nothing."""
    if mode == "full":
        return text
    return redact(text) if mode == "redacted" else ""


def _finds(pattern: str) -> Hint:
    return re.compile(pattern).search


def _has_any(*words: str) -> Hint:
    """Look for lower-case words whatever their case: many times quicker than such a pattern."""

    def has_any(text: str) -> bool:
        lowered = text.lower()
        for word in words:  # noqa: SIM110 - `any` takes twice as long, and this runs on every text
            if word in lowered:
                return True
        return False

    return has_any


def _may_hold_any(text: str) -> bool:
    """Tell texts apart that no rule concerns: most answers. Each rule needs one of these."""
    return "@" in text or _DIGIT(text) is not None or "-----B" in text


# ---- secrets ---------------------------------------------------------------------------------
# Most forms ask for a digit: random strings have one, hyphenated words do not. Everything below
# is bounded, possessive, or starts only where a word starts, so that no text makes it slow.
_WORD_START = r"(?<![\w-])"
_SECRET_FORMS = (
    r"sk-(?=[\w-]*\d)[\w-]{16,}",  # OpenAI, Anthropic and those that follow them
    r"[prs]k_(?:live|test)_\w{10,}",  # Stripe
    r"gh[oprsu]_\w{20,}",  # GitHub
    r"github_pat_\w{20,}",
    r"glpat-[\w-]{16,}",  # GitLab
    r"xox[abeoprs]-[\w-]{10,}",  # Slack
    r"hf_(?=\w*\d)\w{20,}",  # Hugging Face
    r"AIza[\w-]{30,}",  # Google
    r"(?:AKIA|ASIA)[0-9A-Z]{16}\b",  # AWS access key id
    r"eyJ[\w-]{8,}+\.eyJ[\w-]{8,}+\.[\w-]*",  # JSON web token
)
_PRIVATE_KEY = (
    r"-----BEGIN [A-Z ]{0,32}PRIVATE KEY-----(?:[^-]|-(?!----))*+-----END [A-Z ]{0,32}KEY-----"
)
_SECRET = re.compile(rf"{_WORD_START}(?:{'|'.join(_SECRET_FORMS)})|{_PRIVATE_KEY}")
_SECRET_HINT = _has_any(
    *("sk-", "k_live_", "k_test_", "gho_", "ghp_", "ghr_", "ghs_", "ghu_", "github_pat_"),
    *("glpat-", "xox", "hf_", "aiza", "akia", "asia", "eyj", "-----b"),
)
_BEARER = re.compile(r"(?i)\b(bearer\s{1,8})(?=[\w.~+/=-]*\d)[\w.~+/=-]{16,}")
# name = value or name: value, the value with a letter and a digit: "password: hunter2hunter2"
_ASSIGNED = re.compile(
    r"(?i)(?<![^\W_])((?:api|access|secret|private)[ _-]?(?:access[ _-]?)?key|client[ _-]?secret"
    r"|(?:auth|access|api)[ _-]?token|password|passwd|pwd)"
    r"(\"?\s{0,4}[=:]\s{0,4}[\"']?)"
    r"(?=[^\s\"',;]{0,200}\d)(?=[^\s\"',;]{0,200}[a-z])[\w+/.~!@#$%^&*]{8}[^\s\"',;]*"
)

# ---- e-mail ----------------------------------------------------------------------------------
_EMAIL = re.compile(r"(?<![\w.%+-])[\w.%+-]++@(?:[^\W_][\w-]{0,62}\.){1,8}[^\W\d_][\w-]{1,62}")

# ---- payment card and IBAN -------------------------------------------------------------------
_IBAN_RUN = re.compile(
    r"\b[A-Za-z]{2}\d{2}"
    r"(?:[A-Za-z0-9]{11,30}+|(?: [A-Za-z0-9]{4}){2,7}+(?: [A-Za-z0-9]{1,3}\b)?)"
)
_IBAN_SHAPE = re.compile(r"[A-Z]{2}\d{2}[A-Z0-9]{11,30}")
_CARD_RUN = re.compile(r"(?<![\w.])\d(?:[ -]?\d){12,40}(?!\w)")
# Visa, Mastercard, Diners Club, American Express, Discover, UnionPay: the issuers' own ranges.
_CARD_SHAPE = re.compile(
    r"4\d{12}(?:\d{3}){0,2}|5[1-5]\d{14}|2[2-7]\d{14}|3[47]\d{13}|3[0689]\d{12}|6\d{15,18}"
)
_GROUP = re.compile(r"[A-Za-z0-9]+")
MAX_GROUPS = 9  # an IBAN of 34 characters in fours; a card has fewer
MIN_CODE_CHARS = 13  # the shortest card; the shortest IBAN has 15


def _is_card(digits: str) -> bool:
    """Tell a card number by its range and Luhn's check digit. Source: ISO/IEC 7812-1, annex B."""
    if not _CARD_SHAPE.fullmatch(digits):
        return False
    last_first = [int(digit) for digit in reversed(digits)]
    doubled = sum(sum(divmod(2 * digit, 10)) for digit in last_first[1::2])
    return (sum(last_first[::2]) + doubled) % 10 == 0


def _is_iban(text: str) -> bool:
    """Tell an IBAN by its check digits. Source: ISO 13616-1, MOD 97-10."""
    code = text.upper()
    if not _IBAN_SHAPE.fullmatch(code):
        return False
    return int("".join(str(int(char, 36)) for char in code[4:] + code[:4])) % 97 == 1


def _replace_within(run: str, is_it: Callable[[str], bool], placeholder: str) -> str:
    """Replace in `run` each longest row of groups that `is_it`: more digits may stand around it."""
    groups = list(_GROUP.finditer(run))
    for first in range(len(groups)):
        for after in range(min(len(groups), first + MAX_GROUPS), first, -1):
            code = "".join(group.group() for group in groups[first:after])
            if len(code) < MIN_CODE_CHARS:
                break
            if is_it(code):
                rest = _replace_within(run[groups[after - 1].end() :], is_it, placeholder)
                return run[: groups[first].start()] + placeholder + rest
    return run


def _replace_card(match: re.Match[str]) -> str:
    return _replace_within(match.group(), _is_card, "[CARD]")


def _replace_iban(match: re.Match[str]) -> str:
    return _replace_within(match.group(), _is_iban, "[IBAN]")


# ---- IP address ------------------------------------------------------------------------------
_IPV4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?!\w|\.\d)")
_IPV6 = re.compile(
    r"(?<![\w:.])[0-9A-Fa-f]{3,4}:(?:[0-9A-Fa-f]{0,4}:){1,6}[0-9A-Fa-f]{0,4}(?![\w:])"
)
_BEFORE_VERSION = re.compile(
    r"(?i)\b(?:versions?|ver|releases?|builds?|firmware|drivers?|(?:up(?:grad|dat)|releas)(?:e|ed|ing)"
    r"|install|patch)\b[\s\d.,:]*(?:(?:to|and|or|is|from|number)\b[\s\d.,:]*)*$"
)
CONTEXT_CHARS = 40  # how far before a number its meaning is looked for


def _replace_ip(match: re.Match[str]) -> str:
    """Spare versions, and addresses that name no machine: loopback, masks."""
    try:
        address = ip_address(match.group())
    except ValueError:
        return match.group()
    names_none = address.is_loopback or address.is_unspecified or address.is_reserved
    if names_none or _BEFORE_VERSION.search(_before(match)):
        return match.group()
    return "[IP]"


# ---- phone -----------------------------------------------------------------------------------
_PHONE_FORMS = (
    r"(?:\+|\b00)[1-9](?:[ ()./-]{0,3}\d){6,13}",  # international; at most 15 digits, ITU-T E.164
    r"(?:\b1[ .-])?\(?\b[2-9]\d\d\)?[ .-]{0,2}\b[2-9]\d\d[ .-]\d{4}",  # North American
    r"\b0[1-9](?P<between>[ .-])\d\d(?:(?P=between)\d\d){3}",  # French
    r"\(?\b0\d{2,4}\)?[ /-]{1,2}\d{3,8}(?:[ -]\d{2,5}){0,3}",  # national, with trunk prefix
    r"\b0[1-9]\d{8,9}",  # the same in one piece
)
_PHONE = re.compile(rf"(?<![\w+.#/-])(?:{'|'.join(_PHONE_FORMS)})(?!\w|[.,]\d)")
# "call me on 5551234567": a number that only its words make a phone number
_CALLED = re.compile(
    r"(?i)\b((?:phone|telephone|tel|mobile|cell|fax|whatsapp|call|text|ring)"
    r"(?: (?:me|us|no|number|is|at|on|under)\b){0,4}[.:]{0,2} {0,2})"
    r"(?!\d{4}[/-]\d\d?[/-]|\d\d?[/-]\d\d?[/-]\d)"  # a date
    r"\d(?:[ /-]?\d){6,14}(?!\w|[:.,]\d)"
)
_BEFORE_REFERENCE = re.compile(
    r"(?i)\b(?:order|invoice|ticket|case|ref|reference|tracking|serial|article|item|part|sku"
    r"|model|customer|account|contract|booking|parcel|product|code|barcode|id|sn)"
    r"(?: (?:no|nr|number|id|code|is))*[.:]? ?#?$"
)
MIN_PHONE_DIGITS = 9  # fewer are opening hours (0800-1800), dates and article numbers


def _replace_phone(match: re.Match[str]) -> str:
    """Spare short numbers, and those that the words before them call something else."""
    digits = sum(char.isdigit() for char in match.group())
    if digits < MIN_PHONE_DIGITS or _BEFORE_REFERENCE.search(_before(match)):
        return match.group()
    return "[PHONE]"


def _before(match: re.Match[str]) -> str:
    return match.string[max(0, match.start() - CONTEXT_CHARS) : match.start()]


def _placeholder(text: str) -> Replace:
    return lambda match: text


def _after(groups: str, text: str) -> Replace:
    return lambda match: match.expand(groups) + text


_DIGIT = re.compile(r"\d").search
_NAMES_SECRET = _has_any("key", "secret", "token", "passw", "pwd")
_IPV6_HINT = _finds(r"[0-9A-Fa-f]{3}:[0-9A-Fa-f:]")
_CALLED_HINT = _has_any("phone", "tel", "mobile", "cell", "fax", "whatsapp", "call", "text", "ring")

# Most specific first: what one rule has replaced, the next cannot take apart.
RULES = (
    Rule(_SECRET_HINT, _SECRET, _placeholder("[SECRET]")),
    Rule(_has_any("bearer"), _BEARER, _after(r"\1", "[SECRET]")),
    Rule(
        lambda text: ("=" in text or ":" in text) and _NAMES_SECRET(text),
        _ASSIGNED,
        _after(r"\1\2", "[SECRET]"),
    ),
    Rule(_has_any("@"), _EMAIL, _placeholder("[EMAIL]")),
    Rule(_finds(r"\d\d(?<=\b[A-Za-z]{2}\d\d)"), _IBAN_RUN, _replace_iban),
    Rule(_finds(r"\d(?:[ -]?\d){12}"), _CARD_RUN, _replace_card),
    Rule(lambda text: ":" in text and _IPV6_HINT(text), _IPV6, _replace_ip),
    Rule(_finds(r"\d\.\d"), _IPV4, _replace_ip),
    Rule(_finds(r"\d(?:[ ()./-]{0,3}\d){8}"), _PHONE, _replace_phone),
    Rule(_CALLED_HINT, _CALLED, _after(r"\1", "[PHONE]")),
)
