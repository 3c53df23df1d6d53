"""CURATE: review items as Argilla's records, and its responses as decisions.

Items come in; a dataset's settings and its records go out, as `Settings.from_json` and
`dataset.records.from_json` read them. What `dataset.records.to_json` wrote comes back in as
decisions. Fields that are not ours are passed over; a wrong one is told with its record. Pure.
Source: argilla 2.8, `Settings`, `Record.to_dict` and `Record.from_dict`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from curation.review.exchange import (
    ASKED,
    OFFERED,
    Item,
    Told,
    checked,
    choice_of,
    list_of,
    mark_of,
    table_of,
    text_of,
)
from curation.review.words import BEST_MARK, RUBRIC, Decision

AGENT = "reviewer"  # who made a suggestion, where it stands for what one said
QUESTIONS = ("decision", *RUBRIC, "reason", "correction")

_DRAFT = "draft"  # of a response: not sent yet
_DISCARDED = "discarded"  # what Argilla calls to skip


def dataset_settings(reviewers: int = 1) -> dict[str, Any]:
    """Return the settings of a dataset in which each item is decided by so many people."""
    options = [{"value": choice, "text": choice.capitalize()} for choice in OFFERED]
    decision = {"type": "label_selection", "options": options, "visible_options": len(options)}
    rating = {"type": "rating", "options": [{"value": n} for n in range(1, BEST_MARK + 1)]}
    text = {"type": "text", "use_markdown": False}
    return {
        "guidelines": "Approve what a model should learn as it is, correct what is nearly so, "
        "reject the rest. Judge from 1 (poor) to 5 (very good).",
        "allow_extra_metadata": False,
        "distribution": {"strategy": "overlap", "min_submitted": reviewers},
        "fields": [
            _named("conversation", {"type": "chat", "use_markdown": False}),
            _named("answer", text),
            _named("rejected", text, required=False, title="What it was preferred to"),
        ],
        "questions": [
            _named("decision", decision),
            *[_named(name, rating, required=False, description=ASKED[name]) for name in RUBRIC],
            _named("reason", text, required=False),
            _named("correction", text, required=False),
        ],
        "metadata": [],
        "vectors": [],
        "mapping": None,
    }


def records(items: Iterable[Item], users: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """Return the items as records; `users` gives the Argilla user id (a UUID) of a reviewer.

    Argilla takes responses of users whom it knows. The latest decision of anybody else is suggested
    instead, and without any decision the answer itself, as a correction to edit.
    """
    return [_record(item, users or {}) for item in items]


def told_in(raw: Any, users: Mapping[str, str] | None = None) -> list[Told]:
    """Return what people said in exported records; drafts are passed over, a discard is a skip.

    Raises: DataError.
    """
    reviewers = {user: reviewer for reviewer, user in (users or {}).items()}
    found: list[Told] = []
    for number, each in enumerate(list_of(raw, "none", "records")):
        record = table_of(each, f"records[{number}]", "record")
        candidate_id = text_of(record.get("id"), f"records[{number}]", "id")
        for user, answers in _by_user(record, candidate_id).items():
            decision = _decision(answers, candidate_id)
            if decision is not None:
                reviewer = reviewers.get(user, f"argilla:{user}")
                found.append(checked(Told(candidate_id, reviewer, decision), "responses"))
    return found


def _named(name: str, settings: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": name, "title": name.capitalize(), "required": True, **more} | {
        "settings": dict(settings)
    }


def _record(item: Item, users: Mapping[str, str]) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "conversation": [
            {"role": turn.role, "content": turn.content} for turn in item.messages[:-1]
        ],
        "answer": item.answer,
    }
    if item.rejected is not None:
        fields["rejected"] = item.rejected
    suggestions: dict[str, Any] = {"correction": {"value": item.answer, "agent": "ratchet"}}
    responses: dict[str, list[Any]] = {}
    for told in item.told:
        for question, value in _answers(told.decision).items():
            if told.reviewer in users:
                response = {"value": value, "user_id": users[told.reviewer]}
                responses.setdefault(question, []).append(response)
            else:
                suggestions[question] = {"value": value, "agent": AGENT}
    return {
        "id": item.candidate_id,
        "fields": fields,
        "metadata": {},
        "suggestions": suggestions,
        "responses": responses,
        "vectors": {},
    }


def _answers(decision: Decision) -> dict[str, Any]:
    texts = (("reason", decision.reason), ("correction", decision.text))
    return {
        "decision": decision.choice,
        **decision.rubric,
        **{name: text for name, text in texts if text},
    }


def _by_user(
    record: Mapping[str, Any], candidate_id: str
) -> dict[str, dict[str, Mapping[str, Any]]]:
    """Return what each user responded, by question."""
    responses = table_of(record.get("responses", {}), candidate_id, "responses")
    users: dict[str, dict[str, Mapping[str, Any]]] = {}
    for question in QUESTIONS:
        where = f"responses.{question}"
        for each in list_of(responses.get(question) or [], candidate_id, where):
            response = table_of(each, candidate_id, where)
            user = text_of(response.get("user_id"), candidate_id, f"{where}.user_id")
            users.setdefault(user, {})[question] = response
    return users


def _decision(answers: Mapping[str, Mapping[str, Any]], candidate_id: str) -> Decision | None:
    """Return what a user's responses make up; None of a draft."""
    statuses = {answer.get("status") for answer in answers.values()}
    if _DISCARDED in statuses:
        return Decision("skip")
    if _DRAFT in statuses:
        return None
    values = {question: answer.get("value") for question, answer in answers.items()}
    choice = choice_of(values.get("decision"), candidate_id, "responses.decision")
    texts = {
        name: text_of(values[name], candidate_id, f"responses.{name}")
        for name in ("reason", "correction")
        if values.get(name) is not None
    }
    return Decision(
        choice,
        rubric={
            name: mark_of(values[name], candidate_id, f"responses.{name}")
            for name in RUBRIC
            if values.get(name) is not None
        },
        reason=texts.get("reason", ""),
        # the answer stands ready there: it is a correction only where somebody says so
        text=texts.get("correction", "") if choice == "correct" else None,
    )
