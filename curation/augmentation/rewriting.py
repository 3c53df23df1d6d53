"""CURATE, beside real data: the prompt of a real example in other words, its answer kept.

What paraphrase and back-translation share: they differ in how a text is rewritten, which comes in
as a function. A pair keeps both its answers, a label its vote. Knows no server.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from curation.augmentation.faithful import bare, why_not
from curation.augmentation.products import Collection, Row, Written, last_prompt, seed_rows
from curation.augmentation.writer import Reply
from curation.table import Source, Table, Why

NO_PROMPT = "no prompt to rewrite"


@dataclass(frozen=True, slots=True)
class Text:
    """A prompt to rewrite, and of which candidate."""

    candidate_id: str
    content: str


Rewrite = Callable[[Sequence[Text]], list[Reply]]


def rewritten(
    table: Table, method: Source, model: str, limit: int | None, rewrite: Rewrite
) -> Written:
    """Return new candidates: of at most `limit` real ones the last prompt, rewritten."""
    seeds = seed_rows(table, limit)
    collection = Collection(method, model, len(seeds))
    usable: list[tuple[Row, int]] = []
    for seed in seeds:
        at = last_prompt(seed)
        if at is None or not (seed["messages"][at]["content"] or "").strip():
            collection.refuse([seed], Why(NO_PROMPT))
        else:
            usable.append((seed, at))
    texts = [Text(seed["candidate_id"], seed["messages"][at]["content"]) for seed, at in usable]
    for (seed, at), text, reply in zip(usable, texts, rewrite(texts), strict=True):
        new = bare(reply.text, text.content)
        why = reply.why_not or why_not(text.content, new)
        if why is not None:
            collection.refuse([seed], why)
        else:
            collection.add([seed], _with_prompt(seed, at, new))
    return collection.written()


def _with_prompt(seed: Row, at: int, text: str) -> Row:
    messages = [dict(part) for part in seed["messages"]]
    messages[at]["content"] = text
    return seed | {"messages": messages}
