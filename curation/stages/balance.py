"""CURATE, whole-table stage: no topic and no length may outweigh the others.

The keys of all candidates come in (`KEYS`, no texts: 1,000,000 are some 100 MB), those that stay
and the drops go out. Reviewed and corrected rows stay first, the others by the hash of their id, so
that a version that grows keeps what it had. Shares of 1 turn it off. Knows no text.

Source: fine-tuning guide, Data Preparation Best Practices, "Balance Length Distribution".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from core.curation_settings import BalanceSettings
from core.errors import DataError
from curation.dedupe import largest_equal_cap
from curation.draw import draws
from curation.table import DROPS, Outcome, Table, Why, pc, sieve

# of the whole conversation, in the base's tokens, up to and with. Our choice: an eighth and a half
# of the default curation.max_tokens of 1024
SHORT_TOKENS = 128
MEDIUM_TOKENS = 512
LENGTHS = ("short", "medium", "long")
KEYS = ("candidate_id", "interaction_id", "kind", "source", "topic", "tokens")
FIRST = ("reviewer", "correction")  # sources of what people worked on

Places = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


def length_bins(tokens: Table) -> Places:
    """Return of each number of tokens the place of its bin in `LENGTHS`; none counts as 0."""
    counts = pc.fill_null(tokens, 0).to_numpy()
    return np.searchsorted([SHORT_TOKENS, MEDIUM_TOKENS], counts, side="left")


def balance(keys: Table, settings: BalanceSettings) -> Outcome:
    """Return the rows by which no topic and no length is above its share of the rows that stay.

    Safety tests are not learnt, so they stay and do not count.

    Raises: DataError when there are too few topics or lengths for such shares.
    """
    if settings.max_topic_share >= 1.0 and settings.max_length_share >= 1.0:
        return Outcome(keys, DROPS.empty_table())
    topics = keys["topic"].to_numpy().astype(np.int64)
    lengths = length_bins(keys["tokens"])
    rules = (
        ("topic", topics - topics.min(initial=0), settings.max_topic_share),
        ("length", lengths, settings.max_length_share),
    )
    learnt = pc.not_equal(keys["kind"], "safety").to_numpy(zero_copy_only=False)
    order = _order(keys)
    cut: dict[str, Mask] = {name: np.zeros(keys.num_rows, np.bool_) for name, _, _ in rules}
    stays = learnt.copy()
    settled = False
    while not settled:  # what one rule takes may lift another's share
        before = int(stays.sum())
        for name, group, share in rules:
            over = _surplus(name, group, stays, order, share)
            cut[name] |= over
            stays &= ~over
        settled = int(stays.sum()) == before
    return sieve(keys, _reasons(cut, topics, lengths))


def _surplus(name: str, group: Places, stays: Mask, order: Places, share: float) -> Mask:
    """Return which of the rows that stay are above their group's share."""
    sizes = np.bincount(group[stays])
    groups = sizes[sizes > 0].tolist()
    if share >= 1.0 or not groups:
        return np.zeros(len(group), np.bool_)
    limit = largest_equal_cap(groups, share)
    if limit == 0:
        raise DataError(
            f"{len(groups)} kinds of {name} cannot each stay within {share:.0%} of the candidates: "
            f"raise curation.balance.max_{name}_share, or gather more of the others"
        )
    rank = _ranks(group, order[stays[order]])
    return stays & (rank >= limit)


def _ranks(group: Places, order: Places) -> Places:
    """Return of each row in `order` how many of its group come before it there."""
    by_group = order[np.argsort(group[order], kind="stable")]
    sizes = np.bincount(group[order])
    rank = np.zeros(len(group), np.int64)
    rank[by_group] = np.arange(len(by_group)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return rank


def _order(keys: Table) -> Places:
    """Return the rows' places, those to keep first."""
    ids: list[str] = keys["candidate_id"].to_pylist()
    first: Any = pc.is_in(keys["source"], value_set=pa.array(FIRST))
    return np.lexsort((draws(ids, "balance"), ~first.to_numpy(zero_copy_only=False)))


def _reasons(cut: dict[str, Mask], topics: Places, lengths: Places) -> Sequence[Why | None]:
    why: list[Why | None] = [None] * len(topics)
    for row in np.flatnonzero(cut["topic"]).tolist():
        why[row] = Why("topic over its share", f"topic {topics[row]}")
    for row in np.flatnonzero(cut["length"]).tolist():
        why[row] = Why("length over its share", LENGTHS[lengths[row]])
    return why
