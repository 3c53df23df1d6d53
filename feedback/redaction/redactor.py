"""Personal data and secrets out of text, before anything is written.

A redactor holds the rules of one application: its own patterns first, then ours. A conversation
redacts texts one after another and gives equal values equal placeholders, `[EMAIL_1]`; a value
that was found once is replaced from then on wherever it stands. Pure: text in, text out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from core.patterns import checked_pattern
from feedback.redaction import accounts, contacts, names, national_ids, places, secrets, sift
from feedback.redaction.placeholders import PLACEHOLDER, Numbering
from feedback.redaction.rule import Find, Rule, always, whole

# Most specific first: of two that begin together and are equally long, the earlier rule wins.
WITH_SIGNS = (
    *secrets.RULES,
    *contacts.EMAILS,
    *accounts.RULES,
    *contacts.ADDRESSES,
    *national_ids.RULES,
    *places.BIRTHS,
    *contacts.PHONES,
    *places.STREETS,
)
ENTITIES = frozenset({"NAME", *(rule.entity for rule in WITH_SIGNS)})

MASK = "\ue000"  # private use: neither a letter nor a space, and nobody's text
# What only its context told is looked for in later texts too; not for ever more of it
SOUGHT_AGAIN = frozenset({"NAME", "PHONE", "NATIONAL_ID", "BIRTH_DATE", "ADDRESS", "SECRET"})
MAX_SOUGHT = 100
MIN_SOUGHT_CHARS = 4  # "Al" is in too many words; a longer one is looked for between words


@dataclass(frozen=True, slots=True)
class Span:
    """Where something to hide stands in a text: from `start`, before `end`."""

    start: int
    end: int
    entity: str


class Redactor:
    """The rules of one application. `patterns`: its own, by name.

    Raises: SettingsError that names a pattern which cannot be used.
    """

    def __init__(self, patterns: Mapping[str, str] | None = None) -> None:
        self._own = tuple(
            Rule(name.upper(), always, whole(checked_pattern(name, pattern)))
            for name, pattern in (patterns or {}).items()
        )
        self.entities = ENTITIES | {rule.entity for rule in self._own}

    def conversation(self, reserved: Iterable[str] = ()) -> Conversation:
        """Return a conversation that has begun with nothing; `reserved` are never given."""
        return Conversation(self, reserved)

    def spans(self, text: str, sought: Mapping[str, str] | None = None) -> list[Span]:
        """Return what is to be hidden, in order and apart. `sought`: entities of known values."""
        digits, finds = sift.look(text)
        if digits is None and not (finds or sought or self._own):
            return []
        found: list[Span] = []
        masked = self._without_placeholders(text) if "[" in text else text
        for rule in self._own:
            masked = _apply(rule.entity, rule.find, masked, found)
        if digits is not None:
            masked = _apply_all(text, digits, masked, found)
        for find in finds:
            masked = _apply("NAME", find, masked, found)
        for value, entity in (sought or {}).items():
            if value in masked:
                found += (Span(*place, entity) for place in _between_words(value, masked))
        return _apart(found) if len(found) > 1 else found

    def may_hold(self, text: str) -> bool:
        """Return False only where `spans` would find nothing, whatever was said before."""
        digits, finds = sift.look(text)
        return digits is not None or bool(finds) or bool(self._own)

    def literal_placeholders(self, text: str) -> list[str]:
        """Return what looks like a placeholder in `text` and is only text."""
        if "[" not in text:
            return []
        return [match[0] for match in PLACEHOLDER.finditer(text) if match[1] in self.entities]

    def _without_placeholders(self, text: str) -> str:
        """Return `text`, in which no rule finds a part of a placeholder."""
        return PLACEHOLDER.sub(
            lambda match: MASK * len(match[0]) if match[1] in self.entities else match[0], text
        )


class Conversation:
    """Redacts the texts of one conversation, in their order."""

    def __init__(self, redactor: Redactor, reserved: Iterable[str] = ()) -> None:
        self._redactor = redactor
        self._numbering = Numbering(reserved)
        self._sought: dict[str, str] = {}  # entity by value

    def redact(self, text: str) -> str:
        """Return `text` with each thing to hide replaced by its placeholder."""
        spans = self._redactor.spans(text, self._sought)
        if "[" in text:
            self._numbering.reserve(self._redactor.literal_placeholders(text))
        return self._replaced(text, spans) if spans else text

    def redact_all(self, texts: Sequence[str]) -> Sequence[str]:
        """Return the texts, redacted in order. One look at all tells most conversations apart."""
        if not self._sought and not self._redactor.may_hold("\n".join(texts)):
            return texts
        return [self.redact(text) for text in texts]

    def fingerprints(self, key: bytes, interaction_id: str) -> dict[str, str]:
        """Return the keyed fingerprint of what each placeholder so far stands for."""
        return self._numbering.fingerprints(key, interaction_id) if self._numbering else {}

    def _replaced(self, text: str, spans: Sequence[Span]) -> str:
        pieces: list[str] = []
        end = 0
        for span in spans:
            value = text[span.start : span.end]
            pieces += (text[end : span.start], self._numbering.of(span.entity, value))
            end = span.end
            self._seek(span.entity, value)
        return "".join((*pieces, text[end:]))

    def _seek(self, entity: str, value: str) -> None:
        if entity not in SOUGHT_AGAIN or len(self._sought) >= MAX_SOUGHT:
            return
        if len(value) >= MIN_SOUGHT_CHARS and not (entity == "NAME" and names.is_word_too(value)):
            self._sought[value] = entity


def _apply_all(text: str, digits: bytes, masked: str, found: list[Span]) -> str:
    """Add what the rules find in a text with digits or signs; return it masked as `_apply`."""
    lowered = text.lower()
    for rule in WITH_SIGNS:
        if rule.digits in digits and rule.hint(text, lowered):
            masked = _apply(rule.entity, rule.find, masked, found)
    return masked


def _apply(entity: str, find: Find, masked: str, found: list[Span]) -> str:
    """Add what `find` finds to `found`; return the text in which the next finds none of it."""
    places = [place for place in find(masked) if place[0] < place[1]]
    if not places:
        return masked
    found += (Span(*place, entity) for place in places)
    pieces: list[str] = []
    end = 0
    for start, after in places:
        pieces += (masked[end:start], MASK * (after - start))
        end = after
    return "".join((*pieces, masked[end:]))


def _between_words(value: str, text: str) -> Iterator[tuple[int, int]]:
    """Find `value` where it is no part of a longer word or number."""
    start = text.find(value)
    while start >= 0:
        end = start + len(value)
        if not (text[start - 1 : start].isalnum() or text[end : end + 1].isalnum()):
            yield start, end
        start = text.find(value, end)


def _apart(found: list[Span]) -> list[Span]:
    """Return the spans in order; those that overlap become one, of the longest's entity."""
    ordered = sorted(found, key=lambda span: (span.start, -span.end))
    apart = [ordered[0]]
    for span in ordered[1:]:
        last = apart[-1]
        if span.start >= last.end:
            apart.append(span)
        elif span.end > last.end:
            longer = max(last, span, key=lambda it: it.end - it.start)
            apart[-1] = Span(last.start, span.end, longer.entity)
    return apart
