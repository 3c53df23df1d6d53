"""CURATE, outwards: an example in the words of other tools.

A row of a version's file comes in, a plain value for one line of JSON goes out, or None where the
format cannot say it. What each format takes:

    messages   OpenAI's fine-tuning: demonstrations, and pairs as preferences
    chatml     one text with `<|im_start|>` marks: all kinds
    sharegpt   `conversations` of `from` and `value`: all kinds, as LLaMA-Factory reads them
    alpaca     `instruction`, `input`, `output`, `history`: all kinds, as LLaMA-Factory reads them
    trl        the columns of TRL's trainers (SFT, DPO, KTO): all kinds

Sources: OpenAI, fine-tuning API reference (chat and preference input); LLaMA-Factory, data/README;
TRL, dataset formats and types. Pure. Safety tests have no form here: they are never trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from curation.examples import Message, answer_of, prompt_of

FormatName = Literal["parquet", "messages", "chatml", "sharegpt", "alpaca", "trl"]

Row = Mapping[str, Any]
Line = dict[str, Any]

_MARKS = ("<|im_start|>", "<|im_end|>")  # in a text they would forge a turn
_SPEAKERS = {"user": "human", "assistant": "gpt", "system": "system"}


@dataclass(frozen=True, slots=True)
class LineFormat:
    """How a format says each kind of example, and in which folder the kinds lie."""

    forms: Mapping[str, Callable[[Row], Line | None]]
    folders: Mapping[str, str]
    cannot: str  # what it cannot say


def _messages(row: Row) -> Line:
    return {"messages": row["messages"]}


def _openai_preference(row: Row) -> Line:
    return {
        "input": {"messages": row["prompt"]},
        "preferred_output": row["chosen"],
        "non_preferred_output": row["rejected"],
    }


def _chatml(row: Row) -> Line | None:
    if _has_marks(row):
        return None
    if "messages" in row:
        return {"text": _marked(row["messages"])}
    opened = f"{_marked(row['prompt'])}{_MARKS[0]}assistant\n"
    ends = {
        name: f"{row[name][0]['content']}{_MARKS[1]}\n"
        for name in ("chosen", "rejected", "completion")
        if name in row
    }
    return {"prompt": opened, **ends, **_label(row, "label")}


def _has_marks(row: Row) -> bool:
    names = ("messages", "prompt", "chosen", "rejected", "completion")
    said = [message["content"] for name in names for message in row.get(name, ())]
    return any(mark in text for text in said for mark in _MARKS)


def _marked(messages: Sequence[Message]) -> str:
    return "".join(
        f"{_MARKS[0]}{message['role']}\n{message['content']}{_MARKS[1]}\n" for message in messages
    )


def _sharegpt(row: Row) -> Line | None:
    whole = [*prompt_of(row), *answer_of(row)]
    if any(message["role"] not in _SPEAKERS for message in whole):
        return None
    if "rejected" in row:
        sides = {name: _spoken(row[name])[0] for name in ("chosen", "rejected")}
        return {"conversations": _spoken(row["prompt"]), **sides}
    return {"conversations": _spoken(whole), **_label(row, "kto_tag")}


def _spoken(messages: Sequence[Message]) -> list[dict[str, str]]:
    return [
        {"from": _SPEAKERS[message["role"]], "value": message["content"]} for message in messages
    ]


def _alpaca(row: Row) -> Line | None:
    prompt = prompt_of(row)
    system = prompt[0]["content"] if prompt and prompt[0]["role"] == "system" else None
    turns = prompt[1:] if system is not None else prompt
    names = [message["role"] for message in turns]
    if names != ["user", "assistant"] * (len(turns) // 2) + ["user"]:
        return None
    texts = [message["content"] for message in turns]
    line: Line = {"instruction": texts[-1], "input": ""}
    if system is not None:
        line["system"] = system
    if len(texts) > 1:
        pairs = zip(texts[:-1:2], texts[1:-1:2], strict=True)
        line["history"] = [list(pair) for pair in pairs]
    if "rejected" in row:
        return line | {name: row[name][0]["content"] for name in ("chosen", "rejected")}
    return line | {"output": answer_of(row)[0]["content"], **_label(row, "kto_tag")}


def _label(row: Row, name: str) -> Line:
    return {name: row["label"]} if "label" in row else {}


def _columns(*names: str) -> Callable[[Row], Line]:
    return lambda row: {name: row[name] for name in names}


_FOLDERS = {"demonstration": "", "pair": "pairs", "label": "labels"}
_KINDS = tuple(_FOLDERS)

LINE_FORMATS: Mapping[str, LineFormat] = {
    "messages": LineFormat(
        {"demonstration": _messages, "pair": _openai_preference}, _FOLDERS, "labels"
    ),
    "chatml": LineFormat(
        dict.fromkeys(_KINDS, _chatml), _FOLDERS, "a text that holds <|im_start|> or <|im_end|>"
    ),
    "sharegpt": LineFormat(
        dict.fromkeys(_KINDS, _sharegpt), _FOLDERS, "roles besides system, user and assistant"
    ),
    "alpaca": LineFormat(
        dict.fromkeys(_KINDS, _alpaca), _FOLDERS, "turns that do not alternate from user on"
    ),
    "trl": LineFormat(
        {
            "demonstration": _columns("messages"),
            "pair": _columns("prompt", "chosen", "rejected"),
            "label": _columns("prompt", "completion", "label"),
        },
        {"demonstration": "sft", "pair": "dpo", "label": "kto"},
        "nothing of these kinds",
    ),
}
