"""CURATE: which rows may hold personal data, told by Arrow: a pattern for each entity.

The rules of `feedback.redaction` are Python's, and take tens of microseconds a text. These
patterns are wider and quicker: where a rule finds something, the entity's pattern does too, so a
row without any needs no rule. A new rule of an entity belongs here as well; the labelled texts of
the redaction's tests hold both to it. Names have no pattern: `feedback.redaction.sift` tells them.
"""

from __future__ import annotations

# What Python's classes hold and RE2's do not: the digits, letters and spaces of all scripts
_D = r"\p{Nd}"
_S = (
    r"[\s\x0b\x{1c}-\x{1f}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}"
    r"\x{3000}]"
)
_CAPITALISED = r"[A-Z\x{80}-\x{10ffff}]\S*"  # no small letter of ASCII before the rest
_PASSWORD = r"password|passwort|kennwort|passphrase|contrase[ñn]a|mot de passe"
_MONTH = r"jan|f[eé]|m[aä]|a[pvbgo]|ju|sep|o[ck]t|nov|d[eé]|en"

_SECRET = (
    r"-----BEGIN [A-Z ]*PRIVATE",
    rf"(?:\A|[^\w-])sk-\S*{_D}",
    r"[prs]k_(?:live|test)_|whsec_|gh[oprsu]_|github_pat_|glpat-",
    r"xox[abeoprs]-|hf_|npm_|pypi-|SG\.|AIza|AKIA|ASIA|eyJ",
    rf"(?i:bearer|basic){_S}+[\p{{L}}\p{{N}}_.~+/=-]*{_D}",
    r"://[^\s/@:]*:[^\s/@]+@",
    rf"(?i:key|secret|token|passwd|pass|{_PASSWORD}|pwd|credentials?|auth|salt|signature|dsn)"
    rf"[\"']?{_S}*[=:]{_S}*[\"']?[^\s\"',;&]*{_D}",
    rf"(?i:{_PASSWORD}|passcode|pw)(?i: is| ist| lautet| est| es|:) *:? *[\"']?[^\s\"']*{_D}",
    rf"(?i:pin)(?i: code| number)?(?i: is|:) *{_D}",
    rf";{_S}*(?i:password|pwd){_S}*=",
)
_SEVEN_DIGITS = rf"{_D}(?:[ ()./\r\n+-]*{_D}){{6}}"  # as `sift.look` sees them
_NATIONAL_ID = (
    _SEVEN_DIGITS,
    rf"(?i:[a-z]{{2}}) ?{_D}{_D} ?{_D}{_D} ?{_D}{_D} ?(?i:[a-d])",
    rf"(?i:[a-z]{{6}}){_D}{_D}(?i:[a-z]){_D}{_D}(?i:[a-z]){_D}",
    r"(?i:passport|reisepass|passeport|pasaporte|passaporto|ausweis|id card|identity card|carte d"
    r"|licen[cs]e|führerschein|permis|nino|national insurance)" + rf"[^\n]*{_D}",
)
_ADDRESS = (
    rf"{_D}[a-zA-Z]? (?:{_CAPITALISED} )+(?:Street|St|Road|Rd|Avenue|Ave|Lane|Ln|Drive|Dr|Boulevard"
    r"|Blvd|Court|Close|Way|Place|Terrace|Square|Crescent|Gardens|Grove|Row|Parkway|Pkwy|Highway"
    r"|Hwy|Circle)",
    rf"(?:straße|strasse|str\.|weg|platz|allee|gasse|ring|ufer|damm) {_D}",
    rf"A(?:m|n der) {_CAPITALISED} {_D}",
    rf"{_D} ?(?:bis|ter)?,? (?:rue|avenue|boulevard|place|chemin|impasse|allée|quai|route)",
    rf"(?:[Cc]alle|[Cc]/|[Aa]venida|[Aa]vda\.?|[Pp]laza|[Pp]aseo|[Cc]amino) [^\n]*{_D}",
)
_BIRTH_DATE = (
    r"(?i:born|date of birth|birth ?date|birthday|d\.?o\.?b\.?|geboren|geburtsdatum|geburtstag"
    r"|geb\.|née?|naissance|nac(?:í|ido|ida)|nacimiento|nat[oa]|nascita)"
    rf"(?i: (?:is|was|on|the|am|ist|le|est|el|es|il)){{0,2}} ?:? *(?:{_D}|(?i:{_MONTH}))",
)
SIGNS = {
    "SECRET": "|".join(_SECRET),
    "EMAIL": r"[\p{L}\p{N}_.%+-]@[\p{L}\p{N}]",
    "IBAN": _SEVEN_DIGITS,
    "CARD": _SEVEN_DIGITS,
    "IP": rf"[0-9A-Fa-f]{{3}}:[0-9A-Fa-f:]|{_D}\.{_D}{{1,3}}\.{_D}{{1,3}}\.{_D}",
    "NATIONAL_ID": "|".join(_NATIONAL_ID),
    "BIRTH_DATE": "|".join(_BIRTH_DATE),
    "PHONE": _SEVEN_DIGITS,
    "ADDRESS": "|".join(_ADDRESS),
}
ANY_SIGN = "|".join(dict.fromkeys(SIGNS.values()))
