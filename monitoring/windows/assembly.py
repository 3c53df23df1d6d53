"""DETECT: interactions or training examples as one table of features, by what is known so far.

Rows and votes go in, a table and its summary come out; topics and distances are told by the
references, which come as `Known`. Encodes the prompts and holds their texts only as long.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from monitoring.embedding import Encoder, Floats
from monitoring.windows.feature_file import Located, Table, table_of
from monitoring.windows.features import Asked, Vote, features_of, prompt_of
from monitoring.windows.language import language_of
from monitoring.windows.nearness import distances
from monitoring.windows.summary import Counts, summarise
from monitoring.windows.topics import Topics


@dataclass(frozen=True, eq=False)
class Known:
    """What a reference tells of a new row: its topic, and how far it is from the examples."""

    topics: Topics | None = None
    examples_M_D: Floats | None = None
    novel_beyond: float | None = None


def assemble(
    asked: Sequence[Asked], votes: Mapping[str, Sequence[Vote]], known: Known, encoder: Encoder
) -> Table:
    """Return the table, one row for each of `asked` in their order."""
    rows = [features_of(one, votes.get(one.interaction_id, ()), language_of) for one in asked]
    return table_of(rows, locate(embed(asked, encoder), known))


def embed(asked: Sequence[Asked], encoder: Encoder) -> Located:
    """Return the prompts of the rows that have text, as vectors."""
    texts = [prompt_of(one.messages) for one in asked]
    places = np.array([place for place, text in enumerate(texts) if text], np.int64)
    return Located(places, encoder.embed([texts[place] for place in places]))


def locate(located: Located, known: Known) -> Located:
    """Return the rows with topics and distances, as far as these are known."""
    topics, examples = known.topics, known.examples_M_D
    vectors = located.vectors_M_D
    return replace(
        located,
        topics=None if topics is None else topics.assign(vectors),
        novelty=None if examples is None else distances(vectors, examples),
    )


def summary_of(
    table: Table, votes: Mapping[str, Sequence[Vote]], known: Known, encoder: Encoder
) -> dict[str, Any]:
    """Return the table's summary."""
    kinds = Counter(kind for own in votes.values() for kind in {vote.kind for vote in own})
    columns = table.drop_columns(["embedding"]).to_pydict()
    summary = summarise(columns, Counts(kinds, known.novel_beyond))
    summary["encoder"] = encoder.name
    return summary
