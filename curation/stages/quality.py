"""CURATE: answers good enough to learn, and by name what makes the others too poor.

Too short, encoded data, broken markup, refusal, boilerplate, repetition, gibberish: a row's first
fault is its reason. Looks at answers alone, and at the prompt only for what it asked to be
written. Source: fine-tuning guide, Data Cleaning, "Filter Low-Quality"; each rule names its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from core.curation_settings import QualitySettings
from curation.stages import fences, gibberish, markup, phrases
from curation.stages.repetition import TOP_NGRAM_SHARES, Limits, repetition
from curation.stages.search import answers_with, last_texts, read
from curation.table import Outcome, Table, Why, sieve


@dataclass(frozen=True, slots=True)
class CheckQuality:
    """Leaves out the rows whose answers are too poor."""

    settings: QualitySettings

    def __call__(self, table: Table) -> Outcome:
        """Return the rows whose answers can be learnt, and the others with what is wrong."""
        answers = last_texts(table).to_pylist()
        odd = set(answers_with(table, gibberish.ODD_WORD_SIGN))
        refusing = set(answers_with(table, phrases.REFUSAL_SIGN))
        why: list[Why | None] = []
        for row, answer in enumerate(answers):
            fault = self._form(answer)
            if not fault and row in refusing:
                fault = self._refusal(answer)
            why.append(fault or self._prose(answer, has_odd_words=row in odd))
        for row, detail in self._boilerplate(table, answers):
            why[row] = why[row] or Why("boilerplate", detail)
        return sieve(table, why)

    def _refusal(self, answer: str) -> Why | None:
        is_one = self.settings.drop_refusals and phrases.is_refusal(answer)
        return Why("refusal") if is_one else None

    def _boilerplate(self, table: Table, answers: Sequence[str]) -> Iterator[tuple[int, str]]:
        if self.settings.drop_boilerplate:
            rows = answers_with(table, phrases.BOILERPLATE_SIGN)
            for row, texts in read(table, rows):
                prompt = "\n".join(text for text in texts if text != answers[row])
                if detail := phrases.boilerplate(prompt, answers[row]):
                    yield row, detail

    def _form(self, answer: str) -> Why | None:
        settings = self.settings
        chars = len(answer.strip())
        if chars < settings.min_answer_chars:
            return Why("too short", f"{chars} characters, at least {settings.min_answer_chars}")
        if settings.drop_broken_markup and (detail := markup.fault(answer)):
            return Why("broken markup", detail)
        return None

    def _prose(self, answer: str, *, has_odd_words: bool) -> Why | None:
        settings = self.settings
        prose = fences.without_code(answer)
        if len(prose) > settings.max_word_chars:
            chars = gibberish.longest_word(prose)
            if chars > settings.max_word_chars:
                return Why("encoded data", f"a word of {chars} characters")
        if detail := repetition(prose, self._limits):
            return Why("repetition", detail)
        share = gibberish.letter_share(prose, settings.min_letter_share)
        if share < settings.min_letter_share:
            return Why("gibberish", f"{share:.0%} letters and digits")
        share = gibberish.odd_word_share(prose) if has_odd_words else 0.0
        if share > settings.max_odd_word_share > 0:
            return Why("gibberish", f"{share:.0%} of words cannot be said")
        return None

    @property
    def _limits(self) -> Limits:
        settings = self.settings
        return Limits(
            lines=settings.max_repeated_line_share,
            ngrams=settings.max_repeated_ngram_share / TOP_NGRAM_SHARES[2],
        )
