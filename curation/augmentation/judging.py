"""CURATE, beside people's votes: how far an AI judge agrees with them, on the newest version.

Pairs of the version come in, shown to the judge blind and in both orders; its agreement goes out.
Nothing that it says becomes an example. Run it by `ratchet judge`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from core.errors import DataError
from core.settings import Settings
from curation.augmentation.proposing import newest_version, require_enabled
from curation.augmentation.writer import Usage, Writer
from curation.judge import Agreement, agreement, judge_pairs, judge_settings, labels
from curation.version_examples import pairs
from feedback.store import Store

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Judged:
    """What the judge said of a version's pairs, held against people."""

    version: str
    judge: str
    pairs: int
    agreement: Agreement
    dropped: Mapping[str, int]  # pairs without a label, by reason
    usage: Usage

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, without texts."""
        return {
            "version": self.version,
            "judge": self.judge,
            "pairs": self.pairs,
            **self.agreement.as_dict(),
            "dropped": dict(self.dropped),
            "usage": self.usage.as_dict(),
        }


def judge_version(store: Store, settings: Settings, application: str, limit: int) -> Judged:
    """Return how far the judge agrees with people on at most `limit` pairs of each split.

    Raises: SettingsError where augmentation is off; NotFoundError without a version; DataError
    without pairs; as `Writer`.
    """
    require_enabled(settings)
    version = newest_version(store, application)
    table = pairs(version, limit, "judge")
    if table.num_rows == 0:
        raise DataError(
            f"dataset {version.id} has no pairs, so there is nothing to judge: pairs come of "
            "corrections, preferences and answers that were asked for again"
        )
    with Writer(judge_settings(settings.augmentation)) as judge:
        judged = judge_pairs(table, judge)
        usage, name = judge.usage, judge.model
    found = agreement(judged.judgements, labels(judged.judgements))
    dropped = Counter(judged.drops["reason"].to_pylist())
    done = Judged(version.id, name, table.num_rows, found, dict(dropped.most_common()), usage)
    log.info("pairs_judged", application=application, **done.as_dict())
    return done
