"""CURATE, first stage: rated interactions out of the store, candidates for training.

An answer that somebody approved is a demonstration; a corrected one is a demonstration of the
correction. Interactions and effective feedback of one application come in, candidates and drops
with their reasons go out. Knows nothing of other candidates, of datasets or of training.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from itertools import groupby
from typing import Literal

import msgspec
from sqlmodel import Session, col, select

from core.clock import as_utc
from curation.similarity import normalised, prompt_key, rendered
from feedback.events import Message
from feedback.redaction.placeholders import aligned
from feedback.redaction.redactor import Redactor
from feedback.tables import Feedback, Interaction

Source = Literal["thumbs_up", "correction", "thumbs_down"]  # the last is never in a dataset

GOOD_RATING = 4  # of 5: "good" and "very good"
BAD_RATING = 2
JUDGING_KINDS = ("thumbs", "rating", "correction", "flag")
# OpenAI's reasons: "length" and "content_filter" cut an answer, "tool_calls" leaves part of it out
WHOLE_ANSWER = ("stop", None)
BATCH_ROWS = 1_000  # read from the store at a time


@dataclass(frozen=True, slots=True)
class Selection:
    """Which interactions may be selected: started at `since` or later, and before `until`."""

    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True)
class Candidate:
    """An interaction proposed for training; the last message is the answer to learn."""

    interaction_id: str
    subject: str | None
    source: Source
    messages: tuple[Message, ...]
    started_at: datetime
    placeholders: frozenset[str] = frozenset()  # of the interaction as it was logged

    @property
    def person(self) -> str:
        """Who stands behind it: the subject, or the interaction itself where none is known."""
        return self.subject or self.interaction_id

    @property
    def prompt(self) -> tuple[Message, ...]:
        """All that the model saw before it answered."""
        return self.messages[:-1]

    @cached_property
    def prompt_text(self) -> str:
        """The prompt, normalised, by which near duplicates are found."""
        return rendered(self.prompt)

    @cached_property
    def prompt_key(self) -> str:
        """Equal for prompts that are equal once normalised."""
        return prompt_key(self.prompt)

    @cached_property
    def answer_text(self) -> str:
        """The answer, normalised, by which answers are compared."""
        return normalised(self.messages[-1].content)


@dataclass(frozen=True, slots=True)
class Drop:
    """An interaction that a stage left out. `detail` holds counts or names, never text."""

    interaction_id: str
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Sieved:
    """What a stage kept and what it dropped; `changed` counts those that it altered."""

    kept: list[Candidate]
    dropped: list[Drop]
    changed: int = 0


@dataclass(frozen=True, slots=True)
class Selected(Sieved):
    """What the selection kept and dropped, and the answers that people blamed: never examples."""

    blamed: list[Candidate] = field(default_factory=list[Candidate])


def select_candidates(session: Session, application: str, selection: Selection) -> Selected:
    """Return the demonstrations among the rated interactions of `application`, oldest first.

    Interactions that nobody rated or corrected are not read, hence neither kept nor dropped.
    """
    kept: list[Candidate] = []
    dropped: list[Drop] = []
    blamed: list[Candidate] = []
    for interaction, feedback in _rated(session, application, selection):
        outcome = demonstration(interaction, feedback)
        if isinstance(outcome, Drop):
            dropped.append(outcome)
        else:
            kept.append(outcome)
        if answer := blamed_answer(interaction, feedback):
            blamed.append(answer)
    return Selected(kept, dropped, blamed=blamed)


def demonstration(interaction: Interaction, feedback: Sequence[Feedback]) -> Candidate | Drop:
    """Return what `interaction` teaches, given its effective feedback in order of time.

    A correction beats the served answer and a thumbs-down. Praise and blame for the same answer
    tell of a careless user, and nothing of the answer. A correction that changes nothing is none.
    """
    correction = _last_correction(interaction, feedback)
    if reason := _unfit(interaction, feedback, correction):
        return Drop(interaction.id, reason)
    answer = interaction.answer if correction is None else correction
    source: Source = "thumbs_up" if correction is None else "correction"
    return _candidate(interaction, feedback, source, answer)


def blamed_answer(interaction: Interaction, feedback: Sequence[Feedback]) -> Candidate | None:
    """Return the served answer if it was rated down and not praised, to weigh against approvals."""
    if interaction.status != "ok" or not _is_blamed(feedback) or _is_approved(feedback):
        return None
    outcome = _candidate(interaction, feedback, "thumbs_down", interaction.answer)
    return outcome if isinstance(outcome, Candidate) else None


def redact_again(candidates: Sequence[Candidate], redactor: Redactor) -> Sieved:
    """Return the candidates with personal data replaced: a second fence behind the gateway's.

    Rules get better, and what was logged under older ones must not be learnt.
    """
    redacted = [_redacted(candidate, redactor) for candidate in candidates]
    changed = sum(new != old for new, old in zip(redacted, candidates, strict=True))
    return Sieved(redacted, [], changed)


def _rated(
    session: Session, application: str, selection: Selection
) -> Iterator[tuple[Interaction, list[Feedback]]]:
    query = (
        select(Interaction, Feedback)
        .join(Feedback, col(Feedback.interaction_id) == col(Interaction.id))
        .where(Interaction.application == application, Feedback.application == application)
        .where(col(Feedback.effective), col(Feedback.kind).in_(JUDGING_KINDS))
        .order_by(col(Interaction.started_at), col(Interaction.id))
        .order_by(col(Feedback.given_at), col(Feedback.event_id))
        .execution_options(yield_per=BATCH_ROWS)
    )
    if selection.since is not None:
        query = query.where(col(Interaction.started_at) >= as_utc(selection.since))
    if selection.until is not None:
        query = query.where(col(Interaction.started_at) < as_utc(selection.until))
    for _, pairs in groupby(session.exec(query), key=lambda pair: pair[0].id):
        rows = list(pairs)
        yield rows[0][0], [feedback for _, feedback in rows]


def _unfit(
    interaction: Interaction, feedback: Sequence[Feedback], correction: str | None
) -> str | None:
    """Return why the interaction teaches nothing, or None when it does."""
    if interaction.status != "ok":
        return "status is not ok"
    if any(f.kind == "flag" for f in feedback):
        return "flagged"
    if _is_approved(feedback) and _is_blamed(feedback):
        return "ratings contradict each other"
    if correction is not None:
        return None if correction.strip() else "correction has no text"
    if not _is_approved(feedback):
        return "not approved and not corrected"
    # Fine-tuning guide, Key Formatting Principles: full, well-formed responses
    return None if interaction.finish_reason in WHOLE_ANSWER else "answer is not whole"


def _is_approved(feedback: Sequence[Feedback]) -> bool:
    return any(f.thumbs or (f.rating or 0) >= GOOD_RATING for f in feedback)


def _is_blamed(feedback: Sequence[Feedback]) -> bool:
    return any(
        f.thumbs is False or (f.rating is not None and f.rating <= BAD_RATING) for f in feedback
    )


def _candidate(
    interaction: Interaction, feedback: Sequence[Feedback], source: Source, answer: str
) -> Candidate | Drop:
    try:
        prompt = msgspec.convert(interaction.messages, tuple[Message, ...])
    except msgspec.ValidationError as error:
        return Drop(interaction.id, "messages are not a list of role and content", str(error))
    return Candidate(
        interaction_id=interaction.id,
        subject=interaction.subject or feedback[-1].subject,
        source=source,
        messages=(*prompt, Message("assistant", answer)),
        started_at=as_utc(interaction.started_at),
        placeholders=frozenset(interaction.redactions),
    )


def _last_correction(interaction: Interaction, feedback: Sequence[Feedback]) -> str | None:
    """Return the newest correction, "" where its text was not kept, None if nothing was changed.

    Numbered like its interaction: the same value has the same placeholder in both.
    """
    corrections = [f for f in feedback if f.kind == "correction"]
    if not corrections:
        return None
    last = corrections[-1]
    text = aligned(last.text or "", last.redactions, interaction.redactions)
    return None if text.strip() and text.strip() == interaction.answer.strip() else text


def redacted_messages(
    messages: Sequence[Message], placeholders: Iterable[str], redactor: Redactor
) -> tuple[Message, ...]:
    """Return the messages with personal data replaced, in one conversation.

    What is found only now gets none of the interaction's `placeholders`: they hide other values.
    """
    conversation = redactor.conversation(reserved=placeholders)
    return tuple(Message(m.role, conversation.redact(m.content)) for m in messages)


def _redacted(candidate: Candidate, redactor: Redactor) -> Candidate:
    messages = redacted_messages(candidate.messages, candidate.placeholders, redactor)
    return candidate if messages == candidate.messages else replace(candidate, messages=messages)
