"""CURATE, beside real data: new examples, prompt and answer, that a model writes after shown ones.

What synthetic examples and those from failures share: the request, the strict reading of the reply,
and what is refused. Seeds come in as groups, one request each. Only conversations of one turn are
shown and written. Source: the fine-tuning guide, "Active Learning and Data Augmentation".
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from curation.augmentation.faithful import (
    EMPTY,
    SAME,
    other_language,
    placeholders,
    plain,
)
from curation.augmentation.products import Collection, Row, Written, number_for
from curation.augmentation.writer import Ask, Writer
from curation.table import Source, Why

UNREADABLE = "unreadable"
UNKNOWN_PLACEHOLDERS = "placeholders that the prompt lacks"

FORM = '{"examples": [{"prompt": "...", "answer": "..."}]}'
_FENCES = ("```json\n", "```\n")


class Example(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One example as the model must write it."""

    prompt: str
    answer: str


class _Reply(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    examples: list[msgspec.Raw]


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked for: `opening` is the request's first words, `each` how many examples."""

    method: Source
    opening: str
    each: int


def written_examples(
    order: Order, groups: Sequence[Sequence[Row]], writer: Writer, known: Sequence[Row]
) -> Written:
    """Return the examples that the model writes for each group of seeds.

    None has the prompt of a row of `known`.
    """
    asks = [_ask(order, seeds) for seeds in groups]
    taken = {plain(prompt_and_answer(row)[0]) for row in known}
    collection = Collection(order.method, writer.model, len({id(s) for g in groups for s in g}))
    for seeds, reply in zip(groups, writer.replies(asks), strict=True):
        if reply.why_not is not None:
            collection.refuse(seeds, reply.why_not)
            continue
        for example in read_examples(reply.text, order.each):
            why = example if isinstance(example, Why) else _why_not(example, seeds, taken)
            if why is not None:
                collection.refuse(seeds, why)
            elif isinstance(example, Example):
                taken.add(plain(example.prompt))
                collection.add(seeds, _row(example, seeds))
    return collection.written()


def read_examples(text: str, most: int) -> list[Example | Why]:
    """Return the examples of a reply, and a reason in place of each that cannot be read.

    Strict: JSON of the asked form and nothing around it but a code fence; those over `most` are
    left out.
    """
    try:
        raws = msgspec.json.decode(_unfenced(text), type=_Reply).examples
    except (msgspec.DecodeError, UnicodeEncodeError):
        return [Why(UNREADABLE, "whole reply")]
    found: list[Example | Why] = []
    for raw in raws[:most]:
        try:
            found.append(msgspec.json.decode(raw, type=Example))
        except msgspec.DecodeError:
            found.append(Why(UNREADABLE, "one example"))
    return found or [Why(EMPTY, "no examples")]


def one_turn(rows: Sequence[Row]) -> list[Row]:
    """Return the rows that are a prompt and its answer, with or without a system message."""
    return [
        row
        for row in rows
        if [part["role"] for part in row["messages"] if part["role"] != "system"]
        == ["user", "assistant"]
    ]


def prompt_and_answer(row: Row) -> tuple[str, str]:
    """Return the texts of the last two messages."""
    *_, prompt, answer = row["messages"]
    return prompt["content"] or "", answer["content"] or ""


def _ask(order: Order, seeds: Sequence[Row]) -> Ask:
    shown = [prompt_and_answer(row) for row in seeds]
    text = json.dumps(
        {"examples": [{"prompt": prompt, "answer": answer} for prompt, answer in shown]},
        ensure_ascii=False,
    )
    prompt = (
        f"{order.opening}\n\n<examples>\n{text}\n</examples>\n\n"
        f"Write {order.each} new ones in the same language, none of them a copy. "
        f"Reply with JSON only, in this form: {FORM}"
    )
    number = number_for(order.method, *(row["candidate_id"] for row in seeds))
    return Ask(prompt, number, _schema(order.each))


def _schema(each: int) -> Mapping[str, Any]:
    texts = {"prompt": {"type": "string"}, "answer": {"type": "string"}}
    one = {
        "type": "object",
        "properties": texts,
        "required": ["prompt", "answer"],
        "additionalProperties": False,
    }
    many = {"type": "array", "items": one, "minItems": 1, "maxItems": each}
    return {
        "type": "object",
        "properties": {"examples": many},
        "required": ["examples"],
        "additionalProperties": False,
    }


def _why_not(example: Example, seeds: Sequence[Row], taken: set[str]) -> Why | None:
    if not example.prompt.strip() or not example.answer.strip():
        return Why(EMPTY)
    if plain(example.prompt) in taken:
        return Why(SAME)
    unknown = placeholders(example.answer) - placeholders(example.prompt)
    if unknown:
        return Why(UNKNOWN_PLACEHOLDERS, f"{len(unknown)}")
    return other_language(
        " ".join(prompt_and_answer(seeds[0])), f"{example.prompt} {example.answer}"
    )


def _row(example: Example, seeds: Sequence[Row]) -> Row:
    """Return the example as a demonstration, in the place of its first seed."""
    first = seeds[0]
    system = [dict(part) for part in first["messages"] if part["role"] == "system"]
    own = placeholders(example.prompt) | placeholders(example.answer)
    redacted = {name for seed in seeds for name in seed["placeholders"] or []}
    return {
        "interaction_id": first["interaction_id"],
        "kind": "demonstration",
        "subject": first["subject"],
        "adapter": None,
        "started_at": max((s["started_at"] for s in seeds if s["started_at"]), default=None),
        "messages": [
            *system,
            {"role": "user", "content": example.prompt.strip()},
            {"role": "assistant", "content": example.answer.strip()},
        ],
        "weight": 1.0,
        "placeholders": sorted(own & redacted),
    }


def _unfenced(text: str) -> str:
    text = text.strip()
    for fence in _FENCES:
        if text.startswith(fence) and text.endswith("```"):
            return text[len(fence) : -3]
    return text
