"""CURATE: texts whose damage of encoding and spacing is mended; those beyond mending are dropped.

Wrongly decoded text, characters that nobody can see, line ends, spaces at line ends. Code blocks
and indentation stay as they are. A text without such damage is told by one search in Arrow and is
not touched. Source: fine-tuning guide, Data Cleaning, "Fix Formatting Issues".
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

import pyarrow as pa
from ftfy import TextFixerConfig, fix_text
from ftfy.badness import is_bad

from curation.stages import fences
from curation.stages.search import contents, one_array, rows_with
from curation.table import Outcome, Table, Why, conversations, sieve, with_conversations

BROKEN = Why("broken text")
LOST = "\ufffd"  # what a decoder leaves where it could not go on

# Of ftfy only what mends a wrong decoding: curly quotes, ligatures and HTML's entities are meant
_DECODING = TextFixerConfig(
    unescape_html=False,
    fix_latin_ligatures=False,
    fix_character_width=False,
    uncurl_quotes=False,
    fix_line_breaks=False,
    fix_surrogates=False,
    remove_terminal_escapes=False,
    remove_control_chars=False,
    normalization=None,
    explain=False,
)
# Who asks what "Ã©" means wants to read it
_ABOUT_ENCODING = re.compile(r"(?i)mojibake|unicode|utf-?8|latin-?1|cp-?125\d|charset|encod|kodier")

_LINE_END = re.compile(r"\r\n?|[\x0b\x0c\u2028\u2029]")
_TERMINAL = r"\x1b\[[0-?]{0,16}[ -/]{0,4}[@-~]"  # ECMA-48, control sequences
_CONTROL = r"[\x00-\x08\x0e-\x1f\x7f-\x9f]"
# Zero-width space, word joiners, byte order mark, soft hyphen, changes of direction, tags
_INVISIBLE = r"[\u200b\u2060-\u2064\ufeff\xad\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]"
# Joiners shape emoji, Persian and Indic scripts; beside ASCII or at an end they join nothing
_JOINER = r"[\u200c\u200d](?=[\x00-\x7f]|\Z)|(?:(?<=[\x00-\x7f])|\A)[\u200c\u200d]"
_FLAG = "(?P<flag>\U0001f3f4[\U000e0020-\U000e007e]{1,8}\U000e007f)"  # its tags are meant
_UNSEEN = re.compile("|".join((_FLAG, _TERMINAL, _CONTROL, _INVISIBLE, _JOINER)))

# Two spaces at a line's end break the line in Markdown
_LINE_TAIL = re.compile(r"(?<![ \t\xa0])(?!(?<=\S)  \n\S)[ \t\xa0]+(?=\n)")
_BLANK_START = re.compile(r"\A(?:[ \t\xa0]*\n)+")
_BLANK_LINES = re.compile(r"\n{4,}")  # two stand between Python's functions
_INDENTED_LINE = re.compile(r"\n[ \t]")

# For Arrow: at least one is in any text that `mended` alters
_SPACING = (
    r"[ \t\x{a0}]\n|\n\n\n\n|\A\s|\A\x{a0}|\s\z|[\x{1680}\x{2000}-\x{200a}\x{202f}\x{205f}\x{3000}]"
    r"|\x{a0}\z|\A\x{200a}"
)
_UNSEEN_CHARS = (
    r"\x00-\x08\x0b-\x1f\x7f-\x{9f}\x{ad}\x{200b}-\x{200d}\x{2028}-\x{202e}\x{2060}-\x{2069}"
    r"\x{feff}\x{fffd}\x{e0000}-\x{e007f}"
)
# Marks, and the blocks in which a character has another as its normal form
_UNCOMPOSED = (
    r"\p{M}\x{374}\x{37e}\x{387}\x{900}-\x{fff}\x{1100}-\x{11ff}\x{1f00}-\x{2001}\x{2126}"
    r"\x{212a}\x{212b}\x{2329}\x{232a}\x{2adc}\x{f900}-\x{faff}\x{fb1d}-\x{fb4f}"
    r"\x{11000}-\x{11fff}\x{16d00}-\x{16dff}\x{1d100}-\x{1d1ff}\x{2f800}-\x{2fa1f}"
)
# What ftfy's signs of a wrong decoding begin or end with (all that are not small letters)
_ODD = (
    r"[\x{a1}-\x{bf}\x{c0}-\x{d1}\x{d7}-\x{d9}\x{dc}\x{dd}\x{f7}\x{100}\x{102}\x{104}\x{106}"
    r"\x{10c}\x{10e}\x{110}\x{112}\x{116}\x{118}\x{11a}\x{11e}\x{122}\x{12a}\x{130}\x{136}\x{139}"
    r"\x{13b}\x{13d}\x{141}\x{143}\x{145}\x{147}\x{152}\x{158}\x{15a}\x{15e}\x{160}\x{162}\x{164}"
    r"\x{16e}\x{170}\x{178}\x{179}\x{17b}\x{17d}\x{490}\x{192}\x{2c6}-\x{2dc}\x{384}\x{385}"
    r"\x{2010}-\x{203f}\x{2044}\x{20a0}-\x{20bf}\x{2100}-\x{25ff}\x{f8ff}]"
)
_OTHER = r"[^\x00-\x7f]"
_MISREAD = rf"[ŒœÃÂ]|вЂ|ГўВЂВ|{_ODD}{_OTHER}|{_OTHER}{_ODD}"
SUSPECT = rf"{_SPACING}|[{_UNSEEN_CHARS}{_UNCOMPOSED}]|{_MISREAD}"


@dataclass(frozen=True, slots=True)
class MendEncoding:
    """Mends the texts of all rows, and leaves out those that cannot be mended."""

    def __call__(self, table: Table) -> Outcome:
        """Return the table with mended texts, and as drops the rows with broken ones."""
        table = _readable(table)
        suspects = rows_with(table, SUSPECT)
        if not suspects:
            return sieve(table, [None] * table.num_rows)
        old = conversations(table.take(suspects))
        new = [mended_conversation(texts) for texts in old]
        why: list[Why | None] = [None] * table.num_rows
        changed = 0
        for row, before, after in zip(suspects, old, new, strict=True):
            if any(LOST in text for text in after):
                why[row] = BROKEN
            elif before != after:
                changed += 1
        if old == new:
            return sieve(table, why)
        rows = conversations(table)
        for row, texts in zip(suspects, new, strict=True):
            rows[row] = texts
        return sieve(with_conversations(table, rows), why, changed)


def mended_conversation(texts: list[str]) -> list[str]:
    """Return the texts of one conversation, mended."""
    misread = [text for text in texts if not text.isascii() and is_bad(text)]
    is_misread = bool(misread) and not any(_ABOUT_ENCODING.search(text) for text in texts)
    return [mended(text, is_misread=is_misread) for text in texts]


def mended(text: str, *, is_misread: bool = True) -> str:
    """Return `text` without damage; what is lost for good becomes U+FFFD.

    `is_misread`: whether signs of a wrong decoding are damage, and not what the text speaks of.
    """
    while (once := _mended_once(text, is_misread)) != text:  # what goes may bring damage together
        text = once
    return text


def _mended_once(text: str, is_misread: bool) -> str:
    if not text.isascii():
        if is_misread:
            text = fix_text(text, _DECODING)
        text = re.sub(r"[\ud800-\udfff]", LOST, text)
    text = _LINE_END.sub("\n", text)
    text = _UNSEEN.sub(lambda match: match["flag"] or "", text)
    if not unicodedata.is_normalized("NFC", text):
        text = unicodedata.normalize("NFC", text)
    return _laid_out(text)


def _laid_out(text: str) -> str:
    """Return `text` without spaces at line ends, blank lines at its ends, and many in a row."""
    if " \n" in text or "\t\n" in text or "\xa0\n" in text or "\n\n\n\n" in text:
        text = fences.outside_code(text, _spaced)
    text = _BLANK_START.sub("", text).rstrip()
    return text if _INDENTED_LINE.search(text) else text.lstrip()


def _spaced(prose: str) -> str:
    return _BLANK_LINES.sub("\n\n\n", _LINE_TAIL.sub("", prose))


def _readable(table: Table) -> Table:
    """Return the table with U+FFFD for the bytes that are no UTF-8, as files of others may hold."""
    texts_of_messages, rejected = contents(table), one_array(table["rejected"])
    if _is_utf8(texts_of_messages) and _is_utf8(rejected):
        return table
    lengths = one_array(table["messages"]).value_lengths().fill_null(0).to_pylist()
    texts = iter(_decoded(texts_of_messages))
    rows = [[next(texts) or "" for _ in range(length)] for length in lengths]
    for row, lost in zip(rows, _decoded(rejected), strict=True):
        row += [] if lost is None else [lost]
    return with_conversations(table, rows)


def _is_utf8(array: Table) -> bool:
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:  # its only way to say so
        return False
    return True


def _decoded(array: Table) -> list[str | None]:
    found = array.cast(pa.binary()).to_pylist()
    return [None if data is None else data.decode("utf-8", "replace") for data in found]
