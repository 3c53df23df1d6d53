"""SECRET: keys, tokens, passwords and private keys, by their form or by the words before them.

Most forms ask for a digit: random strings have one, hyphenated words do not. A password in plain
prose is found after its word and with a digit in it; one without a digit is not. Pure.
"""

from __future__ import annotations

import re
from collections import Counter
from math import log2

from feedback.redaction.rule import Rule, both, has_any, has_long_word, part, whole

_WORD_START = r"(?<![\w-])"
_FORMS = (
    r"sk-(?=[\w-]*\d)[\w-]{16,}",  # OpenAI, Anthropic and those that follow them
    r"[prs]k_(?:live|test)_\w{10,}",  # Stripe
    r"whsec_\w{16,}",  # its webhooks
    r"gh[oprsu]_\w{20,}",  # GitHub
    r"github_pat_\w{20,}",
    r"glpat-[\w-]{16,}",  # GitLab
    r"xox[abeoprs]-[\w-]{10,}",  # Slack
    r"hf_(?=\w*\d)\w{20,}",  # Hugging Face
    r"npm_(?=\w*\d)\w{30,}",
    r"pypi-(?=[\w-]*\d)[\w-]{30,}",
    r"SG\.[\w-]{16,}\.[\w-]{16,}",  # SendGrid
    r"AIza[\w-]{30,}",  # Google
    r"(?:AKIA|ASIA)[0-9A-Z]{16}\b",  # AWS access key id
    r"eyJ[\w-]{8,}+\.eyJ[\w-]{8,}+\.[\w-]*",  # JSON web token
)
_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z ]{0,32}PRIVATE KEY(?: BLOCK)?-----(?:[^-]|-(?!----))*+"
    r"-----END [A-Z ]{0,32}KEY(?: BLOCK)?-----"
)
_SECRET = re.compile(rf"{_WORD_START}(?:{'|'.join(_FORMS)})")
_SECRET_HINT = has_any(
    *("sk-", "k_live_", "k_test_", "whsec_", "gho_", "ghp_", "ghr_", "ghs_", "ghu_"),
    *("github_pat_", "glpat-", "xox", "hf_", "npm_", "pypi-", "sg.", "aiza", "akia", "asia"),
    "eyj",
)
_AUTHORIZED = re.compile(r"(?i)\b(?:bearer|basic)\s{1,8}(?=[\w.~+/=-]*\d)(?P<it>[\w.~+/=-]{16,})")
# user:password@ in any URL; what follows stays
_IN_URL = re.compile(r"(?<=://)(?P<it>[^\s/@:\"'<>\[\]]{0,64}:[^\s/@\"'<>\[\]]{1,128})(?=@[\w\[])")
# name = value or name: value, the value with a letter and a digit: "password: hunter2hunter2".
# The name may be the end of a longer one, such as MY_API_KEY.
_NAMES = (
    r"(?:api|access|secret|private|account|signing|encryption|master|shared)[ _-]?"
    r"(?:access[ _-]?)?key|client[ _-]?secret|secret|token|passphrase"
    r"|password|passwd|passwort|kennwort|contrase(?:ñ|n)a|mot de passe|pwd"
)
_ASSIGNED = re.compile(
    rf"(?i)(?<![^\W_])(?:{_NAMES})(?:\"?\s{{0,4}}[=:]\s{{0,4}}[\"']?)"
    r"(?=[^\s\"',;&]{0,200}\d)(?=[^\s\"',;&]{0,200}[a-z])"
    r"(?![\w.]{1,64}\(|\$\{)"  # a call, a variable
    r"(?P<it>[\w+/.~!@#$%^&*]{8}[^\s\"',;&]*)"
)
# STRIPE_KEY=..., "salt": "...": names that hold other things as often, so the value must be random
_RANDOM = re.compile(
    r"(?i)(?:key|pass|pwd|credentials?|auth|salt|signature|dsn)[\"']?\s{0,4}[=:]\s{0,4}[\"']?"
    r"(?P<it>[\w+/=.~-]{16,200})(?![\w(])"
)
_HEX = re.compile(r"(?i)(?=[a-f]{0,16}\d)(?=\d{0,16}[a-f])[0-9a-f]{20,}")
MIN_RANDOM_BITS = 3.3  # per character: 16 random letters and digits have 3.5 to 4, words below 3.2


def _is_random(match: re.Match[str]) -> bool:
    """Tell a random string: hexadecimal, or digits amid letters of both cases and many of them."""
    value = match["it"]
    if _HEX.fullmatch(value):
        return True
    is_mixed = re.search(r"\d[A-Za-z]", value) and re.search(r"[a-z]", value)
    if not is_mixed or not re.search(r"[A-Z]", value):
        return False
    shares = (number / len(value) for number in Counter(value).values())
    return -sum(share * log2(share) for share in shares) >= MIN_RANDOM_BITS


_NAMES_RANDOM = has_any("key", "pass", "pwd", "credential", "auth", "salt", "signature", "dsn")
_NAMES_SECRET = has_any(
    "key", "secret", "token", "passw", "passp", "pwd", "kennw", "contras", "mot de"
)
# "my password is Gr33nTea": shorter values than an assignment's, but never a number alone
_SAID = re.compile(
    r"(?i)\b(?:password|passwort|kennwort|passphrase|contrase(?:ñ|n)a|mot de passe|passcode|pw)"
    r"(?: is| ist| lautet| est| es|:) {0,2}:? {0,2}[\"']?"
    r"(?!\d{1,3}-[a-z]|[\w.]{1,64}\(|\$\{)(?=[^\s\"']{0,64}\d)(?=[^\s\"']{0,64}[A-Za-z])"
    r"(?P<it>[^\s\"'\[]{6,64})"
)
_SAID_HINT = has_any("passw", "passp", "passc", "kennw", "contras", "mot de", "pw")
_PIN = re.compile(r"(?i)\bpin(?: code| number)?(?: is|:) {0,2}(?P<it>\d{4,8})(?![\w.,]?\d)")
# a connection string's password is one whatever it holds: Password=...; Pwd=...
_CONNECTION = re.compile(
    r"(?i)(?<=;)\s{0,4}(?:password|pwd)\s{0,4}=\s{0,4}(?P<it>[^\s;\"'\[]{1,128})"
)


RULES = (
    Rule("SECRET", has_any("-----b"), whole(_PRIVATE_KEY)),
    Rule("SECRET", both(has_long_word, _SECRET_HINT), whole(_SECRET)),
    Rule("SECRET", has_any("bearer", "basic"), part(_AUTHORIZED)),
    Rule("SECRET", both(has_any("://"), has_any("@")), part(_IN_URL)),
    Rule("SECRET", both(has_any("=", ":"), _NAMES_SECRET), part(_ASSIGNED)),
    Rule("SECRET", both(has_any("=", ":"), _NAMES_RANDOM), part(_RANDOM, _is_random)),
    Rule("SECRET", _SAID_HINT, part(_SAID)),
    Rule(
        "SECRET",
        both(has_any("pin"), has_any("pin is", "pin:", "pin code", "pin number")),
        part(_PIN),
    ),
    Rule("SECRET", both(has_any(";"), has_any("password", "pwd")), part(_CONNECTION)),
)
