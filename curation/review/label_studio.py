"""CURATE: review items as Label Studio's tasks, and its annotations as decisions.

Items come in; a labelling configuration and the JSON for its import go out. What it exports (the
format JSON, not JSON-MIN) comes back in as decisions. Fields that are not ours are passed over; a
wrong one is told with its task. Pure. Source: labelstud.io/guide/task_format and label-studio-sdk
2.1's LabelInterface.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from xml.etree import ElementTree as Xml

from curation.review.exchange import (
    ASKED,
    OFFERED,
    Item,
    Told,
    checked,
    choice_of,
    list_of,
    mark_of,
    refused,
    table_of,
    text_of,
)
from curation.review.words import BEST_MARK, RUBRIC, Choice, Decision

ANSWER = "answer"  # the object that all judgements are about

_TYPES = {"decision": "choices", "reason": "textarea", "correction": "textarea"} | dict.fromkeys(
    RUBRIC, "rating"
)
_VALUES = {"choices": "choices", "textarea": "text", "rating": "rating"}


def labelling_config() -> str:
    """Return the XML that a project needs to show `tasks`."""
    view = Xml.Element("View")
    _add(view, "Header", value="Conversation")
    shown = {"layout": "dialogue", "nameKey": "role", "textKey": "content"}
    _add(view, "Paragraphs", name="conversation", value="$conversation", **shown)
    for name, title in ((ANSWER, "Answer"), ("rejected", "What it was preferred to, if anything")):
        _add(view, "Header", value=title)
        _add(view, "Text", name=name, value=f"${name}")
    asked = {"toName": ANSWER, "choice": "single", "showInline": "true", "required": "true"}
    choices = _add(view, "Choices", name="decision", **asked)
    for choice in OFFERED:
        _add(choices, "Choice", value=choice, hotkey=choice[0])  # the keys of our own page
    for name, question in ASKED.items():
        _add(view, "Header", value=f"{name.capitalize()}: {question}", size="5")
        _add(view, "Rating", name=name, toName=ANSWER, maxRating=str(BEST_MARK))
    for name, rows in (("reason", "2"), ("correction", "8")):
        _add(view, "Header", value=name.capitalize(), size="5")
        _add(view, "TextArea", name=name, toName=ANSWER, rows=rows, maxSubmissions="1")
    Xml.indent(view)
    return Xml.tostring(view, encoding="unicode")


def tasks(items: Iterable[Item]) -> list[dict[str, Any]]:
    """Return the items as tasks to import.

    The answer stands ready as a correction to edit. Annotations name nobody in `completed_by`, for
    Label Studio refuses people whom it does not know: the reviewer is in a region's `meta`.
    """
    return [
        {
            "data": {
                "candidate_id": item.candidate_id,
                "conversation": [
                    {"role": turn.role, "content": turn.content} for turn in item.messages[:-1]
                ],
                ANSWER: item.answer,
                "rejected": item.rejected or "",  # every object of the configuration needs a value
            },
            "predictions": [
                {"model_version": "ratchet", "result": [_region("correction", [item.answer])]}
            ],
            "annotations": [_annotation(told) for told in item.told],
        }
        for item in items
    ]


def told_in(raw: Any) -> list[Told]:
    """Return what people said in exported tasks; a cancelled annotation is a skip.

    Raises: DataError.
    """
    found: list[Told] = []
    for number, task in enumerate(list_of(raw, "none", "tasks")):
        record = f"tasks[{number}]"
        data = table_of(table_of(task, record, "task").get("data"), record, "data")
        candidate_id = text_of(data.get("candidate_id"), record, "data.candidate_id")
        annotations = list_of(task.get("annotations", []), candidate_id, "annotations")
        found += [_told(each, candidate_id, place) for place, each in enumerate(annotations)]
    return found


def _add(parent: Xml.Element, tag: str, **attributes: str) -> Xml.Element:
    return Xml.SubElement(parent, tag, attributes)


def _annotation(told: Told) -> dict[str, Any]:
    said = told.decision
    regions = [_region("decision", [said.choice]) | {"meta": {"reviewer": told.reviewer}}]
    regions += [_region(name, mark) for name, mark in said.rubric.items()]
    texts = (("reason", said.reason), ("correction", said.text))
    regions += [_region(name, [text]) for name, text in texts if text]
    return {"was_cancelled": said.choice == "skip", "ground_truth": False, "result": regions}


def _region(name: str, value: Any) -> dict[str, Any]:
    type_ = _TYPES[name]
    return {
        "id": name,
        "from_name": name,
        "to_name": ANSWER,
        "type": type_,
        "value": {_VALUES[type_]: value},
    }


def _told(raw: Any, candidate_id: str, place: int) -> Told:
    where = f"annotations[{place}]"
    annotation = table_of(raw, candidate_id, where)
    regions: dict[str, dict[str, Any]] = {}
    for each in list_of(annotation.get("result", []), candidate_id, f"{where}.result"):
        region = table_of(each, candidate_id, f"{where}.result")
        if region.get("from_name") in _TYPES:
            regions[region["from_name"]] = region
    choice = _choice(annotation, regions, candidate_id, where)
    decision = Decision(
        choice,
        rubric={
            name: mark_of(
                _value(regions[name], candidate_id, where), candidate_id, f"{where}.{name}"
            )
            for name in RUBRIC
            if name in regions
        },
        reason=_text(regions, "reason", candidate_id, where) or "",
        # the answer stands ready there: it is a correction only where somebody says so
        text=(_text(regions, "correction", candidate_id, where) or "")
        if choice == "correct"
        else None,
    )
    reviewer = _reviewer(annotation, regions.get("decision", {}), candidate_id, where)
    return checked(Told(candidate_id, reviewer, decision), where)


def _choice(
    annotation: Mapping[str, Any], regions: Mapping[str, Any], candidate_id: str, where: str
) -> Choice:
    if annotation.get("was_cancelled"):
        return "skip"
    name = f"{where}.decision"
    if "decision" not in regions:
        refused(candidate_id, name, "is missing")
    chosen = list_of(_value(regions["decision"], candidate_id, where), candidate_id, name)
    if len(chosen) != 1:
        refused(candidate_id, name, f"has {len(chosen)} choices, not one")
    return choice_of(chosen[0], candidate_id, name)


def _reviewer(
    annotation: Mapping[str, Any], decision: Mapping[str, Any], candidate_id: str, where: str
) -> str:
    """Return who it was: as we exported it, or else Label Studio's own name for them."""
    ours = table_of(decision.get("meta", {}), candidate_id, f"{where}.meta").get("reviewer")
    if ours is not None:
        return text_of(ours, candidate_id, f"{where}.meta.reviewer")
    by = annotation.get("completed_by")
    if isinstance(by, dict):
        by = by.get("email") or by.get("id")
    if not isinstance(by, int | str) or by == "":
        refused(candidate_id, f"{where}.completed_by", f"{by!r} names nobody")
    return f"label-studio:{by}"


def _text(regions: Mapping[str, Any], name: str, candidate_id: str, where: str) -> str | None:
    if name not in regions:
        return None
    value = _value(regions[name], candidate_id, where)
    lines: Sequence[Any] = [value] if isinstance(value, str) else list_of(value, candidate_id, name)
    return "\n".join(text_of(line, candidate_id, f"{where}.{name}") for line in lines)


def _value(region: Mapping[str, Any], candidate_id: str, where: str) -> Any:
    name = region["from_name"]
    value = table_of(region.get("value"), candidate_id, f"{where}.{name}")
    return value.get(_VALUES[_TYPES[name]])
