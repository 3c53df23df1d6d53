"""CURATE: rows without hateful, threatening, sexual or biased words.

Prompts and answers are screened for toxicity, answers alone for bias: who asks about a prejudice
may be helped. Lexicons tell words, not meanings: what a person should judge is left to review. A
drop names the category, never the word. Source: fine-tuning guide, Data Cleaning, "Check for Bias".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from core.curation_settings import ScreenSettings
from curation.stages import lexicon
from curation.stages.lexicon import Lexicon
from curation.stages.search import answers_with, messages_with, one_array, read, read_answers
from curation.table import Outcome, Table, Why, sieve

Finding = tuple[int, Why]

TOXIC = {
    "slur": "slurs.txt",
    "insult": "insults.txt",
    "threat": "threats.txt",
    "violence": "violence.txt",
    "sexual": "sexual.txt",
}
OWN = "own"  # the category of the settings' own words
# Who calls it a prejudice does not hold it
_SPOKEN_OF = re.compile(
    r"(?i)stereotyp|prejudi|generali[sz]|(?:not|un)true|myth|misconception|false|wrong|offensive"
    r"|discriminat|racis|sexis|bigot|vorurteil|klischee|pauschal|diskrimin|falsch|stimmt nicht"
    r"|nicht wahr|rassis|préjugé|stéréotyp|cliché|faux|raciste|prejuicio|estereotip|falso|tópico"
)
# These people, not such people
_SOME = re.compile(
    r"(?i)(?:these|those|my|your|our|his|her|their|some|few|two|three|not all|diese|meine|unsere"
    r"|einige|manche|nicht alle|pas tous|if|whether|ob|wenn|si)\s+$"
)
_SOME_OF_THEM = re.compile(r"(?i)\bthe\s+$")  # "the girls are lazy" may be of a class
_CONTEXT_CHARS = 20


@dataclass(frozen=True, slots=True)
class ScreenWords:
    """Leaves out the rows in which a lexicon's words stand."""

    settings: ScreenSettings

    def __call__(self, table: Table) -> Outcome:
        """Return the rows that nothing was found in, and the others with the category."""
        why: list[Why | None] = [None] * table.num_rows
        for row, reason in (*self._toxic(table), *self._biased(table)):
            why[row] = why[row] or reason
        return sieve(table, why)

    def _toxic(self, table: Table) -> Iterator[Finding]:
        if not (self.settings.toxicity or self.settings.extra_words):
            return
        words = _toxic_words(self.settings.extra_words, has_ours=self.settings.toxicity)
        rows = messages_with(table, words.sign, ignore_case=True)
        is_pair = one_array(table["rejected"]).is_valid().to_pylist()
        for row, texts in read(table, rows):
            said = texts[:-1] if is_pair[row] else texts  # the lost answer is not learnt
            if category := self._category(words, said[-1]):
                yield row, Why("toxic", f"{category}, in the answer")
            elif category := self._category(words, "\n".join(said[:-1])):
                yield row, Why("toxic", f"{category}, in the prompt")

    def _category(self, words: Lexicon, text: str) -> str | None:
        for match in words.find(text):
            if not self._is_allowed(match):
                return match.lastgroup
        return None

    def _biased(self, table: Table) -> Iterator[Finding]:
        if not self.settings.bias:
            return
        statements = _statements()
        rows = answers_with(table, statements.sign, ignore_case=True)
        for row, answer in read_answers(table, rows):
            for match in statements.find(answer):
                if is_held(match) and not self._is_allowed(match):
                    yield row, Why("biased", str(match.lastgroup))

    def _is_allowed(self, match: re.Match[str]) -> bool:
        said = match.group().lower()
        return any(word.lower() == said for word in self.settings.allowed_words)


def is_held(match: re.Match[str]) -> bool:
    """Tell a statement that the text makes from one that it speaks of, or that is of some."""
    text, start = match.string, match.start()
    before = text[max(0, start - _CONTEXT_CHARS) : start]
    if _SOME.search(before) or _SPOKEN_OF.search(text):
        return False
    return not (match.lastgroup in {"gender", "age"} and _SOME_OF_THEM.search(before))


@lru_cache(maxsize=4)
def _toxic_words(extra_words: tuple[str, ...], *, has_ours: bool) -> Lexicon:
    ours = {name: lexicon.words_of(file) for name, file in TOXIC.items()} if has_ours else {}
    own = {OWN: extra_words} if extra_words else {}
    return lexicon.of_words({**ours, **own})


@lru_cache(maxsize=1)
def _statements() -> Lexicon:
    return lexicon.of_statements("bias.txt")
