"""ADDRESS and BIRTH_DATE: where somebody lives, by the shape of a street; when they were born, by
the words before the date.

English, German, French and Spanish streets with a house number, and a town after them; a street
without a number, a town alone and a post-office box are not found. Pure.
"""

from __future__ import annotations

import re

from feedback.redaction.rule import FOUR_DIGITS, Rule, both, finds, has_any, part, whole

# Bounded everywhere: a capital, then at most 30 characters of one word
_WORD = r"[^\W\d_a-zß-ÿ][\w'\u2019-]{0,30}+"
_ENGLISH_ENDS = (
    "Street|St|Road|Rd|Avenue|Ave|Lane|Ln|Drive|Dr|Boulevard|Blvd|Court|Close|Way|Place"
    "|Terrace|Square|Crescent|Gardens|Grove|Row|Parkway|Pkwy|Highway|Hwy|Circle"
)
_UNIT = r"(?:,? (?:Apt|Apartment|Flat|Unit|Suite|Ste)\.? ?\w{1,6})?"
_TOWN_EN = (
    rf"(?:, {_WORD}(?: {_WORD}){{0,2}},? (?:[A-Z]{{2}} \d{{5}}(?:-\d{{4}})?"
    r"|[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}))?"
)
_ENGLISH = (
    rf"\b\d{{1,5}}[a-zA-Z]? (?:{_WORD}\.? ){{1,4}}?(?:{_ENGLISH_ENDS})\b(?:\.(?=,))?"
    rf"{_UNIT}{_TOWN_EN}"
)
_TOWN = rf"(?:,? \d{{4,5}} {_WORD})?"
_GERMAN_ENDS = "straße|strasse|str\\.|weg|platz|allee|gasse|ring|ufer|damm"
_GERMAN = (
    rf"\b(?:[^\W\d_a-zß-ÿ]\w{{1,30}}?-?(?:{_GERMAN_ENDS})|Am {_WORD}|An der {_WORD})"
    rf" \d{{1,4}}(?: ?[a-z])?\b{_TOWN}"
)
_ROMANCE_WORD = r"(?:d['\u2019]|l['\u2019])?[^\W\d_][\w'\u2019-]{0,30}+"
_FRENCH = (
    r"\b\d{1,4}(?: ?(?:bis|ter))?,? (?:rue|avenue|boulevard|place|chemin|impasse|allée|quai|route)"
    rf"(?: (?:de la|de l['\u2019]|des|de|du|la))?(?: {_ROMANCE_WORD}){{1,3}}?(?=[.,;\n]|$| \d| à)"
    rf"{_TOWN}"
)
_SPANISH = (
    r"\b(?:[Cc]alle|[Cc]/|[Aa]venida|[Aa]vda\.?|[Pp]laza|[Pp]aseo|[Cc]amino)"
    rf"(?: (?:de|del|la|las|los)){{0,2}}(?: {_WORD}){{1,3}},? (?:n\.? ?º ?|núm\.? ?)?"
    rf"\d{{1,4}}\b{_TOWN}"
)
_STREETS_EN = re.compile(_ENGLISH)
_STREETS_DE = re.compile(_GERMAN)
_STREETS_FR = re.compile(_FRENCH)
_STREETS_ES = re.compile(_SPANISH)

_MONTH = (
    "jan(?:uary|uar|vier)?|feb(?:ruary|ruar)?|f[ée]vrier|mar(?:ch|s|zo)?|märz|apr(?:il)?|avril"
    "|ma[iy]|mai|ma[iy]o|jun[ei]?|juin|junio|jul[yi]?|juillet|julio|aug(?:ust)?|août|agosto"
    "|sep(?:tember|tembre|tiembre)?|o[ck]t(?:ober|obre|ubre)?|nov(?:ember|embre|iembre)?"
    "|de[cz](?:ember)?|d[ée]cembre|diciembre|enero|febrero|abril"
)
_DATE = (
    r"\d{4}[./-]\d{1,2}[./-]\d{1,2}|\d{1,2}[./-]\d{1,2}[./-]\d{2,4}"
    rf"|\d{{1,2}}(?:st|nd|rd|th|er|\.)?(?: of| de)? (?:{_MONTH})\.?,?(?: de| del)? \d{{4}}"
    rf"|(?:{_MONTH})\.? \d{{1,2}}(?:st|nd|rd|th)?,? \d{{4}}"
)
_BORN = re.compile(
    r"(?i)\b(?:born|date of birth|birth ?date|birthday|d\.?o\.?b\.?|geboren|geburtsdatum|geburtstag"
    r"|geb\.|née?|date de naissance|nac(?:í|ido|ida)|fecha de nacimiento|nat[oa]|data di nascita)"
    rf"(?: (?:is|was|on|the|am|ist|le|est|el|es|il)\b){{0,2}} ?:? {{0,2}}(?P<it>{_DATE})(?!\w)"
)
_BORN_HINT = has_any(
    *("born", "birth", "dob", "d.o.b", "gebor", "geburt", "geb.", "naiss", "naci", "nací"),
    *("né ", "née ", "nato ", "nata ", "nascita"),
)
_NUMBERED = finds(r"\d[a-zA-Z]? [^\W\d_a-zß-ÿ]")  # 12 Elm Street
_ENGLISH_HINT = has_any(
    *("street", " st", "road", " rd", "avenue", " ave", "lane", " ln", "drive", " dr", "boulevard"),
    *("blvd", "court", "close", " way", "place", "terrace", "square", "crescent", "gardens"),
    *("grove", " row", "parkway", "pkwy", "highway", "hwy", "circle"),
)
_GERMAN_HINT = has_any(
    *("straße", "strasse", "str.", "weg ", "platz ", "allee ", "gasse ", "ring ", "ufer ", "damm "),
    *("am ", "an der "),
)
_FRENCH_HINT = has_any(
    *(" rue ", " avenue ", " boulevard ", " place ", " chemin ", " impasse ", " allée ", " quai "),
    " route ",
)
_SPANISH_HINT = has_any("calle ", "c/ ", "avenida ", "avda", "plaza ", "paseo ", "camino ")

STREETS = (
    Rule("ADDRESS", both(_NUMBERED, _ENGLISH_HINT), whole(_STREETS_EN)),
    Rule("ADDRESS", _GERMAN_HINT, whole(_STREETS_DE)),
    Rule("ADDRESS", _FRENCH_HINT, whole(_STREETS_FR)),
    Rule("ADDRESS", _SPANISH_HINT, whole(_STREETS_ES)),
)
BIRTHS = (Rule("BIRTH_DATE", _BORN_HINT, part(_BORN), FOUR_DIGITS),)
